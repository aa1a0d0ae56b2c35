"""Axes for values of any size."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Self

from frivkit.report.format import number, percent


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from ``low`` to ``high`` that contains 0.

    Attributes:
        low: The value at the beginning, at most 0.
        high: The value at the end, at least 0.
        step: The distance between ticks.
        shares: Whether values are shares, shown in per cent.
    """

    low: float
    high: float
    step: float
    shares: bool = False

    @classmethod
    def over(cls, values: Iterable[float], *, shares: bool) -> Self | None:
        """Return an axis that contains all values: from 0 to 1 if they are or look like shares.

        Returns:
            None if there are no values, or if they are too large for an axis.

        Example:
            >>> Scale.over([3.2, -0.5], shares=False)
            Scale(low=-1.0, high=4.0, step=1.0, shares=False)
        """
        known = list(values)
        if not known or not isfinite(4 * max(map(abs, known))):
            return None
        low, high = min(0.0, *known), max(0.0, *known)
        if low == 0 and high <= 1 and (shares or high > 0.1):
            return cls(0.0, 1.0, 0.25, shares)
        step = round_step((high - low) / 6) if high - low > 1e-300 else 1.0
        first, last = floor(low / step), max(ceil(high / step), floor(low / step) + 1)
        return cls(first * step, last * step, step, shares)

    def share(self, value: float) -> float:
        """Return the position of a value on the axis, 0 at its beginning and 1 at its end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return the values of the ticks, both ends included.

        Example:
            >>> Scale(0.0, 1.0, 0.25).ticks()
            [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        count = round((self.high - self.low) / self.step)
        return [self.low + i * self.step for i in range(count + 1)]

    def show(self, value: float) -> str:
        """Return a value as text."""
        return percent(value) if self.shares else number(value)

    def tick(self, value: float) -> str:
        """Return a tick as text."""
        return f"{100 * value:.0f}\N{NO-BREAK SPACE}%" if self.shares else f"{value:.4g}"


SHARE = Scale(0.0, 1.0, 0.25, shares=True)


def round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below ``least``.

    Example:
        >>> round_step(0.7), round_step(15), round_step(0.003)
        (1.0, 20.0, 0.005)
    """
    unit = 10.0 ** floor(log10(least))
    return next((unit * step for step in (1, 2, 5) if unit * step >= least), 10 * unit)
