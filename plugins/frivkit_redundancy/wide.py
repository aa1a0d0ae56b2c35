"""Spectra of layers so wide that a units x units matrix does not fit into memory.

The activations are gone through several times, a batch at a time.  Where there are few rows, the
spectrum is that of the rows x rows Gram, which has the same eigenvalues; else its leading part is
found by a randomised range finder.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import settled
from frivkit_redundancy.spectrum import EXACT, Spectrum

Array = NDArray[np.float64]
Passes = Callable[[], Iterator[NDArray[Any]]]
"""Starts a new pass, which gives matrices of shape (rows, units) that follow each other."""

FIRST_BASIS = 128
"""Directions that the range finder begins with; they double until they are enough."""
SPARE = 10
"""Directions beyond the rank, without which the last ones are inaccurate (Halko et al., 1.3)."""
MOST_PASSES = 20
"""Passes after which directions that still turn are taken as they are."""
MOST_SLICES = 16
"""Passes that the rows x rows Gram may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """The spectrum of a wide layer.

    Attributes:
        method: ``"examples"`` (all of the spectrum) or ``"randomised"`` (its leading part).
        spectrum: The eigenvalues found.
        rows: The number of rows.
        constant: The number of units that never change.
    """

    method: Literal["examples", "randomised"]
    spectrum: Spectrum
    rows: int
    constant: int


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """What one pass tells: how many rows, and each unit's mean and variance."""

    rows: int
    mean: Array
    variance: Array


def wide_spectrum(
    passes: Passes, memory: int, tolerance: float, generator: np.random.Generator
) -> Wide | None:
    """Take the spectrum of a wide layer.

    Args:
        passes: The activations.
        memory: Bytes that may be taken beside the activations of one batch.
        tolerance: The share of variance that may stay out of sight.
        generator: Where the range finder's first directions come from.

    Returns:
        The spectrum, or None where memory does not hold as many directions as are needed.

    Raises:
        FloatingPointError: an activation is not finite, or too large to square.

    Source:
        Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011,
        algorithm 4.4 (randomised subspace iteration).

    Example:
        >>> rows = np.outer([0.0, 1.0, 3.0], np.ones(5))  # one direction, five times
        >>> found = wide_spectrum(lambda: iter([rows]), 10**6, 0.05, np.random.default_rng(0))
        >>> found.method, found.spectrum.rank(0.05)
        ('examples', 1)
    """
    columns = _columns(passes)
    units, rows = len(columns.mean), columns.rows
    total = float(columns.variance.sum())
    if not np.isfinite(total):
        raise FloatingPointError("activations are not finite")
    constant = int((columns.variance == 0).sum())
    slice_units = memory // 2 // (8 * rows)  # half for a slice, half for the Gram and its like
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
    rows, shift, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
    with np.errstate(over="ignore", invalid="ignore"):  # seen in the sum of the variances
        for part in passes():
            if not rows:
                shift = part.mean(axis=0, dtype=np.float64)
                total, squares = np.zeros_like(shift), np.zeros_like(shift)
            rows += len(part)
            shifted = part - shift
            total += shifted.sum(axis=0)
            squares += np.einsum("ij,ij->j", shifted, shifted)
        offset = total / rows
        return _Columns(rows, shift + offset, settled(squares / rows, offset))


def _by_examples(passes: Passes, columns: _Columns, slice_units: int) -> Array:
    """Return the eigenvalues of the rows x rows Gram, summed over slices of units."""
    gram = np.zeros((columns.rows, columns.rows))
    units = len(columns.mean)
    for first in range(0, units, slice_units):
        some = slice(first, min(first + slice_units, units))
        held = np.empty((columns.rows, some.stop - first))
        row = 0
        for part in passes():
            held[row : row + len(part)] = part[:, some]
            row += len(part)
        held -= columns.mean[some]
        gram += held @ held.T
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
    """Return the leading eigenvalues, as many as leave at most ``tolerance`` out of sight.

    They are never larger than the true ones (Ritz values), so that a rank read off them is never
    too small.
    """
    units = len(columns.mean)
    basis = np.empty((units, 0))
    while basis.shape[1] < largest:
        size = min(largest, 2 * basis.shape[1] or FIRST_BASIS)
        fresh = generator.standard_normal((units, size - basis.shape[1]))
        basis, values, short = _turned(
            passes, columns, np.concatenate([basis, fresh], axis=1), tolerance
        )
        spare = 0 if size == min(units, columns.rows) else SPARE
        if short < size - spare:
            return values
    return None


def _turned(
    passes: Passes, columns: _Columns, basis: Array, tolerance: float
) -> tuple[Array, Array, int]:
    """Turn a basis towards the leading directions until the rank is settled.

    That is when the most components that fall short would not suffice even if they gained ten
    times what they gained in the last pass.

    Returns:
        The basis, the eigenvalues of the covariance within it, and how many of them fall short.
    """
    wanted = 1 - tolerance - EXACT
    values, short, earlier = np.zeros(0), 0, np.zeros(0)
    for _ in range(MOST_PASSES):
        basis = np.linalg.qr(basis)[0]
        image = _covariance_times(passes, columns, basis)
        values = np.maximum(np.linalg.eigvalsh(basis.T @ image)[::-1], 0.0)
        explained = np.cumsum(values) / columns.variance.sum()
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
