"""Ridge regression of targets on rows, with the ridge chosen by rows set aside."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.patch_moments import FLOAT64_BELOW
from frivkit.compression.ridge import STRENGTHS, ridge_of
from frivkit.compression.second_moments import SCARCE
from frivkit.units.moments import Float64Array
from frivkit_compressors.relu import ROUNDS

STRONGER = (*STRENGTHS, 1e2, 1e3)
"""Ridges that are tried: the strongest leave the plain refit as it is."""
CHUNK = 4096
"""Rows that are centred and multiplied at a time."""

Rows = NDArray[np.float32]
Solver = Callable[[Float64Array], Float64Array]


class Regression:
    """Ridge regression of targets on rows, which pulls towards an original matrix.

    Args:
        rows: Shape (rows, columns).
        targets: Shape (rows, outputs).
        validation: Whether a row is set aside to choose the ridge, shape (rows,).
        free_bias: Whether rows and targets are taken about their means.

    Attributes:
        has_validation: Whether rows are set aside.
        mean: The mean of all rows; 0 if the bias is not free, shape (columns,).
        covariance: Of all rows; their second moment if the bias is not free, shape (columns,
            columns).
    """

    def __init__(
        self, rows: Rows, targets: Rows, validation: NDArray[np.bool_], *, free_bias: bool
    ) -> None:
        self._rows, self._targets, self._free_bias = rows, targets, free_bias
        self._validation = validation
        self.mean: Float64Array = rows.mean(axis=0, dtype=np.float64) * free_bias
        self._target_mean = targets.mean(axis=0, dtype=np.float64) * free_bias
        self._gram: Float64Array | None = None
        self.has_validation = bool(validation.any())
        if self.has_validation:
            self._unseen = rows[validation], targets[validation]
        fitted_count = int((~validation).sum())
        # With few rows, float32 rounding would hide which directions have no variance.
        self._exact = fitted_count < FLOAT64_BELOW * rows.shape[1]
        self._whole: _Normal | _FewRows
        self._fitted: _Normal | _FewRows
        if SCARCE * fitted_count < rows.shape[1]:
            self._whole = _FewRows(rows, targets, free_bias=free_bias)
            self._fitted = _FewRows(rows[~validation], targets[~validation], free_bias=free_bias)
        else:
            self._whole, self._fitted = self._normals(fitted_count)

    @property
    def covariance(self) -> Float64Array:
        """The covariance of all rows."""
        if self._gram is None:
            self._gram = self._products(self._rows)
        return self._gram / len(self._rows)

    def _normals(self, fitted_count: int) -> tuple["_Normal", "_Normal"]:
        """Return the normal equations of all rows, and of those that are fitted to."""
        mean, target_mean = self.mean, self._target_mean
        cross = self._cross(self._rows, self._targets, target_mean)
        whole = _Normal(self.covariance, mean, target_mean, cross / len(self._rows))
        if not self.has_validation or self._gram is None:
            return whole, whole
        # The sums over the rows that are fitted to are what is left of those over all rows.
        rows, targets = self._unseen
        offset, target_offset = (
            (len(part) * about - part.sum(axis=0, dtype=np.float64))
            * self._free_bias
            / fitted_count
            for part, about in ((rows, mean), (targets, target_mean))
        )
        covariance = (self._gram - self._products(rows)) / fitted_count
        covariance -= np.outer(offset, offset)
        cross = (cross - self._cross(rows, targets, target_mean)) / fitted_count
        cross -= np.outer(mean + offset, target_offset)
        return whole, _Normal(covariance, mean + offset, target_mean + target_offset, cross)

    def projected(self, matrix: Float64Array) -> "Regression":
        """Return the regression of the same targets on linear functions of the rows.

        Args:
            matrix: Shape (columns, functions).
        """
        rows = self._rows @ matrix.astype(np.float32)
        return Regression(rows, self._targets, self._validation, free_bias=self._free_bias)

    def best(
        self, original: Float64Array, ridge: float, *, relu: bool
    ) -> tuple[Float64Array, Float64Array, float]:
        """Return matrix, bias and ridge of the fit of least error on the rows set aside.

        Args:
            original: The matrix towards which the ridge pulls.
            ridge: The ridge if no rows are set aside.
            relu: Whether a ReLU follows, so that any negative output will do for a negative target.
        """
        if self.has_validation:
            errors = [self.validation_error(original, strength) for strength in STRONGER]
            ridge = STRONGER[int(np.argmin(errors))]
        matrix, offset = self.solution(original, ridge)
        for _ in range(ROUNDS if relu else 0):
            matrix, offset = self.solution_before_relu(original, ridge, matrix, offset)
        return matrix, offset, ridge

    def validation_error(self, original: Float64Array, strength: float) -> float:
        """Return the squared error, on the rows set aside, of a fit to the others."""
        matrix, offset = self._fitted.solution(original, strength)
        rows, targets = self._unseen
        left = rows @ matrix.astype(np.float32)
        left += offset.astype(np.float32)
        left -= targets
        return float(np.vdot(left, left))

    def solution(
        self, original: Float64Array, strength: float
    ) -> tuple[Float64Array, Float64Array]:
        """Return matrix and bias of a fit to all rows."""
        return self._whole.solution(original, strength)

    def solution_before_relu(
        self, original: Float64Array, strength: float, matrix: Float64Array, offset: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return matrix and bias of a fit to all rows and moved targets.

        A negative target becomes the output of the last solution, or 0 if that is positive.
        """
        moved = self._rows @ matrix.astype(np.float32)
        moved += offset.astype(np.float32)
        np.minimum(moved, 0, out=moved)
        np.copyto(moved, self._targets, where=self._targets >= 0)
        mean = moved.mean(axis=0, dtype=np.float64)
        if isinstance(self._whole, _FewRows):
            self._whole.set_targets(moved, mean)
        else:
            cross = self._cross(self._rows, moved, mean)
            self._whole.mean_target, self._whole.cross = mean, cross / len(moved)
        return self._whole.solution(original, strength)

    def _products(self, rows: Rows) -> Float64Array:
        """Return the sum of products of rows about the mean of all rows."""
        gram = np.zeros((rows.shape[1], rows.shape[1]))
        for start in range(0, len(rows), CHUNK):
            part = self._typed(rows[start : start + CHUNK] - self.mean.astype(np.float32))
            gram += part.T @ part
        return gram

    def _typed(self, part: Rows) -> NDArray[np.floating]:
        """Return numbers in the type in which products are summed."""
        return part.astype(np.float64) if self._exact else part

    def _cross(self, rows: Rows, targets: Rows, mean: Float64Array) -> Float64Array:
        """Return the sum of products of rows with targets about a mean."""
        cross = np.zeros((rows.shape[1], targets.shape[1]))
        for start in range(0, len(rows), CHUNK):
            at = slice(start, start + CHUNK)
            centred = self._typed(targets[at] - mean.astype(np.float32))
            cross += self._typed(rows[at]).T @ centred
        return cross


class _Normal:
    """Normal equations of ridge regression.

    Args:
        covariance: Of the rows, shape (columns, columns).
        mean: Of the rows, shape (columns,); 0 if the bias is not free.
        mean_target: Of the targets, shape (outputs,); 0 if the bias is not free.
        cross: Covariance of rows and targets, shape (columns, outputs).
    """

    def __init__(
        self,
        covariance: Float64Array,
        mean: Float64Array,
        mean_target: Float64Array,
        cross: Float64Array,
    ) -> None:
        self._covariance, self._mean = covariance, mean
        self.mean_target, self.cross = mean_target, cross
        self._solver: tuple[float, Solver] | None = None

    def solution(
        self, original: Float64Array, strength: float
    ) -> tuple[Float64Array, Float64Array]:
        """Return matrix and bias for a ridge that pulls towards ``original``."""
        columns = len(self._covariance)
        mean_variance = max(float(self._covariance.diagonal().mean()), 0.0)
        ridge = ridge_of(strength, mean_variance, columns)
        if self._solver is None or self._solver[0] != ridge:
            self._solver = ridge, _solver(self._covariance, ridge)
        matrix = self._solver[1](self.cross + ridge * original)
        return matrix, self.mean_target - self._mean @ matrix


def _solver(covariance: Float64Array, ridge: float) -> "Solver":
    """Return the product with the inverse of a covariance and a ridge, as a function.

    A covariance of rows that hardly vary may have eigenvalues below 0 by rounding; they count as 0.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    inner = covariance.copy()
    inner[np.diag_indices(len(inner))] += ridge
    try:
        factor = cho_factor(inner, overwrite_a=True, check_finite=False)
    except LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        inverse = (vectors / (np.maximum(values, 0.0) + ridge)) @ vectors.T
        return lambda right: inverse @ right
    return lambda right: cho_solve(factor, right)


class _FewRows:
    """Ridge regression with far fewer rows than columns: systems as large as the rows are solved.

    Args:
        rows: Shape (rows, columns).
        targets: Shape (rows, outputs).
        free_bias: Whether rows and targets are taken about their means.
    """

    def __init__(self, rows: Rows, targets: Rows, *, free_bias: bool) -> None:
        self._mean = rows.mean(axis=0, dtype=np.float64) * free_bias
        self._rows = rows - self._mean
        self._products = self._rows @ self._rows.T / len(rows)
        self.set_targets(targets, targets.mean(axis=0, dtype=np.float64) * free_bias)

    def set_targets(self, targets: Rows, mean: Float64Array) -> None:
        """Take other targets, about a mean."""
        self._targets, self._mean_target = targets - mean, mean

    def solution(
        self, original: Float64Array, strength: float
    ) -> tuple[Float64Array, Float64Array]:
        """Return matrix and bias for a ridge that pulls towards ``original``."""
        count, columns = self._rows.shape
        ridge = ridge_of(strength, float(self._products.trace()) / columns, columns)
        left = self._targets - self._rows @ original
        solved = np.linalg.solve(self._products + ridge * np.eye(count), left)
        matrix = original + self._rows.T @ solved / count
        return matrix, self._mean_target - self._mean @ matrix
