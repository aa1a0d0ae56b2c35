"""Ablation curves: where they fall below the tolerance, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXACT = 1e-12
"""What a mean of flags may miss of a threshold by rounding and still count as meeting it."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationCurve:
    """What share of labels one random order of units leaves unchanged at growing levels.

    Attributes:
        levels: Share of units ablated, increasing from 0, shape (levels,).
        flags: For each level and example the share of its labels that are unchanged (0 or 1
            unless an example has several positions), shape (levels, n).
    """

    levels: Array
    flags: Array

    @property
    def unchanged(self) -> Array:
        """The share of labels unchanged at each level, shape (levels,), in [0, 1]."""
        means: Array = self.flags.mean(axis=1)
        return means


def crossings(levels: Array, curves: Array, threshold: float) -> tuple[Array, NDArray[np.int64]]:
    """Find where curves first fall below a threshold, by linear interpolation.

    The first ``r`` with ``curve[r] >= threshold > curve[r + 1]`` counts; a curve that never falls
    below crosses at its last level (1.0 where all units can go, as in the published code).

    Args:
        levels: Increasing, at least two, shape (levels,).
        curves: One curve a column, shape (levels, curves).
        threshold: 1 - tolerance.

    Returns:
        The level of each crossing, shape (curves,), and the index ``r`` before it, -1 where there
        is none.

    Source:
        Casper et al., AAAI 2021, section 4 ("we use linear interpolation"); the published code's
        ``get_threshold`` in ``plot_ablation_thresholds.ipynb``.

    Example:
        >>> crossings(np.array([0, 0.5, 1.0]), np.array([[1.0], [0.9], [0.5]]), 0.8)[0]
        array([0.625])
    """
    meets = curves >= threshold - EXACT
    falls = meets[:-1] & ~meets[1:]
    none = ~falls.any(axis=0)
    r = falls.argmax(axis=0)  # 0 where there is none
    column = np.arange(curves.shape[1])
    high, low = curves[r, column], curves[r + 1, column]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (high - threshold) / (high - low)
    x = levels[r] + np.clip(share, 0.0, 1.0) * (levels[r + 1] - levels[r])
    return np.where(none, levels[-1], x), np.where(none, -1, r)


def interval(
    curves: list[AblationCurve], threshold: float, resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the best repeat's crossing.

    Examples are drawn with replacement, the same ones for every level and repeat; the masks stay
    as they are.  So it says how far the value would move with other examples, not with other
    masks: for that, compare the repeats.  Examples that react alike are drawn together
    (multinomially), which changes nothing and makes the cost independent of their number.

    Args:
        curves: One a repeat, over the same examples.
        threshold: 1 - tolerance.
        resamples: Bootstrap draws.
        generator: Where randomness comes from.

    Returns:
        Lower and upper end, in [0, 1].
    """
    stacked = np.concatenate([curve.flags for curve in curves])
    patterns, counts = np.unique(stacked, axis=1, return_counts=True)
    n = int(counts.sum())
    drawn = generator.multinomial(n, counts / n, size=resamples).T / n
    means = patterns @ drawn
    best = np.zeros(resamples)
    row = 0
    for curve in curves:
        part = means[row : row + len(curve.levels)]
        best = np.maximum(best, crossings(curve.levels, part, threshold)[0])
        row += len(curve.levels)
    low, high = np.quantile(best, [0.025, 0.975])
    return float(low), float(high)
