"""Agreement of labels, and how far it can be trusted."""

from dataclasses import dataclass
from math import ceil, e, log

ERROR = 0.05
"""How often an interval may miss, both sides together."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many labels are the same under two models.

    Attributes:
        same: Labels that are the same, at every position of every example.
        examples: How many examples there are, at least 1.
        positions: Labels of one example, at least 1.

    Example:
        >>> found = Agreement(same=198, examples=200)
        >>> found.share, [round(end, 4) for end in found.interval]
        (0.99, [0.9643, 0.9988])
    """

    same: int
    examples: int
    positions: int = 1

    @property
    def share(self) -> float:
        """The share of labels that are the same, in [0, 1]."""
        return self.same / (self.examples * self.positions)

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval, two-sided, for the share among all examples like these.

        Examples are taken as independent draws; positions of one example are not.

        1. One label an example: Clopper and Pearson's exact interval.
        2. Several: an example counts as the share of its positions that agree.  The sum of such
           shares is beyond a bound at most e times as often as a binomial one of the same mean
           (Bentkus), so the exact interval is taken at 1 - 0.05/e, the sum rounded outwards.  It
           is wider than need be and assumes nothing of how positions hang together.

        Source:
            C. J. Clopper and E. S. Pearson, Biometrika 26(4), 1934; V. Bentkus, On Hoeffding's
            inequalities, Annals of Probability 32(2), 2004, in the form of proposition 5 of
            S. Bates et al., Distribution-free, risk-controlling prediction sets, JACM 68(6), 2021.
        """
        error = ERROR if self.positions == 1 else ERROR / e
        least, most = self.same // self.positions, -(-self.same // self.positions)
        return (
            lower_end(least, self.examples, error / 2),
            1 - lower_end(self.examples - most, self.examples, error / 2),
        )

    def shortfall(self, required: float) -> str | None:
        """Return why an agreement is not shown, or None where it is.

        Args:
            required: What the lower end of the interval must reach, in [0, 1).
        """
        low = self.interval[0]
        if low >= required:
            return None
        said = f"agreement is shown to be {low:.4f} or more, less than the {required:g} required"
        best = Agreement(self.examples * self.positions, self.examples, self.positions)
        if best.interval[0] >= required:
            return f"{said}: {self.share:.4f} of the labels are the same; compress less"
        error = ERROR if self.positions == 1 else ERROR / e
        needed = ceil(log(error / 2) / log(required))
        return (
            f"{said}: {self.examples} examples cannot show more than {best.interval[0]:.4f} "
            f"even if all agree; give {needed} or more"
        )


def lower_end(successes: int, trials: int, error: float) -> float:
    """Return the chance of success at which so many successes or more come as often as ``error``.

    Args:
        successes: From 0 to ``trials``.
        trials: At least 1.
        error: Between 0 and 1.

    Example:
        >>> round(lower_end(10, 10, 0.025), 4), lower_end(0, 10, 0.025)
        (0.6915, 0.0)
    """
    from scipy.special import betaincinv

    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, error))
