"""Shapes that inference leaves open, read from a run of one small batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.engine.runs import Feeds, run_whole_batches
from frivkit.engine.session import Device, Session
from frivkit.graph.instrument import tapped
from frivkit.graph.layout import shape_of
from frivkit.graph.model import Model, is_constant

EXAMPLES = 2
"""Examples in the probe: two, so that a batch axis differs from an axis of one."""


def complete_shapes(model: Model, device: Device, data: Dataset | None = None) -> Model:
    """Give the model with a known shape on every tensor that the probe can compute.

    Nothing is run where shape inference has found all shapes but the batch.

    Args:
        model: The model.
        device: Where to run the probe.
        data: Whose first examples to run; None draws noise in the shape of the inputs, and gives
            the model back as it is where the file leaves that open.

    Raises:
        ModelError: the model cannot be run on the data.
    """
    if not any(_open(value) for node in model.graph for value in node.outputs):
        return model
    inputs = _probe_inputs(model, data)
    if inputs is None:
        return model
    copy = model.ir.clone()
    open_values = {
        value.name: value for node in copy.graph for value in node.outputs if _open(value)
    }
    names = [name for name in open_values if name]
    probed = tapped(model, names)
    feeds = {name: inputs[name] for name in probed.inputs}
    arrays = run_whole_batches(Session(probed.ir, device), model, feeds, names, cut=False)
    batch = model.batch or len(next(iter(inputs.values())))
    for name, array in zip(names, arrays, strict=True):
        value = open_values[name]
        value.dtype = ir.DataType.from_numpy(array.dtype) if value.dtype is None else value.dtype
        first = ["N"] if array.ndim and len(array) == batch else list(array.shape[:1])
        value.shape = ir.Shape([*first, *array.shape[1:]])
    return replace(model, ir=copy)


def _open(value: ir.Value) -> bool:
    """Tell whether a tensor of numbers has an axis behind the batch whose size is unknown."""
    shape = shape_of(value)
    if value.name == "" or (shape is None and is_constant(value)):
        return False
    return shape is None or value.dtype is None or None in shape[1:]


def _probe_inputs(model: Model, data: Dataset | None) -> Feeds | None:
    if data is not None:
        batch = data.read(0, min(EXAMPLES, data.examples)).inputs
        return {n: np.resize(a, (EXAMPLES, *a.shape[1:])) for n, a in batch.items()}
    generator = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in model.inputs:
        if None in tensor.shape:
            return None
        shape = (model.batch or EXAMPLES, *(size or 1 for size in tensor.shape))
        dtype = np.dtype(tensor.dtype)
        noise = generator.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        inputs[tensor.name] = noise.astype(dtype)
    return inputs
