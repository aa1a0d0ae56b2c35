"""Refit what reads units to the units that are left: ridge regression on the original outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.patch_moments import PatchMoments
from frivkit.units.moments import Float64Array

STRENGTHS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
"""Ridges that are tried, as shares of the mean variance of a column."""
ROUNDING = 1e-6
"""What float32 sums may miss of an eigenvalue, as a share of the mean variance, times the root of
the columns."""
UNTRIED = 1e-2
"""The ridge where too few examples were there to keep some apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """New weights of one node.

    Attributes:
        linear_consumer: The node.
        columns: Which columns stay, shape (columns,).
        matrix: The refitted matrix, shape (columns that stay, outputs).
        bias: The refitted bias, shape (outputs,); None where it does not change.
        ridge: The strength that was chosen.
        error: The squared error in its outputs on examples it was not fitted to, as a share of
            their variance; None where none were kept apart.
    """

    linear_consumer: LinearConsumer
    columns: NDArray[np.bool_]
    matrix: Float64Array
    bias: Float64Array | None
    ridge: float
    error: float | None


def fit(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, columns: NDArray[np.bool_]
) -> Fit:
    """Fit the columns that stay to the outputs of all.

    The ridge pulls towards the original weights of these columns, not towards zero.  Its strength
    is the one with the least error on the examples kept apart.

    Source:
        Ridge regression, Hoerl and Kennard, Technometrics 12(1), 1970; least squares on
        activations as in Casper et al., "Frivolous Units", AAAI 2021, appendix C.
    """
    if patch_moments.per_channel:
        return _fit_channels(linear_consumer, patch_moments, columns)
    best, error = UNTRIED, None
    if patch_moments.validation is not None:
        best, lost, made = tried(linear_consumer, patch_moments, columns)
        error = float(lost.sum() / made.sum()) if made.sum() > 0 else 0.0
    mean, covariance = _first_two(linear_consumer, patch_moments, fitted=False)
    cross = covariance[columns] @ linear_consumer.matrix
    matrix = solve(covariance, columns, best, cross, linear_consumer.matrix)
    bias = None
    if linear_consumer.has_bias_freedom:
        bias = linear_consumer.bias + mean @ linear_consumer.matrix - mean[columns] @ matrix
    return Fit(linear_consumer, columns, matrix, bias, best, error)


def tried(
    linear_consumer: LinearConsumer,
    patch_moments: PatchMoments,
    columns: NDArray[np.bool_],
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, Float64Array, Float64Array]:
    """Find the ridge that does best on the examples kept apart, fitted to the others.

    Args:
        linear_consumer: The node.
        patch_moments: The moments of whole patches, with examples kept apart.
        columns: Which columns stay, shape (columns,).
        strengths: The ridges to try.

    Returns:
        The strength, and for each output the squared error and the variance on the examples kept
        apart, shape (outputs,).
    """
    mean, covariance = _first_two(linear_consumer, patch_moments, fitted=True)
    unseen = _about(linear_consumer, patch_moments, mean)
    cross = covariance[columns] @ linear_consumer.matrix
    errors = []
    for strength in strengths:
        change = linear_consumer.matrix.copy()
        change[columns] -= solve(covariance, columns, strength, cross, linear_consumer.matrix)
        errors.append(np.einsum("ij,ij->j", change, unseen @ change))
    best = int(np.argmin([error.sum() for error in errors]))
    made = np.einsum("ij,ij->j", linear_consumer.matrix, unseen @ linear_consumer.matrix)
    return strengths[best], errors[best], made


def sliced(linear_consumer: LinearConsumer, columns: NDArray[np.bool_]) -> Fit:
    """Return the original weights of the columns that stay."""
    return Fit(linear_consumer, columns, linear_consumer.matrix[columns], None, 0.0, None)


def _first_two(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, *, fitted: bool
) -> tuple[Float64Array, Float64Array]:
    """Return mean and covariance; behind overlapping patches zero and the second moment."""
    moments = patch_moments.fitted if fitted else patch_moments.whole
    if linear_consumer.has_bias_freedom:
        return moments.mean, moments.covariance
    return np.zeros(moments.units), moments.covariance + np.outer(moments.mean, moments.mean)


def _about(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, mean: Float64Array
) -> Float64Array:
    """Return the second moment of the examples kept apart about the mean that is fitted with."""
    held = patch_moments.validation
    if held is None:
        raise ValueError("no examples were kept apart")
    step = held.mean - (mean if linear_consumer.has_bias_freedom else 0.0)
    second: Float64Array = held.covariance + np.outer(step, step)
    return second


def solve(
    covariance: Float64Array,
    columns: NDArray[np.bool_],
    strength: float,
    cross: Float64Array,
    original: Float64Array,
) -> Float64Array:
    """Solve for the matrix of the columns that stay.

    Args:
        covariance: Of all columns.
        columns: Which stay.
        strength: Of the ridge, as a share of the mean variance of a column.
        cross: Covariance of the columns that stay with the targets.
        original: The matrix of all columns, towards which the ridge pulls.
    """
    from scipy.linalg import cho_factor, cho_solve

    mean = float(covariance.diagonal().mean())
    floor = max(strength, ROUNDING * np.sqrt(len(covariance))) * mean or 1.0  # nothing varies
    inner = covariance[np.ix_(columns, columns)]
    inner[np.diag_indices_from(inner)] += floor
    right = cross + floor * original[columns]
    solved: Float64Array = cho_solve(cho_factor(inner, overwrite_a=True, check_finite=False), right)
    return solved


def _fit_channels(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments, columns: NDArray[np.bool_]
) -> Fit:
    """Let positions that stay take over those that left, alike at every place of a patch."""
    taps = linear_consumer.source.spread
    stays = columns.reshape(-1, taps)[:, 0]
    whole = patch_moments.whole
    covariance = (
        whole.covariance
        if linear_consumer.has_bias_freedom
        else whole.covariance + np.outer(whole.mean, whole.mean)
    )
    inner = covariance[np.ix_(stays, stays)]
    floor = UNTRIED * float(covariance.diagonal().mean()) or 1.0
    inner[np.diag_indices_from(inner)] += floor
    share = np.linalg.solve(inner, covariance[np.ix_(stays, ~stays)])
    by_place = linear_consumer.matrix.reshape(len(stays), taps, -1)
    fitted = by_place[stays] + np.einsum("kr,rtm->ktm", share, by_place[~stays])
    bias = None
    if linear_consumer.has_bias_freedom:
        before = np.einsum("c,ctm->m", whole.mean, by_place)
        bias = linear_consumer.bias + before - np.einsum("k,ktm->m", whole.mean[stays], fitted)
    return Fit(
        linear_consumer, columns, fitted.reshape(-1, by_place.shape[-1]), bias, UNTRIED, None
    )
