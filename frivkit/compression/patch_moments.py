"""Second moments of the patches that weighted nodes read, in one streamed pass over the data."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import Array, ConsumerInput
from frivkit.data import Batch, Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import batch_size
from frivkit.runtime.perturbed_model import run_padded
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.units.moments import Moments

VALIDATION_SHARE = 5
"""Every so manieth example is kept apart, to choose the strength of ridges by."""
FEWEST = 24
"""PatchReader of an example that are taken at least, where it has as many."""
ENOUGH = 8
"""Rows a column beyond which more patches of an example are not needed."""
FLAT = 4
"""Rows a column below which products are summed in float64."""
ROWS_BYTES = 64 << 20
"""Bytes of rows that are taken at a time."""
WORKING = 6
"""Matrices as large as a Gram that a fit needs at once, the two that are summed included."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchMoments:
    """What a pass over the data tells.

    Attributes:
        fitted: The moments of the examples that are fitted to.
        validation: Those of the examples kept apart; None where there were too few to keep any.
        per_channel: Whether rows are single places of a patch, one column a position, since the
            moments of whole patches would not fit into memory.
    """

    fitted: Moments
    validation: Moments | None
    per_channel: bool

    @property
    def whole(self) -> Moments:
        """The moments of all examples."""
        return self.fitted if self.validation is None else self.fitted + self.validation


class PatchReader:
    """Takes rows out of the runtime."""

    def __init__(
        self,
        model: Model,
        sources: Sequence[ConsumerInput],
        device: Device,
        more: Sequence[str] = (),
    ) -> None:
        """Make the session.

        Args:
            model: The model.
            sources: Where rows come from.
            device: Where to run.
            more: Further tensors to take out.
        """
        self._model = model
        self._names = list(dict.fromkeys([*(s.tensor for s in sources), *more]))
        inputs = {v.name for v in model.graph.inputs}
        self._given = [name for name in self._names if name in inputs]
        graph = with_outputs(model, [name for name in self._names if name not in inputs])
        self._inputs = graph.inputs
        self._session = Session(graph.ir, device)

    def of_batch(self, batch: Batch) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return the index of a batch's first example, and every tensor."""
        return batch.first, self.tensors(batch.inputs)

    def tensors(self, inputs: Feeds) -> dict[str, NDArray[Any]]:
        """Return every tensor for one batch of examples."""
        wanted = [name for name in self._names if name not in self._given]
        feeds = {name: inputs[name] for name in self._inputs}
        arrays = run_padded(self._session, self._model, feeds, wanted)
        return {name: inputs[name] for name in self._given} | dict(zip(wanted, arrays, strict=True))


def rows_of(
    source: ConsumerInput, tensor: NDArray[Any], picked: int | None, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return rows of a tensor: patches for a convolution, places for others.

    Args:
        source: What is read.
        tensor: Activations, examples first.
        picked: How many places of each example are taken at random, the same ones of all examples
            of the batch; None takes all.
        generator: Where randomness comes from.

    Returns:
        Shape (n · places, columns), the places of an example behind each other; columns are
        positions on the axis, and for each of them the places of the patch.
    """
    if source.geometry is None:
        moved = np.moveaxis(tensor, source.axis, -1)
        places = moved.reshape(len(moved), -1, moved.shape[-1])
        if picked is not None and picked < places.shape[1]:
            places = places[:, generator.choice(places.shape[1], picked, replace=False)]
        return places.reshape(-1, places.shape[-1]).astype(np.float32, copy=False)
    geometry, rank = source.geometry, len(source.geometry.kernel)
    front, behind = geometry.pads[:rank], geometry.pads[rank:]
    cut = tuple(
        slice(max(0, -a), size - max(0, -b))
        for a, b, size in zip(front, behind, tensor.shape[2:], strict=True)
    )
    around = [(max(0, a), max(0, b)) for a, b in zip(front, behind, strict=True)]
    padded = np.pad(tensor[(slice(None), slice(None), *cut)], [(0, 0), (0, 0), *around])
    sizes = padded.shape[2:]
    made = output_sizes(source, sizes)
    total = prod(made)
    chosen = np.arange(total)
    if picked is not None and picked < total:
        chosen = generator.choice(total, picked, replace=False)
    corners = np.unravel_index(chosen, made)
    taps = np.unravel_index(np.arange(source.taps), geometry.kernel)
    where = [
        corner[:, np.newaxis] * stride + tap * step
        for corner, stride, tap, step in zip(
            corners, geometry.strides, taps, geometry.dilations, strict=True
        )
    ]
    flat = padded.reshape(*padded.shape[:2], -1)[:, :, np.ravel_multi_index(where, sizes)]
    rows = flat.transpose(0, 2, 1, 3).reshape(-1, source.columns)
    return rows.astype(np.float32, copy=False)


def output_sizes(source: ConsumerInput, padded: Sequence[int]) -> tuple[int, ...]:
    """Return how many patches there are along each place axis of a padded tensor."""
    geometry = source.geometry
    if geometry is None:
        raise ValueError("only a convolution reads patches")
    return tuple(
        (size - step * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, step in zip(
            padded, geometry.kernel, geometry.strides, geometry.dilations, strict=True
        )
    )


def places_of(source: ConsumerInput) -> int:
    """Return how many rows one example has."""
    if source.geometry is None:
        return prod(source.shape) // source.shape[source.axis - 1]
    rank = len(source.geometry.kernel)
    pads = source.geometry.pads
    padded = [size + pads[i] + pads[rank + i] for i, size in enumerate(source.shape[1:])]
    return prod(output_sizes(source, padded))


def picked_of(source: ConsumerInput, examples: int) -> int | None:
    """Return how many places of each example are taken, None for all."""
    wanted = max(FEWEST, -(-ENOUGH * source.columns // examples))
    return None if wanted >= places_of(source) else wanted


def chunks_of(
    source: ConsumerInput, tensor: NDArray[Any], data: Dataset, seed: int, first: int
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Return the rows of a batch, a bounded number at a time: always the same for the same data.

    Args:
        source: What is read.
        tensor: Activations of the batch.
        data: The examples.
        seed: The seed of the places that are drawn.
        first: The number of the batch's first example.

    Yields:
        The number of the first example, how many there are, and their rows.
    """
    picked = picked_of(source, data.examples)
    places = places_of(source) if picked is None else picked
    some = max(1, ROWS_BYTES // (4 * places * source.columns))
    name = zlib.crc32(repr(source).encode())
    for start in range(0, len(tensor), some):
        generator = np.random.default_rng([seed, first + start, name])
        part = tensor[start : start + some]
        yield first + start, len(part), rows_of(source, part, picked, generator)


def accumulate_patch_moments(
    model: Model,
    sources: Sequence[ConsumerInput],
    data: Dataset,
    execution: Execution,
    *,
    error_tensors: Mapping[str, int] | None = None,
) -> tuple[dict[ConsumerInput, PatchMoments], dict[str, float]]:
    """Sum the moments of all rows, and the variance of whole tensors.

    ``error_tensor`` names the tensors, and for each the axis along which its units lie.

    Moments of sources that do not fit into memory together are summed in several passes.

    Returns:
        The sums of each source, and for each tensor of ``error_tensor`` the sum over its units of
        their variance over examples and places.

    Raises:
        ModelError: activations are not finite.
    """
    found: dict[ConsumerInput, PatchMoments] = {}
    variances: dict[str, float] = {}
    for together in _passes(sources, execution.memory):
        more = {} if variances or error_tensors is None else error_tensors
        patches = PatchReader(
            model, [source for source, _ in together], execution.placement, tuple(more)
        )
        adding = {source: _Adding(source, data.examples, per_channel=c) for source, c in together}
        spreads = {name: _Spread(axis) for name, axis in more.items()}
        size = batch_size(model.graph, execution.memory, model.batch)
        for first, tensors in execution.runner.map(data, size, patches.of_batch, "patches"):
            for source, patch_moments in adding.items():
                for start, count, rows in chunks_of(
                    source, tensors[source.tensor], data, execution.seed, first
                ):
                    patch_moments.add(rows, start, count)
            for name, spread in spreads.items():
                spread.add(tensors[name])
        found |= {source: patch_moments.patch_moments() for source, patch_moments in adding.items()}
        variances |= {name: spread.variance for name, spread in spreads.items()}
    return found, variances


def _passes(
    sources: Sequence[ConsumerInput], memory: int
) -> Iterator[list[tuple[ConsumerInput, bool]]]:
    """Share sources out among passes; those whose patches do not fit are read by channels."""
    together: list[tuple[ConsumerInput, bool]] = []
    left = memory
    for source in sources:
        channels = 8 * source.columns**2 * WORKING > memory
        width = source.columns // source.spread if channels else source.columns
        size = 8 * width**2 * 2
        if together and size * WORKING // 2 > left:
            yield together
            together, left = [], memory
        together.append((source, channels))
        left -= size
    if together:
        yield together


class _Adding:
    """The sums of one source, in the making."""

    def __init__(self, source: ConsumerInput, examples: int, *, per_channel: bool) -> None:
        self._source, self._per_channel = source, per_channel
        rows = examples * (places_of(source) if (n := picked_of(source, examples)) is None else n)
        # With few rows directions that no row has are told from others by rounding alone.
        self._type = np.float64 if rows < FLAT * source.columns else np.float32
        self._apart = examples >= 2 * VALIDATION_SHARE
        self._shift: Array | None = None
        self._parts: dict[bool, _Part] = {}

    def add(self, rows: NDArray[np.float32], first: int, count: int) -> None:
        """Add the rows of ``count`` examples from number ``first`` on."""
        each = len(rows) // count
        if self._per_channel:
            spread = self._source.spread
            units = rows.reshape(len(rows), -1, spread).transpose(0, 2, 1)
            rows = units.reshape(-1, units.shape[-1])
            each *= spread
        if self._shift is None:
            self._shift = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
        shifted = rows - self._shift.astype(np.float32)
        example = first + np.arange(count).repeat(each)
        held = self._apart & (example % VALIDATION_SHARE == VALIDATION_SHARE - 1)
        for apart in (False, True):
            part = shifted[held == apart]
            if len(part):
                self._parts.setdefault(apart, _Part(self._type)).add(part)

    def patch_moments(self) -> PatchMoments:
        """Return the sums."""
        shift = self._shift
        if shift is None:
            raise ModelError(f"tensor {self._source.tensor!r} was never read: give examples")
        moments = {apart: part.moments(shift) for apart, part in self._parts.items()}
        fitted, held = moments[False], moments.get(True)
        if not fitted.finite or (held is not None and not held.finite):
            raise ModelError(
                f"tensor {self._source.tensor!r} holds activations that are not finite (or "
                "overflow when squared): give other data"
            )
        return PatchMoments(fitted, held, self._per_channel)


class _Part:
    """Sums of shifted rows.

    Rows wait until there are as many as columns: adding to a Gram matrix touches all of it.
    """

    def __init__(self, kind: type[np.floating[Any]]) -> None:
        self._type = kind
        self._waiting: list[NDArray[np.float32]] = []
        self._count, self._waiting_rows = 0, 0
        self._total: Any = 0.0
        self._gram: Any = None

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add rows."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        enough = self._waiting_rows >= rows.shape[1]
        if enough or 4 * self._waiting_rows * rows.shape[1] >= ROWS_BYTES:
            self._sum()

    def moments(self, shift: Array) -> Moments:
        """Return the moments of all rows."""
        self._sum()
        return Moments(self._count, shift, self._total, self._gram)

    def _sum(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting).astype(self._type, copy=False)
        self._waiting, self._waiting_rows = [], 0
        self._count += len(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # told by ``Moments.finite``
            self._total = self._total + rows.sum(axis=0, dtype=np.float64)
            gram = rows.T @ rows
            if self._gram is None:
                self._gram = gram.astype(np.float64)
            else:
                self._gram += gram


class _Spread:
    """The variance of a tensor's units, summed over units, in the making."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count, self._total, self._squares = 0, 0.0, 0.0
        self._shift: Any = None

    def add(self, tensor: NDArray[Any]) -> None:
        rows = np.moveaxis(tensor, self._axis, -1).reshape(-1, tensor.shape[self._axis])
        if self._shift is None:
            self._shift = rows.mean(axis=0, dtype=np.float64)
        about = rows - self._shift
        self._count += len(rows)
        self._total = self._total + about.sum(axis=0)
        self._squares = self._squares + (about**2).sum(axis=0)

    @property
    def variance(self) -> float:
        mean = self._total / self._count
        return float(np.sum(np.maximum(self._squares / self._count - mean**2, 0.0)))
