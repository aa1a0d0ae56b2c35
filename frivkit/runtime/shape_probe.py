"""Shapes that inference leaves open, read from runs of a few examples."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model, is_constant
from frivkit.graph.onnx_io.fold_shapes import fold_shape_arithmetic
from frivkit.graph.shapes import batch_symbol, example_sizes, sizes_from_two_batches
from frivkit.runtime.session import Device, Feeds, Session

EXAMPLES = (2, 3)
"""Examples in the two runs of a probe: an axis that differs between them is the batch's."""

LARGEST_NOISE = 1 << 28
"""Entries of an input beyond which noise is not drawn: the file may declare anything."""


def infer_shapes_by_running(model: Model, device: Device, data: Dataset | None = None) -> Model:
    """Return the model with a known shape on every tensor that the probe can compute.

    Nothing is run where shape inference has found all shapes but the batch.

    Args:
        model: The model.
        device: Where to run the probe.
        data: Whose first examples to run; None draws noise in the shape of the inputs, and gives
            the model back as it is where the file leaves that open or noise cannot be run.

    Raises:
        ModelError: the model cannot be run on the data.
    """
    open_values = [value for node in model.graph for value in node.outputs if _open(value)]
    names = [value.name for value in open_values if value.name]
    if not names:
        return model
    try:
        small, large = _probed(model, names, device, data)
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


def _open(value: ir.Value) -> bool:
    """Whether a tensor of numbers has an axis behind the batch whose size is unknown."""
    sizes = example_sizes(value)
    if not value.name or (sizes is None and is_constant(value)):
        return False
    return sizes is None or value.dtype is None or None in sizes


def _probed(
    model: Model, names: Sequence[str], device: Device, data: Dataset | None
) -> list[dict[str, Any]]:
    """Return tensors by name, of two runs with different numbers of examples where any will do."""
    probe = with_outputs(model, names)
    session = Session(probe.ir, device)
    runs = []
    for count in EXAMPLES if model.batch is None else [model.batch]:
        inputs = _noise(model, count) if data is None else _taken(data, count)
        feeds = {name: inputs[name] for name in probe.inputs}
        runs.append(dict(zip(names, session.run(feeds, names), strict=True)))
    return [runs[0], runs[-1]]


def _taken(data: Dataset, count: int) -> Feeds:
    batch = data.read(0, min(count, data.examples)).inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in batch.items()}


def _noise(model: Model, count: int) -> Feeds:
    generator = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in model.inputs:
        sizes = [size for size in tensor.shape if size is not None]
        if len(sizes) != len(tensor.shape) or count * prod(sizes) > LARGEST_NOISE:
            raise ModelError(f"input {tensor.name!r} has no size that noise can be drawn in")
        dtype, shape = np.dtype(tensor.dtype), (count, *sizes)
        noise = generator.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        inputs[tensor.name] = noise.astype(dtype)
    return inputs
