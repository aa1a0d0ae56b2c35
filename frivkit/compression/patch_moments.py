"""Second moments of the inputs of linear consumers, as patches, in a pass over the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import ConsumerInput
from frivkit.compression.packed_moments import PackedMoments, pack, total_of
from frivkit.compression.patch_rows import (
    ROWS_BYTES,
    patches_per_example,
    row_chunks,
    sample_size,
)
from frivkit.data import Batch, Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import batch_size, live_bytes
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.units.moments import Float64Array, Moments

VALIDATION_SHARE = 5
"""Every fifth example is set aside to choose the strength of ridges."""
FLOAT64_BELOW = 4
"""Rows for each column below which products are summed in float64."""
READ_SHARE = 8
"""The tensors that are read of one batch may take one part in this many of the memory."""
WAITING_SHARE = 8
"""Rows that wait to be summed may take one part in this many of the memory."""
WORKING = 6
"""Matrices as large as a Gram that a fit needs at once, the two summed ones included."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitSpread:
    """Where the units of a tensor lie, over examples and positions.

    Attributes:
        mean: The mean of each unit, shape (units,).
        variances: The variance of each unit, shape (units,).
    """

    mean: Float64Array
    variances: Float64Array

    @property
    def variance(self) -> float:
        """The sum over units of their variance."""
        return float(self.variances.sum())


@dataclass(frozen=True, slots=True, eq=False)
class PatchMoments:
    """The moments of one input.

    Attributes:
        parts: The moments of the examples that are fitted to, and of those set aside if there were
            enough to set any aside.  Their shift is the same.
        per_channel: Whether a row is a single position of a patch, with a column for each channel,
            because the moments of whole patches would not fit into memory.
    """

    parts: tuple[PackedMoments, ...]
    per_channel: bool

    @property
    def fitted(self) -> Moments:
        """The moments of the examples that are fitted to."""
        return self.parts[0].moments

    @property
    def has_validation(self) -> bool:
        """Whether examples were set aside."""
        return len(self.parts) > 1

    @property
    def validation(self) -> Moments | None:
        """The moments of the examples set aside; None if there were too few to set any aside."""
        return self.parts[1].moments if self.has_validation else None

    @property
    def whole(self) -> Moments:
        """The moments of all examples."""
        gram = self.fitted.gram
        for part in self.parts[1:]:
            gram += part.moments.gram
        return Moments(self.count, self.parts[0].shift, total_of(self.parts), gram)

    @property
    def count(self) -> int:
        """The number of rows of all examples."""
        return sum(part.count for part in self.parts)

    @property
    def mean(self) -> Float64Array:
        """The mean of the rows of all examples, shape (columns,)."""
        mean: Float64Array = self.parts[0].shift + total_of(self.parts) / self.count
        return mean


class PatchReader:
    """Runs a model up to the tensors that are read."""

    def __init__(
        self,
        model: Model,
        sources: Sequence[ConsumerInput],
        device: Device,
        tensors: Sequence[str] = (),
    ) -> None:
        """Create the session.

        Args:
            model: The model.
            sources: The inputs of consumers to read.
            device: Where to run.
            tensors: Names of further tensors to read.
        """
        self._model = model
        self._names = list(dict.fromkeys([*(s.tensor for s in sources), *tensors]))
        inputs = {v.name for v in model.graph.inputs}
        self._model_inputs = [name for name in self._names if name in inputs]
        self._computed = [name for name in self._names if name not in inputs]
        self._inputs: tuple[str, ...] = ()
        self._session: Session | None = None
        if self._computed:
            graph = with_outputs(model, self._computed)
            self._inputs, self._session = graph.inputs, Session(graph.ir, device)

    def of_batch(self, batch: Batch) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return the index of a batch's first example, and every tensor."""
        return batch.first, self.tensors(batch.inputs)

    def tensors(self, inputs: Feeds) -> dict[str, NDArray[Any]]:
        """Return the tensors by name for one batch of examples."""
        given = {name: inputs[name] for name in self._model_inputs}
        if self._session is None:
            return given
        model_inputs = {name: inputs[name] for name in self._inputs}
        arrays = run_padded(self._session, self._model, model_inputs, self._computed)
        return given | dict(zip(self._computed, arrays, strict=True))


def reading_batch(model: Model, tensors: Sequence[str], execution: Execution) -> int:
    """Return how many examples are run at once where tensors are read.

    Args:
        model: The model.
        tensors: The names of the tensors; all of them are held until the batch is done with.
        execution: How to run the model.
    """
    size = batch_size(model.graph, execution.memory, model.batch)
    inputs = {value.name for value in model.graph.inputs}
    read = [name for name in dict.fromkeys(tensors) if name not in inputs]
    if model.batch is not None or not read:
        return size
    each = live_bytes(with_outputs(model, read).ir.graph)
    return max(1, min(size, execution.memory // READ_SHARE // max(1, each)))


def accumulate_patch_moments(
    model: Model,
    sources: Sequence[ConsumerInput],
    data: Dataset,
    execution: Execution,
    *,
    tensor_axes: Mapping[str, int] | None = None,
) -> tuple[dict[ConsumerInput, PatchMoments], dict[str, UnitSpread]]:
    """Compute the moments of the inputs of consumers, and where the units of tensors lie.

    Where the moments of all inputs would take more than half the memory, the widest inputs have
    those of single positions instead of whole patches.

    Args:
        model: The model.
        sources: The inputs of consumers.
        data: The examples.
        execution: How to run the model.
        tensor_axes: The axis of the units of further tensors, by their names.

    Returns:
        The moments of each input, and for each further tensor where its units lie.

    Raises:
        ModelError: activations are not finite.
    """
    if not sources:
        return {}, {}
    tensor_axes = {} if tensor_axes is None else tensor_axes
    reader = PatchReader(model, sources, execution.placement, tuple(tensor_axes))
    modes = by_channel(sources, execution.memory)
    columns = sum(source.columns for source in sources)
    sums = {
        source: _InputSums(
            source,
            data.examples,
            per_channel=per_channel,
            room=execution.memory * source.columns // (WAITING_SHARE * columns),
        )
        for source, per_channel in modes.items()
    }
    running = {name: _RunningVariance(axis) for name, axis in tensor_axes.items()}
    read = [*(source.tensor for source in sources), *tensor_axes]
    size = reading_batch(model, read, execution)
    for first, tensors in execution.runner.map(data, size, reader.of_batch, "patches"):
        for source, total in sums.items():
            chunks = row_chunks(source, tensors[source.tensor], data, execution.seed, first)
            for start, count, rows in chunks:
                total.add(rows, start, count)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            for name, variance in running.items():
                variance.add(tensors[name])
    moments = {source: total.patch_moments() for source, total in sums.items()}
    with np.errstate(invalid="ignore"):
        spreads = {name: each.spread for name, each in running.items()}
    for name, spread in spreads.items():
        _check_finite(name, not np.isnan(spread.variance))  # squares alone may overflow
    return moments, spreads


def _check_finite(tensor: str, finite: bool) -> None:
    """Raise ModelError if the moments of a tensor are not finite."""
    if not finite:
        raise ModelError(
            f"tensor {tensor!r} holds activations that are not finite (or overflow when squared): "
            "give other data"
        )


def by_channel(sources: Sequence[ConsumerInput], memory: int) -> dict[ConsumerInput, bool]:
    """Return whether each input goes by channel, since its whole patches do not fit."""
    modes = {source: 8 * source.columns**2 * WORKING > memory for source in sources}

    def held(source: ConsumerInput) -> int:
        columns = source.columns // (source.unit_columns if modes[source] else 1)
        return 8 * columns**2  # two packed sums in float64

    free = memory // 2 - sum(held(source) for source in sources)
    for source in sorted(sources, key=lambda each: -each.columns):
        if free >= 0:
            break
        if not modes[source] and source.unit_columns > 1:
            before = held(source)
            modes[source] = True
            free += before - held(source)
    return modes


class _InputSums:
    """Accumulates the moments of one input.

    Args:
        source: The input.
        examples: The number of examples.
        per_channel: Whether a row is a single position of a patch.
        room: Bytes that rows which wait to be summed may take.
    """

    def __init__(
        self, source: ConsumerInput, examples: int, *, per_channel: bool, room: int
    ) -> None:
        self._source, self._per_channel, self._room = source, per_channel, room
        count = sample_size(source, examples)
        rows = examples * (patches_per_example(source) if count is None else count)
        # With few rows, float32 rounding would hide which directions have no variance.
        self._type = np.float64 if rows < FLOAT64_BELOW * source.columns else np.float32
        self._sets_aside = examples >= 2 * VALIDATION_SHARE
        self._shift: Float64Array | None = None
        self._parts: dict[bool, _RowSums] = {}

    def add(self, rows: NDArray[np.float32], first: int, count: int) -> None:
        """Add the rows of ``count`` examples from number ``first`` on."""
        each = len(rows) // count
        if self._per_channel:
            size = self._source.unit_columns
            channels = rows.reshape(len(rows), -1, size).transpose(0, 2, 1)
            rows = channels.reshape(-1, channels.shape[-1])
            each *= size
        if self._shift is None:
            self._shift = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
        shifted = rows - self._shift.astype(np.float32)
        example = first + np.arange(count).repeat(each)
        set_aside = self._sets_aside & (example % VALIDATION_SHARE == VALIDATION_SHARE - 1)
        for validation in (False, True):
            part = shifted[set_aside == validation]
            if len(part):
                self._parts.setdefault(validation, _RowSums(self._type, self._room)).add(part)

    def patch_moments(self) -> PatchMoments:
        """Return the moments.

        Raises:
            ModelError: no row was added, or activations are not finite.
        """
        shift = self._shift
        if shift is None:
            raise ModelError(f"tensor {self._source.tensor!r} was never read: give examples")
        sums = [part.moments(shift) for _, part in sorted(self._parts.items())]
        _check_finite(self._source.tensor, all(part.finite for part in sums))
        return PatchMoments(tuple(sums), self._per_channel)


class _RowSums:
    """Sums of shifted rows.

    Rows wait until there are as many as columns or until they take all their room, since each
    update writes the whole Gram.
    """

    def __init__(self, kind: type[np.floating[Any]], room: int) -> None:
        self._type, self._room = kind, room
        self._waiting: list[NDArray[np.float32]] = []
        self._count, self._waiting_rows = 0, 0
        self._total: Any = 0.0
        self._packed: Any = None

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add shifted rows."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        enough = self._waiting_rows >= rows.shape[1]
        if enough or 4 * self._waiting_rows * rows.shape[1] >= min(self._room, ROWS_BYTES):
            self._sum()

    def moments(self, shift: Float64Array) -> PackedMoments:
        """Return the moments of all rows, the Gram in the type that products are summed in."""
        self._sum()
        with np.errstate(over="ignore"):  # who uses moments refuses those that are not finite
            packed = self._packed.astype(self._type, copy=False)
        return PackedMoments(self._count, shift, self._total, packed)

    def _sum(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting).astype(self._type, copy=False)
        self._waiting, self._waiting_rows = [], 0
        self._count += len(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # ``Moments.finite`` reports it
            self._total = self._total + rows.sum(axis=0, dtype=np.float64)
            packed = pack(rows.T @ rows)
            if self._packed is None:
                self._packed = packed.astype(np.float64, copy=False)
            else:
                self._packed += packed


class _RunningVariance:
    """Accumulates where the units of a tensor lie.

    Sums over the positions of one example are taken in float32 about the mean of the first batch,
    and added up in float64.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count, self._total, self._squares = 0, 0.0, 0.0
        self._shift: Any = None

    def add(self, tensor: NDArray[Any]) -> None:
        """Add a tensor, examples first."""
        moved = np.moveaxis(tensor, self._axis, 1)
        rows = moved.reshape(*moved.shape[:2], -1)  # a view where units are on the first axes
        if self._shift is None:
            self._shift = rows.mean(axis=(0, 2), dtype=np.float64, keepdims=True)
        shifted = rows - self._shift.astype(np.float32)
        self._count += len(rows) * rows.shape[2]
        self._total = self._total + shifted.sum(axis=2).sum(axis=0, dtype=np.float64)
        squares = np.einsum("eup,eup->eu", shifted, shifted)
        self._squares = self._squares + squares.sum(axis=0, dtype=np.float64)

    @property
    def spread(self) -> UnitSpread:
        """The mean of each unit, and its variance."""
        mean = self._total / self._count
        variances = np.maximum(self._squares / self._count - mean**2, 0.0)
        return UnitSpread(self._shift.reshape(-1) + mean, variances)
