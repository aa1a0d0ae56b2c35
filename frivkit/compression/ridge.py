"""Refit what reads units to the units that are left: ridge regression on the original outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import Array, Reading
from frivkit.compression.patch_moments import Sums

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
        reading: The node.
        columns: Which columns stay, shape (columns,).
        matrix: The refitted matrix, shape (columns that stay, outputs).
        bias: The refitted bias, shape (outputs,); None where it does not change.
        ridge: The strength that was chosen.
        error: The squared error in its outputs on examples it was not fitted to, as a share of
            their variance; None where none were kept apart.
    """

    reading: Reading
    columns: NDArray[np.bool_]
    matrix: Array
    bias: Array | None
    ridge: float
    error: float | None


def fit(reading: Reading, sums: Sums, columns: NDArray[np.bool_]) -> Fit:
    """Fit the columns that stay to the outputs of all.

    The ridge pulls towards the original weights of these columns, not towards zero.  Its strength
    is the one with the least error on the examples kept apart.

    Source:
        Ridge regression, Hoerl and Kennard, Technometrics 12(1), 1970; least squares on
        activations as in Casper et al., "Frivolous Units", AAAI 2021, appendix C.
    """
    if sums.channels:
        return _fit_channels(reading, sums, columns)
    best, error = UNTRIED, None
    if sums.held is not None:
        best, lost, made = tried(reading, sums, columns)
        error = float(lost.sum() / made.sum()) if made.sum() > 0 else 0.0
    mean, covariance = _first_two(reading, sums, fitted=False)
    cross = covariance[columns] @ reading.matrix
    matrix = solve(covariance, columns, best, cross, reading.matrix)
    bias = None
    if reading.centred:
        bias = reading.bias + mean @ reading.matrix - mean[columns] @ matrix
    return Fit(reading, columns, matrix, bias, best, error)


def tried(
    reading: Reading,
    sums: Sums,
    columns: NDArray[np.bool_],
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, Array, Array]:
    """Find the ridge that does best on the examples kept apart, fitted to the others.

    Args:
        reading: The node.
        sums: The moments of whole patches, with examples kept apart.
        columns: Which columns stay, shape (columns,).
        strengths: The ridges to try.

    Returns:
        The strength, and for each output the squared error and the variance on the examples kept
        apart, shape (outputs,).
    """
    mean, covariance = _first_two(reading, sums, fitted=True)
    unseen = _about(reading, sums, mean)
    cross = covariance[columns] @ reading.matrix
    errors = []
    for strength in strengths:
        change = reading.matrix.copy()
        change[columns] -= solve(covariance, columns, strength, cross, reading.matrix)
        errors.append(np.einsum("ij,ij->j", change, unseen @ change))
    best = int(np.argmin([error.sum() for error in errors]))
    made = np.einsum("ij,ij->j", reading.matrix, unseen @ reading.matrix)
    return strengths[best], errors[best], made


def sliced(reading: Reading, columns: NDArray[np.bool_]) -> Fit:
    """Give the original weights of the columns that stay."""
    return Fit(reading, columns, reading.matrix[columns], None, 0.0, None)


def _first_two(reading: Reading, sums: Sums, *, fitted: bool) -> tuple[Array, Array]:
    """Give mean and covariance; behind overlapping patches zero and the second moment."""
    moments = sums.fitted if fitted else sums.whole
    if reading.centred:
        return moments.mean, moments.covariance
    return np.zeros(moments.units), moments.covariance + np.outer(moments.mean, moments.mean)


def _about(reading: Reading, sums: Sums, mean: Array) -> Array:
    """Give the second moment of the examples kept apart about the mean that is fitted with."""
    held = sums.held
    if held is None:
        raise ValueError("no examples were kept apart")
    step = held.mean - (mean if reading.centred else 0.0)
    second: Array = held.covariance + np.outer(step, step)
    return second


def solve(
    covariance: Array, columns: NDArray[np.bool_], strength: float, cross: Array, original: Array
) -> Array:
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
    solved: Array = cho_solve(cho_factor(inner, overwrite_a=True, check_finite=False), right)
    return solved


def _fit_channels(reading: Reading, sums: Sums, columns: NDArray[np.bool_]) -> Fit:
    """Let positions that stay take over those that left, alike at every place of a patch."""
    taps = reading.source.spread
    stays = columns.reshape(-1, taps)[:, 0]
    whole = sums.whole
    covariance = (
        whole.covariance if reading.centred else whole.covariance + np.outer(whole.mean, whole.mean)
    )
    inner = covariance[np.ix_(stays, stays)]
    floor = UNTRIED * float(covariance.diagonal().mean()) or 1.0
    inner[np.diag_indices_from(inner)] += floor
    share = np.linalg.solve(inner, covariance[np.ix_(stays, ~stays)])
    by_place = reading.matrix.reshape(len(stays), taps, -1)
    fitted = by_place[stays] + np.einsum("kr,rtm->ktm", share, by_place[~stays])
    bias = None
    if reading.centred:
        before = np.einsum("c,ctm->m", whole.mean, by_place)
        bias = reading.bias + before - np.einsum("k,ktm->m", whole.mean[stays], fitted)
    return Fit(reading, columns, fitted.reshape(-1, by_place.shape[-1]), bias, UNTRIED, None)
