"""Second moments of units: count, mean and Gram, added up batch by batch in a fixed order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer

Float64Array = NDArray[np.float64]
NEGLIGIBLE = 1e-9
"""Share of the second moment about the shift below which a variance is what rounding left.

The shift is near the mean, so that for a unit that varies this share is near 1; it is small only
where a constant is not exactly what was subtracted from it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What second-order statistics of some units rest on.

    Sums are taken about a shift near the mean, so that a large mean costs no precision; parts
    with one shift merge by adding, and merging them in one order gives one result to the bit.

    Attributes:
        count: The number of rows (observations of every unit).
        shift: What was subtracted from each row, shape (units,).
        total: Sum of the shifted rows, shape (units,).
        gram: Sum of the outer products of the shifted rows, shape (units, units).
    """

    count: int
    shift: Float64Array
    total: Float64Array
    gram: Float64Array

    @classmethod
    def of(cls, rows: NDArray[np.floating], shift: Float64Array | None = None) -> "Moments":
        """Take the moments of a matrix.

        Args:
            rows: Shape (rows, units).
            shift: What to subtract; None takes the mean of the rows.

        Example:
            >>> Moments.of(np.array([[1.0, 2.0], [3.0, 6.0]])).covariance.tolist()
            [[1.0, 2.0], [2.0, 4.0]]
        """
        exact = np.asarray(rows, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # told by ``finite``
            about = exact.mean(axis=0) if shift is None else shift
            shifted = exact - about
            return cls(len(exact), about, shifted.sum(axis=0), shifted.T @ shifted)

    @property
    def units(self) -> int:
        """The number of units."""
        return len(self.shift)

    @property
    def finite(self) -> bool:
        """Whether all sums are finite; without that, nothing else here means anything."""
        return bool(np.isfinite(self.total).all() and np.isfinite(self.gram).all())

    @property
    def mean(self) -> Float64Array:
        """The mean of each unit, shape (units,)."""
        mean: Float64Array = self.shift + self.total / self.count
        return mean

    @property
    def covariance(self) -> Float64Array:
        """The population covariance (divided by the count), shape (units, units).

        Symmetric to the bit; a variance that rounding made negative is 0.
        """
        offset = self.total / self.count
        covariance: Float64Array = self.gram / self.count
        covariance -= np.outer(offset, offset)
        covariance = (covariance + covariance.T) / 2
        np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0.0))
        return covariance

    @property
    def variance(self) -> Float64Array:
        """The population variance of each unit, exactly 0 for one that never changes.

        Shape (units,).

        Example:
            >>> rows = np.array([[0.1, 1.0]] * 7 + [[0.1, 2.0]])
            >>> Moments.of(rows, np.float32([0.1, 1.0])).variance.tolist()
            [0.0, 0.109375]
        """
        return settled(self.gram.diagonal() / self.count, self.total / self.count)

    def __add__(self, other: "Moments") -> "Moments":
        """Merge two parts; a part with another shift is first moved to this one's."""
        moved = other if np.array_equal(self.shift, other.shift) else other.about(self.shift)
        with np.errstate(over="ignore", invalid="ignore"):  # told by ``finite``
            return Moments(
                self.count + moved.count,
                self.shift,
                self.total + moved.total,
                self.gram + moved.gram,
            )

    def about(self, shift: Float64Array) -> "Moments":
        """Return the same moments about another shift (Chan, Golub and LeVeque 1983)."""
        step = self.shift - shift
        with np.errstate(over="ignore", invalid="ignore"):  # told by ``finite``
            cross = np.outer(self.total, step)
            gram = self.gram + cross + cross.T + self.count * np.outer(step, step)
            return Moments(self.count, shift, self.total + self.count * step, gram)


def settled(second: Float64Array, offset: Float64Array) -> Float64Array:
    """Return variances without what rounding leaves of those that are 0.

    Args:
        second: The second moments about a shift near the mean.
        offset: The mean less the shift.
    """
    variance = second - offset * offset
    return np.where(variance <= NEGLIGIBLE * second, 0.0, variance)  # NaN stays


def merged(parts: Iterable[Moments]) -> Moments:
    """Merge parts in the order given."""
    return reduce(Moments.__add__, parts)


def write_moments(writer: Writer, parts: Sequence[Moments]) -> None:
    """Put parts of one site into an entry of the cache."""
    writer.put("count", np.array([part.count for part in parts]))
    for part in parts:
        for name in ("shift", "total", "gram"):
            writer.append(name, getattr(part, name)[np.newaxis])


def read_moments(entry: Entry) -> tuple[Moments, ...]:
    """Read back what :func:`write_moments` put there."""
    return tuple(
        Moments(int(count), *(entry.read(name, i, i + 1)[0] for name in ("shift", "total", "gram")))
        for i, count in enumerate(entry.read("count"))
    )
