"""Ridge fits of one node to nested sets of its columns, from second moments.

Columns are in the order in which they are kept: a fit keeps the first ones.  So one Cholesky
factorization serves all sets of columns, since a leading block of a triangular factor is the factor
of the leading block.  With far fewer rows than columns a second moment is held as a root of low
rank, and the systems that are solved are as large as its rank.

Source:
    Golub and Van Loan, "Matrix Computations", 4th edition, sections 4.2.8 (pivoted Cholesky) and
    2.1.4 (the identity by which a ridge fit is solved in the space of rows).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.packed_moments import PackedMoments, total_of
from frivkit.units.moments import Float64Array

SCARCE = 2
"""Columns for each row from which on a second moment is held as a root of low rank."""


class SecondMoment(ABC):
    """The second moment of the columns of one input, about a vector.

    Attributes:
        mean_variance: The mean of its diagonal.
    """

    mean_variance: float

    @abstractmethod
    def changes(
        self, weights: Float64Array, kept: Sequence[int], ridge: float
    ) -> list[Float64Array]:
        """Return how the weights of kept columns change in a ridge fit to the original outputs.

        Args:
            weights: The original weights of all columns, shape (columns, outputs).
            kept: Numbers of columns that are kept, the first ones.
            ridge: What is added to the diagonal; it pulls towards the original weights.

        Returns:
            For each number an array of shape (kept columns, outputs).
        """

    @abstractmethod
    def errors(self, weights: Float64Array, changes: Sequence[Float64Array]) -> Float64Array:
        """Return the mean squared error of each output after changes of kept columns.

        Args:
            weights: The original weights of all columns, shape (columns, outputs).
            changes: Changes of the weights of the kept columns, alike in shape; the other columns
                are removed.

        Returns:
            Shape (changes, outputs).
        """


def second_moment(
    parts: Sequence[PackedMoments], order: NDArray[np.intp], about: Float64Array | None
) -> SecondMoment:
    """Return a second moment of columns in another order.

    Args:
        parts: Moments about the same shift, which count together.
        order: The columns, those that are kept longest first, shape (columns,).
        about: The vector that is subtracted from each row, in the original order, shape (columns,);
            None takes the mean of the rows.
    """
    from scipy.linalg.blas import dger

    count = sum(part.count for part in parts)
    offset = total_of(parts) / count
    at = np.ix_(order, order)
    matrix = np.zeros((len(order), len(order)), order="F")
    for part in parts:
        matrix += part.moments.gram[at]
    matrix /= count
    matrix = dger(-1.0, offset[order], offset[order], a=matrix, overwrite_a=1)
    if about is not None:
        distance = (parts[0].shift + offset - about)[order]
        matrix = dger(1.0, distance, distance, a=matrix, overwrite_a=1)
    mean_variance = float(np.maximum(matrix.diagonal(), 0.0).mean())
    if SCARCE * (count + 1) <= len(order):
        return _LowRank(matrix, mean_variance)
    return _Dense(matrix, mean_variance)


class _Dense(SecondMoment):
    """A second moment as a matrix."""

    def __init__(self, matrix: Float64Array, mean_variance: float) -> None:
        self._matrix, self.mean_variance = matrix, mean_variance

    def changes(
        self, weights: Float64Array, kept: Sequence[int], ridge: float
    ) -> list[Float64Array]:
        from scipy.linalg import cholesky, solve_triangular

        most = max(kept)
        inner = self._matrix[:most, :most].copy(order="F")
        inner[np.diag_indices(most)] += ridge
        root = cholesky(inner, lower=True, overwrite_a=True, check_finite=False)
        right = self._matrix[:most] @ weights + ridge * weights[:most]
        half = solve_triangular(root, right, lower=True, overwrite_b=True, check_finite=False)
        found = []
        for count in kept:
            fitted = solve_triangular(
                root[:count, :count], half[:count], lower=True, trans="T", check_finite=False
            )
            found.append(fitted - weights[:count])
        return found

    def errors(self, weights: Float64Array, changes: Sequence[Float64Array]) -> Float64Array:
        count = len(changes[0])
        lost = self._matrix[:, count:] @ weights[count:]
        constant = np.einsum("ij,ij->j", weights[count:], lost[count:])
        moved = self._matrix[:count, :count] @ np.hstack(changes)
        moved = moved.reshape(count, len(changes), weights.shape[1]).transpose(1, 0, 2)
        pairs = zip(changes, moved, strict=True)
        return np.stack(
            [
                constant + np.einsum("ij,ij->j", change, product - 2 * lost[:count])
                for change, product in pairs
            ]
        )


class _LowRank(SecondMoment):
    """A second moment as a root of low rank."""

    def __init__(self, matrix: Float64Array, mean_variance: float) -> None:
        from scipy.linalg.lapack import dpstrf

        self.mean_variance = mean_variance
        lower, pivots, rank, _ = dpstrf(matrix, lower=1, overwrite_a=1)
        self._root = np.empty((len(pivots), rank))
        self._root[pivots - 1] = np.tril(lower[:, :rank])

    def changes(
        self, weights: Float64Array, kept: Sequence[int], ridge: float
    ) -> list[Float64Array]:
        found = []
        for count in kept:
            inner = self._root[:count]
            system = inner.T @ inner
            system[np.diag_indices_from(system)] += ridge
            lost = self._root[count:].T @ weights[count:]
            found.append(inner @ np.linalg.solve(system, lost))
        return found

    def errors(self, weights: Float64Array, changes: Sequence[Float64Array]) -> Float64Array:
        count = len(changes[0])
        lost = self._root[count:].T @ weights[count:]
        inner = self._root[:count].T
        return np.stack([((lost - inner @ change) ** 2).sum(axis=0) for change in changes])
