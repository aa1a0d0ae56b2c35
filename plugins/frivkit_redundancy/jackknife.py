"""Jackknife intervals, from values that each leave out one run of consecutive examples."""

from collections.abc import Sequence

import numpy as np

from frivkit.units.moments import Moments, merged

T_95 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Two-sided 95 % points of Student's t by degrees of freedom."""


def leave_one_out(parts: Sequence[Moments]) -> list[Moments]:
    """Return the moments of all parts but each one in turn.

    Args:
        parts: One a run of examples.

    Returns:
        As many as there are parts; none with fewer than three parts.
    """
    if len(parts) < 3:
        return []
    return [merged([*parts[:i], *parts[i + 1 :]]) for i in range(len(parts))]


def interval(value: float, without: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % jackknife interval of a value in [0, 1].

    Args:
        value: The value over all examples.
        without: The value without each of up to ten runs of examples.

    Returns:
        Lower and upper end, in [0, 1]; None with fewer than three runs.

    Source:
        Tukey, "Bias and confidence in not quite large samples", Annals of Mathematical Statistics
        29(2), 1958.

    Example:
        >>> interval(0.5, [0.5, 0.5, 0.5])
        (0.5, 0.5)
    """
    groups = len(without)
    if groups < 3:
        return None
    reach = T_95[groups - 1] * float(np.sqrt((groups - 1) * np.var(without)))
    return max(0.0, value - reach), min(1.0, value + reach)
