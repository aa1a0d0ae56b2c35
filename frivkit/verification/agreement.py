"""Label agreement of two models, and its confidence interval."""

from dataclasses import dataclass, replace
from math import ceil, e, floor, log

ERROR = 0.05
"""How often an interval may miss, at both ends together."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The number of labels that two models have in common.

    Attributes:
        same: Labels that are the same, at every position of every example; where examples agree by
            degrees, the sum of these.
        examples: The number of examples, at least 1.
        positions: The number of labels of one example, at least 1.
        graded: Whether each example agrees by a degree in [0, 1], and not by labels.

    Example:
        >>> agreement = Agreement(same=198, examples=200)
        >>> agreement.share, [round(end, 4) for end in agreement.interval]
        (0.99, [0.9643, 0.9988])
    """

    same: float
    examples: int
    positions: int = 1
    graded: bool = False

    @property
    def share(self) -> float:
        """The share of labels that are the same, in [0, 1]."""
        return self.same / (self.examples * self.positions)

    @property
    def interval(self) -> tuple[float, float]:
        """A two-sided 95 % interval for the share among all examples like these, in [0, 1].

        Examples are taken as independent draws; positions of one example are not.

        1. One label for each example: Clopper and Pearson's exact interval.
        2. Several, or degrees: an example counts as the share of its positions that agree, or by
           its degree.  The sum of such shares is beyond a bound at most e times as often as a
           binomial one of the same mean (Bentkus), so the exact interval is taken at 1 - 0.05/e,
           the sum rounded outwards.  It is conservative and assumes nothing of the dependence
           between positions.

        Source:
            C. J. Clopper and E. S. Pearson, Biometrika 26(4), 1934; V. Bentkus, On Hoeffding's
            inequalities, Annals of Probability 32(2), 2004, in the form of proposition 5 of
            S. Bates et al., Distribution-free, risk-controlling prediction sets, JACM 68(6), 2021.
        """
        error = self._error
        least, most = floor(self.same / self.positions), ceil(self.same / self.positions)
        return (
            lower_end(least, self.examples, error / 2),
            1 - lower_end(self.examples - most, self.examples, error / 2),
        )

    @property
    def _error(self) -> float:
        exact = self.positions == 1 and not self.graded
        return ERROR if exact else ERROR / e

    def shortfall(self, required: float) -> str | None:
        """Return why an agreement is not shown, or None if it is.

        Args:
            required: The value that the lower end of the interval must reach, in [0, 1).
        """
        low = self.interval[0]
        if low >= required:
            return None
        shown = f"agreement is shown to be {low:.4f} or more, less than the {required:g} required"
        best = replace(self, same=self.examples * self.positions)
        if best.interval[0] >= required:
            return f"{shown}: {self.share:.4f} of the labels are the same; compress less"
        needed = ceil(log(self._error / 2) / log(required))
        return (
            f"{shown}: {self.examples} examples cannot show more than {best.interval[0]:.4f} "
            f"even if all agree; give {needed} or more"
        )


def lower_end(successes: int, trials: int, error: float) -> float:
    """Return the lower end of the exact one-sided interval for a chance of success.

    With that chance, ``successes`` or more occur with probability ``error``.

    Args:
        successes: From 0 to ``trials``.
        trials: At least 1.
        error: In (0, 1).

    Example:
        >>> round(lower_end(10, 10, 0.025), 4), lower_end(0, 10, 0.025)
        (0.6915, 0.0)
    """
    from scipy.special import betaincinv

    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, error))
