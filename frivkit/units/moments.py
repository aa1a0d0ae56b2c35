"""Second moments of units: count, mean and Gram matrix, added batch by batch in a fixed order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer

Float64Array = NDArray[np.float64]
NEGLIGIBLE = 1e-9
"""Share of the second moment about the shift below which a variance counts as rounding error.

The shift is near the mean, so for a unit that varies this share is near 1; it is small only if a
unit is constant and the shift differs from it by rounding.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, sum and Gram matrix of some units, from which mean and covariance follow.

    Sums are taken about a shift near the mean, so that a large mean costs no precision; parts
    with the same shift merge by addition, and the same order of merging gives the same bits.

    Attributes:
        count: The number of rows (observations of every unit).
        shift: The vector subtracted from each row, shape (units,).
        total: Sum of the shifted rows, shape (units,).
        gram: Sum of the outer products of the shifted rows, shape (units, units).
    """

    count: int
    shift: Float64Array
    total: Float64Array
    gram: Float64Array

    @classmethod
    def of(cls, rows: NDArray[np.floating], shift: Float64Array | None = None) -> "Moments":
        """Return the moments of a matrix.

        Args:
            rows: Shape (rows, units).
            shift: The vector to subtract, shape (units,); None takes the mean of the rows.

        Example:
            >>> Moments.of(np.array([[1.0, 2.0], [3.0, 6.0]])).covariance.tolist()
            [[1.0, 2.0], [2.0, 4.0]]
        """
        exact = np.asarray(rows, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # seen in ``finite``
            about = exact.mean(axis=0) if shift is None else shift
            shifted = exact - about
            return cls(len(exact), about, shifted.sum(axis=0), shifted.T @ shifted)

    @property
    def units(self) -> int:
        """The number of units."""
        return len(self.shift)

    @property
    def finite(self) -> bool:
        """Whether all sums are finite; if not, mean and covariance are undefined."""
        return bool(np.isfinite(self.total).all() and np.isfinite(self.gram).all())

    @property
    def mean(self) -> Float64Array:
        """The mean of each unit, shape (units,)."""
        mean: Float64Array = self.shift + self.total / self.count
        return mean

    @property
    def covariance(self) -> Float64Array:
        """The population covariance (divided by the count), shape (units, units).

        Exactly symmetric; a variance that rounding made negative is 0.
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
        return without_rounding(self.gram.diagonal() / self.count, self.total / self.count)

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of two parts together, about the shift of the first."""
        moved = other if np.array_equal(self.shift, other.shift) else other.about(self.shift)
        with np.errstate(over="ignore", invalid="ignore"):  # seen in ``finite``
            return Moments(
                self.count + moved.count,
                self.shift,
                self.total + moved.total,
                self.gram + moved.gram,
            )

    def about(self, shift: Float64Array) -> "Moments":
        """Return the same moments about another shift (Chan, Golub and LeVeque 1983)."""
        step = self.shift - shift
        with np.errstate(over="ignore", invalid="ignore"):  # seen in ``finite``
            cross = np.outer(self.total, step)
            gram = self.gram + cross + cross.T + self.count * np.outer(step, step)
            return Moments(self.count, shift, self.total + self.count * step, gram)


@dataclass(slots=True, eq=False)
class RunningVariance:
    """Count, mean and variance of each unit, added batch by batch without a Gram matrix.

    Sums are taken about the mean of the first batch, so that a large mean costs no precision.

    Attributes:
        count: The number of rows added.
        shift: The vector subtracted from each row, shape (units,).
        total: Sum of the shifted rows, shape (units,).
        squares: Sum of the squares of the shifted rows, shape (units,).

    Example:
        >>> sums = RunningVariance()
        >>> for part in (np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[3.0, 5.0]])):
        ...     _ = sums.add(part)
        >>> sums.mean.tolist(), sums.variance.round(6).tolist()
        ([2.0, 5.0], [0.666667, 0.0])
    """

    count: int = 0
    shift: Float64Array = field(default_factory=lambda: np.zeros(0))
    total: Float64Array = field(default_factory=lambda: np.zeros(0))
    squares: Float64Array = field(default_factory=lambda: np.zeros(0))

    def add(self, rows: NDArray[np.floating]) -> Float64Array:
        """Add rows, and return them shifted, for further sums about the same shift.

        Args:
            rows: Shape (rows, units), at least one row.

        Returns:
            ``rows - shift``, float64, shape (rows, units).
        """
        if not self.count:
            self.shift = rows.mean(axis=0, dtype=np.float64)
            self.total, self.squares = np.zeros_like(self.shift), np.zeros_like(self.shift)
        shifted: Float64Array = rows - self.shift
        self.count += len(rows)
        self.total += shifted.sum(axis=0)
        self.squares += np.einsum("ij,ij->j", shifted, shifted)
        return shifted

    @property
    def mean(self) -> Float64Array:
        """The mean of each unit, shape (units,)."""
        mean: Float64Array = self.shift + self.total / self.count
        return mean

    @property
    def variance(self) -> Float64Array:
        """The population variance of each unit, exactly 0 for one that never changes.

        Shape (units,).
        """
        return without_rounding(self.squares / self.count, self.total / self.count)


def without_rounding(second: Float64Array, offset: Float64Array) -> Float64Array:
    """Return variances, with rounding errors of constant units set to 0.

    Args:
        second: The second moment of each unit about a shift near the mean, shape (units,).
        offset: The mean less the shift, shape (units,).

    Returns:
        Shape (units,); NaN stays NaN.
    """
    variance = second - offset * offset
    return np.where(variance <= NEGLIGIBLE * second, 0.0, variance)  # NaN stays


def merged(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts together, merged in the order given."""
    return reduce(Moments.__add__, parts)


def write_moments(writer: Writer, parts: Sequence[Moments]) -> None:
    """Write the parts of one site into an entry of the cache."""
    writer.put("count", np.array([part.count for part in parts]))
    for part in parts:
        for name in ("shift", "total", "gram"):
            writer.append(name, getattr(part, name)[np.newaxis])


def read_moments(entry: Entry) -> tuple[Moments, ...]:
    """Read the parts that :func:`write_moments` wrote."""
    return tuple(
        Moments(int(count), *(entry.read(name, i, i + 1)[0] for name in ("shift", "total", "gram")))
        for i, count in enumerate(entry.read("count"))
    )
