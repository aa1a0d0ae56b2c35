"""Spectra of layers so wide that a units x units matrix does not fit into memory.

The activations are computed several times, a batch at a time.  If there are few rows, the spectrum
is that of the rows x rows Gram matrix, which has the same eigenvalues; else its leading part is
found by a randomised range finder.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import RunningVariance
from frivkit.units.statistics import FLOAT32_ROUNDING, explained_shares
from frivkit_redundancy.spectrum import Spectrum

Array = NDArray[np.float64]
Passes = Callable[[], Iterator[NDArray[Any]]]
"""Starts a new pass over the data, which yields consecutive matrices of shape (rows, units)."""

FIRST_BASIS = 128
"""Directions that the range finder begins with; they double until they explain enough."""
SPARE = 10
"""Directions beyond the rank, without which the last ones are inaccurate (Halko et al., 1.3)."""
MOST_PASSES = 20
"""Passes after which directions that still change are taken as they are."""
MOST_SLICES = 16
"""Passes that the rows x rows Gram matrix may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """The spectrum of a wide layer.

    Attributes:
        method: ``"examples"`` (all of the spectrum) or ``"randomised"`` (its leading part).
        spectrum: The eigenvalues.
        rows: The number of rows.
        constant: The number of units that never change.
    """

    method: Literal["examples", "randomised"]
    spectrum: Spectrum
    rows: int
    constant: int


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """The number of rows, and the mean and variance of each unit, from one pass."""

    rows: int
    mean: Array
    variance: Array


def wide_spectrum(
    passes: Passes, memory: int, tolerance: float, generator: np.random.Generator
) -> Wide | None:
    """Return the spectrum of a wide layer.

    Args:
        passes: The activations.
        memory: Bytes that may be taken beside the activations of one batch.
        tolerance: The share of variance that may stay unexplained, in (0, 1).
        generator: The source of the range finder's first directions.

    Returns:
        The spectrum, or None if memory does not hold as many directions as are needed.

    Raises:
        FloatingPointError: an activation is not finite, or too large to square.

    Source:
        Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011,
        algorithm 4.4 (randomised subspace iteration).

    Example:
        >>> rows = np.outer([0.0, 1.0, 3.0], np.ones(5))  # one direction, five times
        >>> wide = wide_spectrum(lambda: iter([rows]), 10**6, 0.05, np.random.default_rng(0))
        >>> wide.method, wide.spectrum.rank(0.05)
        ('examples', 1)
    """
    columns = _columns(passes)
    units, rows = len(columns.mean), columns.rows
    total = float(columns.variance.sum())
    if not np.isfinite(total):
        raise FloatingPointError("activations are not finite")
    constant = int((columns.variance == 0).sum())
    slice_units = memory // 2 // (8 * rows)  # half for a slice, half for the Gram matrix and copies
    few = rows <= units and 3 * 8 * rows**2 <= memory // 2
    if total == 0 or (few and units <= MOST_SLICES * slice_units):
        values = np.zeros(0) if total == 0 else _by_examples(passes, columns, slice_units)
        return Wide("examples", Spectrum(values, total, units), rows, constant)
    largest = min(units, rows, memory // (5 * 8 * units))  # a basis, its image, QR's copies
    leading = _leading(passes, columns, largest, tolerance, generator)
    if leading is None:
        return None
    return Wide("randomised", Spectrum(leading, total, units), rows, constant)


def _columns(passes: Passes) -> _Columns:
    sums = RunningVariance()
    with np.errstate(over="ignore", invalid="ignore"):  # seen in the sum of the variances
        for part in passes():
            sums.add(part)
        return _Columns(sums.count, sums.mean, sums.variance)


def _by_examples(passes: Passes, columns: _Columns, slice_units: int) -> Array:
    """Return the eigenvalues of the rows x rows Gram matrix, summed over slices of units."""
    gram = np.zeros((columns.rows, columns.rows))
    units = len(columns.mean)
    for first in range(0, units, slice_units):
        some = slice(first, min(first + slice_units, units))
        part_of_units = np.empty((columns.rows, some.stop - first))
        row = 0
        for part in passes():
            part_of_units[row : row + len(part)] = part[:, some]
            row += len(part)
        part_of_units -= columns.mean[some]
        gram += part_of_units @ part_of_units.T
    gram /= columns.rows
    values: Array = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    return values


def _leading(
    passes: Passes,
    columns: _Columns,
    largest: int,
    tolerance: float,
    generator: np.random.Generator,
) -> Array | None:
    """Return the leading eigenvalues, enough to leave at most ``tolerance`` unexplained.

    They are never larger than the true ones (Ritz values), so their rank is never too small.  None
    if ``largest`` directions do not suffice.
    """
    units = len(columns.mean)
    basis = np.empty((units, 0))
    while basis.shape[1] < largest:
        size = min(largest, 2 * basis.shape[1] or FIRST_BASIS)
        fresh = generator.standard_normal((units, size - basis.shape[1]))
        basis, values, short = _iterated(
            passes, columns, np.concatenate([basis, fresh], axis=1), tolerance
        )
        spare = 0 if size == min(units, columns.rows) else SPARE
        if short < size - spare:
            return values
    return None


def _iterated(
    passes: Passes, columns: _Columns, basis: Array, tolerance: float
) -> tuple[Array, Array, int]:
    """Iterate a basis towards the leading directions until the rank no longer changes.

    It no longer changes if the largest number of components that explains too little would do so
    even after gaining ten times as much as in the last pass.

    Returns:
        The basis, the eigenvalues of the covariance within it, and the largest number of them that
        explains too little.
    """
    wanted = 1 - tolerance - FLOAT32_ROUNDING
    values, short, earlier = np.zeros(0), 0, np.zeros(0)
    for _ in range(MOST_PASSES):
        basis = np.linalg.qr(basis)[0]
        image = _covariance_times(passes, columns, basis)
        values = np.maximum(np.linalg.eigvalsh(basis.T @ image)[::-1], 0.0)
        explained = explained_shares(values, float(columns.variance.sum()))
        short = int((explained < wanted).sum())
        if short == 0:
            break
        i = short - 1
        if len(earlier) and wanted - explained[i] > 10 * (explained[i] - earlier[i]):
            break
        basis, earlier = image, explained
    return basis, values, short


def _covariance_times(passes: Passes, columns: _Columns, basis: Array) -> Array:
    image = np.zeros_like(basis)
    for part in passes():
        centred = part - columns.mean
        image += centred.T @ (centred @ basis)
    image /= columns.rows
    return image
