"""Ablation curves of one scope, and the bootstrap interval of where they cross a threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.units.statistics import crossings

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AblationCurve:
    """The share of labels that one random order of units leaves unchanged at rising levels.

    Attributes:
        levels: Share of units ablated, rising from 0, shape (levels,).
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
