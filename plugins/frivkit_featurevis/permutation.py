"""Whether narrow and wide networks differ: a permutation test of ranks, as in the paper.

Source: Casper et al., "Frivolous Units", AAAI 2021, appendix E: the statistic is the sum of the
ranks of the narrow network's values among all, and p is the share of assignments of which the sum
is not above the observed one.  The paper draws 100,000 shuffles; here all assignments are taken
where there are at most so many, as for 8 against 8 (12,870).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHUFFLES = 100_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """Thin against wide.

    Attributes:
        p: The one-sided p value; small if the narrow network has the lower values.
        upper: The p value of the other side; small if the narrow network has the higher values.
        effect: Mean of the narrow divided by the mean of the wide; None if the latter is 0.
        exact: Whether all assignments were taken.
    """

    p: float
    upper: float
    effect: float | None
    exact: bool


def compare(narrow: Sequence[float], wide: Sequence[float], *, seed: int = 0) -> Comparison:
    """Return the comparison of values of a narrow and of a wide network.

    Equal values share the mean of their ranks.

    Args:
        narrow: At least 2 values.
        wide: At least 2 values.
        seed: Of the shuffles, where not all assignments are taken.

    Example:
        >>> result = compare([1.0, 2.0], [3.0, 4.0])
        >>> round(result.p, 3), result.exact
        (0.167, True)
    """
    from scipy.stats import permutation_test, rankdata

    values = np.concatenate([np.asarray(narrow, float), np.asarray(wide, float)])
    ranks = rankdata(values)
    assignments = math.comb(len(values), len(narrow))
    exact = assignments <= SHUFFLES

    def one_sided(alternative: str) -> float:
        found = permutation_test(
            (ranks[: len(narrow)], ranks[len(narrow) :]),
            lambda first, second, axis: first.sum(axis=axis),
            vectorized=True,
            n_resamples=SHUFFLES,
            alternative=alternative,
            rng=np.random.default_rng(seed),
        )
        return float(found.pvalue)

    mean = float(np.mean(wide))
    effect = float(np.mean(narrow)) / mean if mean else None
    return Comparison(one_sided("less"), one_sided("greater"), effect, exact)


def corrected(comparisons: Sequence[Comparison]) -> list[float]:
    """Return two-sided p values, corrected for the number of comparisons.

    A two-sided p value is twice the smaller of both sides, at most 1.  The correction is that of
    Benjamini and Hochberg: values below 0.05 are false discoveries in 5 % of cases, on average.
    """
    from scipy.stats import false_discovery_control

    if not comparisons:
        return []
    both = [min(1.0, 2 * min(each.p, each.upper)) for each in comparisons]
    return [float(value) for value in false_discovery_control(both)]
