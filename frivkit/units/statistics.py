"""The definitions of the paper that several metrics share: threshold crossing and rank.

Prunability is read off an ablation curve where it crosses a threshold; redundancy is read off the
eigenvalues of a covariance by their rank at a tolerance.  Both are defined here once, on numbers
alone, under both protocols: ``"paper"``, the text, and ``"reference"``, the published code.

Source: Casper et al., "Frivolous Units: Wider Networks Are Not Really That Wide", AAAI 2021,
arXiv:1912.04783, section 4, and the code published with it
(https://github.com/biolins/frivolous_dnns).
"""

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import Float64Array

CHANGED = 0.2
"""Share of labels that may change in the paper."""
KEPT = 1 - CHANGED
"""Share of labels that must stay unchanged in the paper: the threshold of prunability."""
UNEXPLAINED = 0.05
"""Share of the variance that may stay unexplained in the paper: the tolerance of redundancy."""
FLOAT64_ROUNDING = 1e-12
"""By how much a share of float64 sums may miss a threshold and still count as meeting it."""
FLOAT32_ROUNDING = 1e-6
"""The same for a share of sums in float32."""


def ablated_units(level: float, units: int, protocol: str) -> int:
    """Return how many units are ablated at a level.

    With r the level and n the number of units, ⌊r n + 1/2⌋ under ``"paper"`` (rounded half up) and
    ⌊r n⌋ under ``"reference"``.

    Args:
        level: Share of the units, in [0, 1].
        units: The number of units, n.
        protocol: ``"paper"`` or ``"reference"``.

    Returns:
        An integer in [0, ``units``].

    Source:
        ``get_robustness.py`` of the published code rounds down; the text says nothing, and the
        nearest integer is taken.

    Example:
        >>> ablated_units(0.5, 33, "paper"), ablated_units(0.5, 33, "reference")
        (17, 16)
    """
    return int(level * units) if protocol == "reference" else int(level * units + 0.5)


def curve_level(level: float, units: int, protocol: str) -> float:
    """Return the level at which an ablation is placed on its curve.

    Under ``"paper"`` it is the share of the units that is really ablated, under ``"reference"`` the
    nominal level.

    Args:
        level: Nominal share of the units, in [0, 1].
        units: The number of units, at least 1.
        protocol: ``"paper"`` or ``"reference"``.

    Returns:
        A share in [0, 1].

    Example:
        >>> curve_level(0.5, 4, "paper"), curve_level(0.3, 4, "paper")
        (0.5, 0.25)
        >>> curve_level(0.3, 4, "reference")
        0.3
    """
    return level if protocol == "reference" else ablated_units(level, units, protocol) / units


def crossings(
    levels: Float64Array, curves: Float64Array, threshold: float, rounding: float = FLOAT64_ROUNDING
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return the level at which each curve first falls below a threshold.

    With levels x and a curve y, let r be the first index with y[r] ≥ t > y[r + 1] for the threshold
    t.  The curve crosses at

        x[r] + (y[r] - t) / (y[r] - y[r + 1]) · (x[r + 1] - x[r]),

    by linear interpolation.  Both protocols cross so; they differ in the levels and the counts of
    units behind a curve (:func:`curve_level`, :func:`ablated_units`).

    Undefined cases:

    1. A curve that never falls below the threshold crosses at its last level, which is 1 if all
       units are ablated there, as in the published code.
    2. A curve that begins below the threshold and never rises to it falls nowhere, and counts as
       case 1.
    3. NaN is below any threshold: a curve with y[r] ≥ t and y[r + 1] NaN crosses at NaN.

    Args:
        levels: Increasing, at least two, shape (levels,).
        curves: One curve a column, shape (levels, curves).
        threshold: t, such as 1 - tolerance.
        rounding: A value of at least ``threshold - rounding`` counts as at the threshold.

    Returns:
        The level of each crossing, in [x[0], x[-1]], float64, shape (curves,), and the index r
        before it, int64, shape (curves,), -1 for a curve without a crossing.

    Source:
        Casper et al., AAAI 2021, section 4, "Prunability" ("we use linear interpolation");
        ``get_threshold`` of ``plot_ablation_thresholds.ipynb`` in the published code.

    Example:
        >>> crossings(np.array([0, 0.5, 1.0]), np.array([[1.0], [0.9], [0.5]]), 0.8)[0]
        array([0.625])
    """
    meets = curves >= threshold - rounding
    falls = meets[:-1] & ~meets[1:]
    none = ~falls.any(axis=0)
    r = falls.argmax(axis=0)  # 0 if there is none
    column = np.arange(curves.shape[1])
    high, low = curves[r, column], curves[r + 1, column]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # where none falls
        share = (high - threshold) / (high - low)
    x = levels[r] + np.clip(share, 0.0, 1.0) * (levels[r + 1] - levels[r])
    return np.where(none, levels[-1], x), np.where(none, -1, r)


def explained_shares(eigenvalues: Float64Array, total: float) -> Float64Array:
    """Return the share of the variance that the first 1, 2, ... components explain.

    Args:
        eigenvalues: Of a covariance, largest first, none negative, shape (components,).
        total: The whole variance, the sum of all eigenvalues, including any that are not given.

    Returns:
        Rising, in [0, 1], shape (components,); all ones if ``total`` is 0.

    Example:
        >>> explained_shares(np.array([3.0, 1.0]), 4.0).tolist()
        [0.75, 1.0]
    """
    if total <= 0:
        return np.ones(len(eigenvalues))
    explained: Float64Array = np.minimum(np.cumsum(eigenvalues) / total, 1.0)
    return explained


def rank_at(
    eigenvalues: Float64Array, tolerance: float, total: float, rounding: float = FLOAT64_ROUNDING
) -> int | None:
    """Return the rank at a tolerance: the fewest components that leave at most that unexplained.

    With eigenvalues v, largest first, and their sum V,

        rank = min { k : v[1] + ... + v[k] ≥ (1 - tolerance) V }.

    The redundancy of a layer under ``"paper"`` is 1 - rank / units.

    Undefined cases: without variance (``total`` is 0) the rank is 0, since a bias can replace the
    layer.  If the eigenvalues given explain too little, which only a leading part of a spectrum
    can, the rank is not known and None is returned.

    Args:
        eigenvalues: Of a covariance, largest first, none negative, shape (components,); all of
            them or the leading ones.
        tolerance: Share of the variance that may stay unexplained, in (0, 1).
        total: The whole variance V, the sum of all eigenvalues.
        rounding: Share of the variance by which a sum may miss 1 - ``tolerance``.

    Returns:
        An integer in [0, components], or None.

    Source:
        Casper et al., AAAI 2021, section 4, "Redundancy".

    Example:
        >>> rank_at(np.array([8.0, 1.5, 0.5]), 0.05, 10.0)
        2
    """
    if total <= 0:
        return 0
    enough = explained_shares(eigenvalues, total) >= 1 - tolerance - rounding
    return int(enough.argmax()) + 1 if enough.any() else None


def reference_dropped(eigenvalues: Float64Array, tolerance: float, total: float) -> int:
    """Return how many components the published code counts as redundant.

    With eigenvalues v, smallest first, and their sum V,

        dropped = min { k : v[1] + ... + v[k] > tolerance V },

    which is one more than can be dropped within the tolerance.  The redundancy of a layer under
    ``"reference"`` is dropped / units.

    Undefined cases: without variance (``total`` is 0) it is 1, as in the published code; it is
    never more than the number of components.

    Args:
        eigenvalues: All eigenvalues of a covariance, largest first, none negative, shape (units,),
            at least one.
        tolerance: Share of the variance, in (0, 1).
        total: The whole variance V, the sum of all eigenvalues.

    Returns:
        An integer in [1, units].

    Source:
        ``get_redundancy.py`` of the published code.

    Example:
        >>> reference_dropped(np.array([8.0, 1.5, 0.5]), 0.05, 10.0)
        2
    """
    if total <= 0:
        return 1
    shares = np.cumsum(eigenvalues[::-1]) / total
    return min(int(np.searchsorted(shares, tolerance, side="right")) + 1, len(eigenvalues))
