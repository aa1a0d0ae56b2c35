"""Moments whose Gram matrix is kept as one triangle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import Float64Array, Moments

UNPACKED_ROWS = 512
"""Rows of a matrix that are mirrored at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedMoments:
    """Moments whose Gram matrix takes half the memory or less.

    Attributes:
        count: The number of rows.
        shift: The vector subtracted from each row, shape (columns,).
        total: Sum of the shifted rows, shape (columns,).
        packed: One triangle of the Gram matrix in LAPACK's rectangular full packed format, shape
            (columns (columns + 1) / 2,).
    """

    count: int
    shift: Float64Array
    total: Float64Array
    packed: NDArray[np.floating]

    @property
    def finite(self) -> bool:
        """Whether all sums are finite."""
        return bool(np.isfinite(self.total).all() and np.isfinite(self.packed).all())

    @property
    def mean(self) -> Float64Array:
        """The mean of the rows, shape (columns,)."""
        mean: Float64Array = self.shift + self.total / self.count
        return mean

    @property
    def moments(self) -> Moments:
        """The moments, with the whole Gram matrix."""
        return Moments(self.count, self.shift, self.total, unpack(self.packed, len(self.shift)))


def pack(symmetric: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return one triangle of a symmetric matrix, in rectangular full packed format.

    Source:
        Gustavson et al., "Rectangular Full Packed Format for Cholesky's Algorithm", ACM TOMS 37(2),
        2010; LAPACK's ``trttf`` and ``tfttr``.
    """
    from scipy.linalg.lapack import get_lapack_funcs

    trttf = get_lapack_funcs("trttf", (symmetric,))
    packed: NDArray[np.floating]
    packed, _ = trttf(symmetric.T)  # its transpose, which it is equal to, is in Fortran's order
    return packed


def unpack(packed: NDArray[np.floating], size: int) -> Float64Array:
    """Return the symmetric matrix of which one triangle is packed."""
    from scipy.linalg.lapack import get_lapack_funcs

    tfttr = get_lapack_funcs("tfttr", (packed,))
    upper, _ = tfttr(size, packed)
    symmetric: Float64Array = upper.astype(np.float64, copy=False)
    for start in range(0, size, UNPACKED_ROWS):  # by parts, so that no other matrix is made
        stop = min(start + UNPACKED_ROWS, size)
        symmetric[stop:, start:stop] = symmetric[start:stop, stop:].T
        square = np.triu(symmetric[start:stop, start:stop])
        symmetric[start:stop, start:stop] = square + np.triu(square, 1).T
    return symmetric


def total_of(parts: Sequence[PackedMoments]) -> Float64Array:
    """Return the sum of the shifted rows of all parts, shape (columns,)."""
    total: Float64Array = np.sum([part.total for part in parts], axis=0)
    return total


def mean_covariance(parts: Sequence[PackedMoments], columns: NDArray[np.intp]) -> Float64Array:
    """Return the covariance of units, as the mean over the columns that each of them has.

    Args:
        parts: Moments about the same shift, which count together.
        columns: The columns of each unit, shape (units, columns of a unit).

    Returns:
        Shape (units, units).
    """
    count = sum(part.count for part in parts)
    offset = total_of(parts) / count
    total = np.zeros((len(columns), len(columns)))
    for part in parts:
        gram = part.moments.gram
        for of_units in columns.T:
            total += gram[np.ix_(of_units, of_units)]
    means = offset[columns]
    covariance: Float64Array = total / (count * columns.shape[1])
    covariance -= means @ means.T / columns.shape[1]
    covariance = (covariance + covariance.T) / 2
    np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0.0))
    return covariance
