"""Shapes that inference leaves open, read from runs of a few examples."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.cache.size import format_size
from frivkit.data import Dataset
from frivkit.errors import ModelError, is_out_of_memory
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model, external_tensor, is_constant
from frivkit.graph.onnx_io.fold_shapes import fold_shape_arithmetic
from frivkit.graph.shapes import batch_symbol, example_sizes, sizes_from_two_batches
from frivkit.runtime.example_memory import SMALLEST, limited_memory
from frivkit.runtime.session import Device, Feeds, Session

EXAMPLES = (2, 3)
"""Examples in the two runs of a probe: an axis that differs between them is the batch's."""

ROOM = 4
"""Times the memory of one example that the probe, which keeps more tensors, may take."""

TRIED = (64, 32, 224, 16)
"""Sizes along open axes at which a model is looked at: which units can leave is the same at all.

The last comes first if the open axes look like numbers of tokens: see :func:`with_some_sizes`.
"""

_MOST_AXES = 2  # of one example of which open sizes are numbers of tokens, not of pixels

LARGEST_NOISE = 1 << 28
"""Entries of an input beyond which noise is not drawn: the file may declare anything."""


def infer_shapes_by_running(
    model: Model,
    device: Device,
    data: Dataset | None = None,
    *,
    memory: int = 2 << 30,
    open_size: int | None = None,
) -> Model:
    """Return the model with a known shape on every tensor that the probe can compute.

    Nothing is run where shape inference has found all shapes but the batch.

    Args:
        model: The model.
        device: Where to run the probe.
        data: Whose first examples to run; None draws noise in the shape of the inputs, and gives
            the model back as it is where the file leaves that open or noise cannot be run.
        memory: Bytes that the activations of one example may take.
        open_size: The size in which noise is drawn along axes that the file leaves open.

    Raises:
        ModelError: the model cannot be run on the data, or an example does not fit into memory.
    """
    open_values = [value for node in model.graph for value in node.outputs if _open(value)]
    names = [value.name for value in open_values if value.name]
    if not names:
        return model
    try:
        small, large = _within_memory(model, names, device, data or open_size, memory)
    except (ModelError, MemoryError):
        if data is not None:
            raise
        return model
    copy = model.ir.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    symbol = batch_symbol(model.graph) or ""
    for name in names:
        a, b, value = small[name], large[name], values[name]
        if isinstance(a, np.ndarray) and a.dtype != object:  # else texts, or a list of tensors
            value.dtype = ir.DataType.from_numpy(a.dtype) if value.dtype is None else value.dtype
            shape = sizes_from_two_batches(a.shape, b.shape, symbol, EXAMPLES)
            value.shape = value.shape if shape is None else ir.Shape(shape)
    fold_shape_arithmetic(copy, lasting=not model.has_open_sizes)
    return replace(model, ir=copy)


def with_some_sizes(model: Model, device: Device, *, memory: int = 2 << 30) -> Model:
    """Return a model whose sizes are known: some that it runs with, where its file leaves any.

    A note of the model says which.  A model that runs with none of them is given back as it is.

    Args:
        model: The model.
        device: Where to try.
        memory: Bytes that the activations of one example may take.
    """
    open_inputs = [each.shape for each in model.inputs if None in each.shape]
    tokens = all(len(shape) <= _MOST_AXES for shape in open_inputs)
    for size in (reversed(TRIED) if tokens else TRIED) if open_inputs else ():
        found = infer_shapes_by_running(model, device, memory=memory, open_size=size)
        if found is not model:
            note = f"the file leaves sizes open: looked at with {size}; others by --input-shape"
            return replace(found, notes=(*found.notes, note))
    return model


def _open(value: ir.Value) -> bool:
    """Whether a tensor of numbers has an axis behind the batch whose size is unknown."""
    sizes = example_sizes(value)
    if not value.name or (sizes is None and is_constant(value)):
        return False
    return sizes is None or value.dtype is None or None in sizes


def _within_memory(
    model: Model, names: Sequence[str], device: Device, data: Dataset | int | None, memory: int
) -> list[dict[str, Any]]:
    """Return what :func:`_probed` does, unless one example takes more memory than allowed.

    Sizes that depend on values show only in a run.  The probe keeps many tensors of several
    examples, so what does not fit there is tried again for one example.

    Raises:
        ModelError: one example does not fit, or cannot be run.
    """
    allowed = max(memory, SMALLEST)
    for value in model.graph.initializers.values():  # mapped, for the bound is one of addresses
        if value.const_value is not None and external_tensor(value.const_value) is not None:
            value.const_value.numpy()
    if device.name != "cpu":  # drivers reserve more address space than any machine has memory
        return _probed(model, names, device, data)
    try:
        with limited_memory(ROOM * allowed):
            return _probed(model, names, device, data)
    except ModelError as error:
        if not is_out_of_memory(error):
            raise
    outputs = [value.name or "" for value in model.graph.outputs]
    try:
        with limited_memory(allowed):
            _probed(model, outputs, device, data, (1,))
    except ModelError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{model.path.name}: the activations of one example do not fit into --memory "
            f"({format_size(memory)}): {error.__cause__ or error}; give smaller examples, or a "
            "larger --memory if the machine has it"
        ) from error
    return _probed(model, names, device, data)


def _probed(
    model: Model,
    names: Sequence[str],
    device: Device,
    data: Dataset | int | None,
    counts: Sequence[int] = EXAMPLES,
) -> list[dict[str, Any]]:
    """Return tensors by name, of runs with different numbers of examples where any will do.

    They are of data, or of noise, whose size along open axes may be given.
    """
    probe = with_outputs(model, names)
    session = Session(probe.ir, device)
    runs = []
    for count in counts if model.batch is None else [model.batch]:
        if data is None or isinstance(data, int):
            inputs = noise_for(model, count, data)
        else:
            inputs = _taken(data, count)
        feeds = {name: inputs[name] for name in probe.inputs}
        runs.append(dict(zip(names, session.run(feeds, names), strict=True)))
    return [runs[0], runs[-1]]


def _taken(data: Dataset, count: int) -> Feeds:
    batch = data.read(0, min(count, data.examples)).inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in batch.items()}


def noise_for(model: Model, count: int, open_size: int | None = None) -> Feeds:
    """Return noise in the shapes of a model's inputs, zeros for whole numbers.

    Args:
        model: The model.
        count: The number of examples.
        open_size: The size along axes that the file leaves open; None refuses them.

    Raises:
        ModelError: the size of an input is open or too large.
    """
    generator = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in model.inputs:
        known = [open_size if size is None else size for size in tensor.shape]
        sizes = [size for size in known if size is not None]
        if len(sizes) != len(tensor.shape) or count * prod(sizes) > LARGEST_NOISE:
            raise ModelError(f"input {tensor.name!r} has no size that noise can be drawn in")
        dtype, shape = np.dtype(tensor.dtype), (count, *sizes)
        noise = generator.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        inputs[tensor.name] = noise.astype(dtype)
    return inputs
