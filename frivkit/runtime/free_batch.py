"""Files made for one batch size, run on many examples at once where that gives the same."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.onnx_io.fold_shapes import fold_shape_arithmetic
from frivkit.graph.shapes import infer_shapes
from frivkit.runtime.memory import live_bytes
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.runtime.session import Device

TRIED = 5
"""Batches of examples on which both ways must give the same."""
TOLERANCE = 1e-6
"""How far outputs may be apart, as a share of the largest (at least 1)."""


def free_batch_size(model: Model, output: str, device: Device, data: Dataset, memory: int) -> Model:
    """Return the model for any number of examples at once, or as it is where that is not the same.

    The sizes of inputs are opened, and so is the first size that a Reshape asks for.  What comes of
    it is kept only if it gives for several examples what the file gives for each alone.

    Args:
        model: The model; one that takes any number is given back as it is.
        output: An output that must be the same, as all of the file's must.
        device: Where to try.
        data: The examples to try.
        memory: Bytes that activations may take.
    """
    fitting = memory // max(1, live_bytes(model.graph))
    count = min(data.examples, TRIED * (model.batch or 1), fitting)
    if model.batch is None or count <= model.batch:
        return model
    inputs = data.read(0, count).inputs
    opened = _opened(model)
    names = dict.fromkeys([output, *(value.name or "" for value in model.graph.outputs)])
    try:
        same = all(
            _same(model, opened, name, device=device, memory=memory, inputs=inputs)
            for name in names
        )
    except ModelError:
        return model
    return opened if same else model


def _same(
    model: Model,
    opened: Model,
    output: str,
    *,
    device: Device,
    memory: int,
    inputs: Mapping[str, NDArray[Any]],
) -> bool:
    """Whether an output is the same for several examples at once and for each alone."""
    baseline = BaselineModel(opened, output, device, memory)
    found = baseline.run(inputs)
    # The last batch may have any number of examples, and no multiple of the file's.
    for fewer in {1, len(next(iter(inputs.values()))) - 1}:
        baseline.run({name: array[:fewer] for name, array in inputs.items()})
    wanted = _one_by_one(model, output, device, memory, inputs)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if found.dtype.kind != "f":
        return bool(np.array_equal(found, wanted))
    limit = TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return bool((np.abs(found - wanted) <= limit).all())


def _opened(model: Model) -> Model:
    graph = model.ir.clone()
    for value in graph.graph.inputs:
        if not value.is_initializer() and value.shape is not None and len(value.shape) > 0:
            value.shape = ir.Shape(["N", *value.shape[1:]])
    for node in graph.graph:
        tensor = constant_tensor(node.inputs[1]) if node.op_type == "Reshape" else None
        numbers = [] if tensor is None else [int(n) for n in np.atleast_1d(tensor.numpy())]
        if numbers[:1] == [model.batch]:
            numbers[0] = -1 if -1 not in numbers else 0
            name = f"{node.outputs[0].name}/any_batch"
            held = ir.tensor(np.array(numbers, np.int64), name=name)
            value = ir.Value(
                name=name,
                const_value=held,
                shape=ir.Shape([len(numbers)]),
                type=ir.TensorType(ir.DataType.INT64),
            )
            graph.graph.register_initializer(value)
            node.replace_input_with(1, value)
    for value in [*(v for node in graph.graph for v in node.outputs), *graph.graph.outputs]:
        value.shape = None
    infer_shapes(graph)
    fold_shape_arithmetic(graph)
    return replace(model, ir=graph, batch=None)


def _one_by_one(
    model: Model, output: str, device: Device, memory: int, inputs: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    """Run a batch as the file takes it."""
    baseline, size = BaselineModel(model, output, device, memory), model.batch or 1
    count = len(next(iter(inputs.values())))
    return np.concatenate(
        [
            baseline.run({name: array[i : i + size] for name, array in inputs.items()})
            for i in range(0, count, size)
        ]
    )
