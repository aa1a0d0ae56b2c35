"""Ablation curves of one scope, and the bootstrap interval of where they cross a threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.units.statistics import crossings

Array = NDArray[np.float64]
Flags = NDArray[Any]
"""Shares of each example, in [0, 1]; booleans if none lies between 0 and 1."""
DRAWN = 1 << 22
"""Counts of patterns, over all resamples, that are drawn at once; they take 64 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationCurve:
    """The share of labels that one random order of units leaves unchanged at rising levels.

    Attributes:
        levels: Share of units ablated, rising from 0, shape (levels,).
        flags: For each level and example the share of its labels that are unchanged (0 or 1
            unless an example has several positions), an array of shape (n,) for each level.
    """

    levels: Array
    flags: Sequence[Flags]

    @property
    def unchanged(self) -> Array:
        """The share of labels unchanged at each level, shape (levels,), in [0, 1]."""
        return np.array([flags.mean() for flags in self.flags])


def compact(shares: Array) -> Flags:
    """Return a copy of shares of examples that takes little memory, with the same numbers.

    Args:
        shares: In [0, 1], shape (n,).

    Example:
        >>> compact(np.array([0.0, 1.0])).tolist(), compact(np.array([0.0, 0.5])).tolist()
        ([False, True], [0.0, 0.5])
    """
    whole = shares == 1
    return whole if bool((whole | (shares == 0)).all()) else shares.copy()


def interval(
    curves: list[AblationCurve], threshold: float, resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the best repeat's crossing.

    Examples are drawn with replacement, the same ones for every level and repeat; the masks stay
    fixed.  So the interval covers the choice of examples and not the choice of masks: for the
    latter, compare the repeats.  Examples with equal flags are drawn together (multinomially),
    which has the same distribution and makes the cost independent of their number.

    Args:
        curves: One a repeat, over the same examples.
        threshold: 1 - tolerance.
        resamples: Bootstrap draws.
        generator: The source of randomness.

    Returns:
        Lower and upper end, in [0, 1].
    """
    patterns, counts = _patterns([flags for curve in curves for flags in curve.flags])
    means = _resampled(patterns, counts, resamples, generator)
    best = np.zeros(resamples)
    row = 0
    for curve in curves:
        part = means[row : row + len(curve.levels)]
        best = np.maximum(best, crossings(curve.levels, part, threshold)[0])
        row += len(curve.levels)
    low, high = np.quantile(best, [0.025, 0.975])
    return float(low), float(high)


def _resampled(
    patterns: Array, counts: NDArray[np.int64], resamples: int, generator: np.random.Generator
) -> Array:
    """Return the means of the rows of patterns in each resample, shape (rows, resamples)."""
    n, size = int(counts.sum()), max(1, DRAWN // len(counts))
    means = np.empty((len(patterns), resamples))
    for first in range(0, resamples, size):
        last = min(first + size, resamples)
        drawn = generator.multinomial(n, counts / n, size=last - first).T / n
        means[:, first:last] = patterns @ drawn
    return means


def _patterns(flags: Sequence[Flags]) -> tuple[Array, NDArray[np.int64]]:
    """Return the different columns of flags, in the order of their entries, and how many each."""
    if any(row.dtype != np.bool_ for row in flags):
        found, counts = np.unique(np.stack(flags), axis=1, return_counts=True)
        return found, counts
    eights = [np.packbits(flags[i : i + 8], axis=0) for i in range(0, len(flags), 8)]
    packed, counts = np.unique(np.concatenate(eights), axis=1, return_counts=True)
    patterns: Array = np.unpackbits(packed, axis=0, count=len(flags)).astype(np.float64)
    return patterns, counts
