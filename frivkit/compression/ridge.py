"""Refit consumers to the units that are kept: ridge regression on the original outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.low_rank import Factors
from frivkit.compression.patch_moments import PatchMoments
from frivkit.compression.second_moments import second_moment
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
        bias = linear_consumer.bias if linear_consumer.has_bias_freedom else None
        return Fit(linear_consumer, columns, linear_consumer.matrix, bias, 0.0, 0.0)
    if patch_moments.per_channel:
        return _fit_per_channel(linear_consumer, patch_moments, columns)
    best, error = DEFAULT, None
    if patch_moments.has_validation:
        best, errors, variances = choose_ridge(linear_consumer, patch_moments, columns)
        error = float(errors.sum() / variances.sum()) if variances.sum() > 0 else 0.0
    order, weights, kept = _kept_first(linear_consumer, columns)
    about = None if linear_consumer.has_bias_freedom else np.zeros(len(order))
    second = second_moment(patch_moments.parts, order, about)
    (change,) = second.changes(weights, [kept], ridge_of(best, second.mean_variance, len(order)))
    matrix, bias = weights[:kept] + change, None
    if linear_consumer.has_bias_freedom:
        mean = patch_moments.mean
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
    order, _, kept = _kept_first(linear_consumer, columns)
    (errors,), variances = validation_errors(
        linear_consumer, patch_moments, order, [kept], strengths
    )
    best = int(np.argmin(errors.sum(axis=1)))
    return strengths[best], errors[best], variances


def validation_errors(
    linear_consumer: LinearConsumer,
    patch_moments: PatchMoments,
    order: NDArray[np.intp],
    kept: Sequence[int],
    strengths: Sequence[float],
) -> tuple[Float64Array, Float64Array]:
    """Return the validation errors of fits to nested sets of columns.

    Args:
        linear_consumer: The node.
        patch_moments: The moments of whole patches, with validation examples.
        order: All columns, those that are kept longest first, shape (columns,).
        kept: Numbers of columns that are kept, the first in the order.
        strengths: The ridges to try, as shares of the mean variance of a column.

    Returns:
        The mean squared error of each output on the validation examples, shape (numbers,
        strengths, outputs); and the mean square of each original output there, about the mean of
        the examples that are fitted to if the bias is free, shape (outputs,).
    """
    if not patch_moments.has_validation:
        raise ValueError("no examples were set aside")
    fitted, validation = patch_moments.parts
    free = linear_consumer.has_bias_freedom
    zero = np.zeros(len(order))
    weights = linear_consumer.matrix[order]
    seen = second_moment([fitted], order, None if free else zero)
    unseen = second_moment([validation], order, fitted.mean if free else zero)
    by_strength = [
        seen.changes(weights, kept, ridge_of(each, seen.mean_variance, len(order)))
        for each in strengths
    ]
    errors = [unseen.errors(weights, changes) for changes in zip(*by_strength, strict=True)]
    return np.stack(errors), unseen.errors(weights, [weights[:0]])[0]


def ridge_of(strength: float, mean_variance: float, columns: int) -> float:
    """Return what a ridge adds to each variance.

    Args:
        strength: Of the ridge, as a share of the mean variance of a column.
        mean_variance: The mean variance of a column.
        columns: The number of columns.
    """
    return max(strength, ROUNDING * columns**0.5) * mean_variance or 1.0  # 1 if nothing varies


def _kept_first(
    linear_consumer: LinearConsumer, columns: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], Float64Array, int]:
    """Return the columns with the kept ones first, their weights, and how many are kept."""
    order = np.concatenate([np.flatnonzero(columns), np.flatnonzero(~columns)])
    return order, linear_consumer.matrix[order], int(columns.sum())


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

    ridge = ridge_of(strength, float(covariance.diagonal().mean()), len(covariance))
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
