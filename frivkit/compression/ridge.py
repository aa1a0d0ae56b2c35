"""Refit consumers to the units that are kept: ridge regression on the original outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.low_rank import Factors
from frivkit.compression.patch_moments import PatchMoments
from frivkit.units.moments import Float64Array, Moments

STRENGTHS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
"""Ridges that are tried, as shares of the mean variance of a column."""
ROUNDING = 1e-6
"""Rounding error of an eigenvalue of float32 sums, as a share of the mean variance of a column and
per root of the number of columns."""
DEFAULT = 1e-2
"""The ridge if too few examples are there to set some aside."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """New weights of one node.

    Attributes:
        linear_consumer: The node.
        columns: Which columns are kept, shape (columns,).
        matrix: The refitted matrix, shape (kept columns, outputs).
        bias: The refitted bias, shape (outputs,); None if it does not change.
        ridge: The strength that was chosen, as a share of the mean variance of a column.
        error: The validation error: the squared error of its outputs on examples that were not
            fitted to, as a share of their variance; None if no examples were set aside.
        factors: The factors whose product ``matrix`` is, if the node becomes two; else None.
    """

    linear_consumer: LinearConsumer
    columns: NDArray[np.bool_]
    matrix: Float64Array
    bias: Float64Array | None
    ridge: float
    error: float | None
    factors: Factors | None = None


def fit_ridge(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, columns: NDArray[np.bool_]
) -> Fit:
    """Fit the weights of the kept columns to the outputs of all columns.

    The ridge pulls towards the original weights of these columns, not towards zero.  Its strength
    is the one of least error on the validation examples.

    Args:
        linear_consumer: The node.
        patch_moments: The moments of its input.
        columns: Which columns are kept, shape (columns,).

    Source:
        Ridge regression, Hoerl and Kennard, Technometrics 12(1), 1970; least squares on
        activations as in Casper et al., "Frivolous Units", AAAI 2021, appendix C.
    """
    if columns.all():
        return Fit(linear_consumer, columns, linear_consumer.matrix, None, 0.0, 0.0)
    if patch_moments.per_channel:
        return _fit_per_channel(linear_consumer, patch_moments, columns)
    best, error = DEFAULT, None
    if patch_moments.validation is not None:
        best, errors, variances = choose_ridge(linear_consumer, patch_moments, columns)
        error = float(errors.sum() / variances.sum()) if variances.sum() > 0 else 0.0
    mean, covariance = mean_and_second_moment(linear_consumer, patch_moments.whole)
    cross = covariance[columns] @ linear_consumer.matrix
    matrix = solve(covariance, columns, best, cross, linear_consumer.matrix)
    bias = None
    if linear_consumer.has_bias_freedom:
        bias = linear_consumer.bias + mean @ linear_consumer.matrix - mean[columns] @ matrix
    return Fit(linear_consumer, columns, matrix, bias, best, error)


def choose_ridge(
    linear_consumer: LinearConsumer,
    patch_moments: PatchMoments,
    columns: NDArray[np.bool_],
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, Float64Array, Float64Array]:
    """Return the ridge of least error on the validation examples, fitted to the others.

    Args:
        linear_consumer: The node.
        patch_moments: The moments of whole patches, with validation examples.
        columns: Which columns are kept, shape (columns,).
        strengths: The ridges to try, as shares of the mean variance of a column.

    Returns:
        The strength, and for each output the squared error and the variance on the validation
        examples, both of shape (outputs,).
    """
    mean, covariance = mean_and_second_moment(linear_consumer, patch_moments.fitted)
    second = _validation_moment(linear_consumer, patch_moments, mean)
    cross = covariance[columns] @ linear_consumer.matrix
    errors = []
    for strength in strengths:
        change = linear_consumer.matrix.copy()
        change[columns] -= solve(covariance, columns, strength, cross, linear_consumer.matrix)
        errors.append(np.einsum("ij,ij->j", change, second @ change))
    best = int(np.argmin([error.sum() for error in errors]))
    variances = np.einsum("ij,ij->j", linear_consumer.matrix, second @ linear_consumer.matrix)
    return strengths[best], errors[best], variances


def without_refit(linear_consumer: LinearConsumer, columns: NDArray[np.bool_]) -> Fit:
    """Return the original weights of the kept columns."""
    return Fit(linear_consumer, columns, linear_consumer.matrix[columns], None, 0.0, None)


def mean_and_second_moment(
    linear_consumer: LinearConsumer, moments: Moments
) -> tuple[Float64Array, Float64Array]:
    """Return mean and covariance; without a free bias zero and the second moment about zero."""
    if linear_consumer.has_bias_freedom:
        return moments.mean, moments.covariance
    return np.zeros(moments.units), moments.covariance + np.outer(moments.mean, moments.mean)


def _validation_moment(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, mean: Float64Array
) -> Float64Array:
    """Return the second moment of the validation examples about the mean of the fitted ones."""
    validation = patch_moments.validation
    if validation is None:
        raise ValueError("no examples were set aside")
    shift = validation.mean - (mean if linear_consumer.has_bias_freedom else 0.0)
    second: Float64Array = validation.covariance + np.outer(shift, shift)
    return second


def solve(
    covariance: Float64Array,
    columns: NDArray[np.bool_],
    strength: float,
    cross: Float64Array,
    original: Float64Array,
) -> Float64Array:
    """Return the matrix of the kept columns, by ridge regression.

    Args:
        covariance: Of all columns, shape (columns, columns).
        columns: Which columns are kept, shape (columns,).
        strength: Of the ridge, as a share of the mean variance of a column.
        cross: Covariance of the kept columns with the targets, shape (kept columns, outputs).
        original: The matrix of all columns, towards which the ridge pulls.

    Returns:
        Shape (kept columns, outputs).
    """
    from scipy.linalg import cho_factor, cho_solve

    mean = float(covariance.diagonal().mean())
    ridge = max(strength, ROUNDING * np.sqrt(len(covariance))) * mean or 1.0  # 1 if nothing varies
    inner = covariance[np.ix_(columns, columns)]
    inner[np.diag_indices_from(inner)] += ridge
    right = cross + ridge * original[columns]
    solved: Float64Array = cho_solve(cho_factor(inner, overwrite_a=True, check_finite=False), right)
    return solved


def _fit_per_channel(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, columns: NDArray[np.bool_]
) -> Fit:
    """Fit kept units to removed ones, in the same way at every position of a patch."""
    size = linear_consumer.source.unit_columns
    kept = columns.reshape(-1, size)[:, 0]
    whole = patch_moments.whole
    covariance = (
        whole.covariance
        if linear_consumer.has_bias_freedom
        else whole.covariance + np.outer(whole.mean, whole.mean)
    )
    inner = covariance[np.ix_(kept, kept)]
    ridge = DEFAULT * float(covariance.diagonal().mean()) or 1.0
    inner[np.diag_indices_from(inner)] += ridge
    share = np.linalg.solve(inner, covariance[np.ix_(kept, ~kept)])
    by_unit = linear_consumer.matrix.reshape(len(kept), size, -1)
    fitted = by_unit[kept] + np.einsum("kr,rtm->ktm", share, by_unit[~kept])
    bias = None
    if linear_consumer.has_bias_freedom:
        before = np.einsum("c,ctm->m", whole.mean, by_unit)
        bias = linear_consumer.bias + before - np.einsum("k,ktm->m", whole.mean[kept], fitted)
    return Fit(linear_consumer, columns, fitted.reshape(-1, by_unit.shape[-1]), bias, DEFAULT, None)
