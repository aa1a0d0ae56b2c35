"""What the graph tells of a model's outputs: the last operator, a softmax's axis, a norm."""

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import Model
from frivkit.graph.shapes import batch_symbol, examples_axis
from frivkit.runtime.labels import SHAPING, rows_per_example
from frivkit.runtime.varying_rows import ROWS
from frivkit.tasks.task import JoinedTensor, ModelOutput

MOVES_AXES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
NORMS = ("ReduceL2", "ReduceL1", "Sqrt")
BETWEEN = ("Clip", "Max", "Expand", "Add", *SHAPING)
"""Operators that stand between a norm and the division by it."""


def model_outputs(model: Model) -> tuple[ModelOutput, ...]:
    """Return what is known of each output of a model, in the order of the file.

    Outputs that are no tensors of numbers are left out.
    """
    found = [
        _described(value, model)
        for value in model.graph.outputs
        if isinstance(value.type, ir.TensorType | None) and value.dtype != ir.DataType.STRING
    ]
    return tuple(
        replace(one, beside=any(_beside(one, other) for other in found if other is not one))
        for one in found
    )


def _beside(one: ModelOutput, other: ModelOutput) -> bool:
    """Whether two outputs give different numbers of entries for each of the same places."""
    if one.shape is None or other.shape is None or not len(one.shape) == len(other.shape) == 3:
        return False
    if one.rows or other.rows:
        return False
    places, entries = one.shape[1], one.shape[2]
    return None not in (places, entries) and other.shape[1] == places and other.shape[2] != entries


def _described(value: ir.Value, model: Model) -> ModelOutput:
    graph = model.graph
    node, moved = _last(value)
    rows, shape = _rows(value, graph), shape_of(value)
    axis = examples_axis(value, batch_symbol(graph))
    varying = model.varying.get(value.name or "")
    if varying is not None:
        shape = None if shape is None else (None, ROWS, *shape[varying + 1 :])
    elif shape is not None and axis:
        shape = (None, *shape[:axis], *shape[axis + 1 :])
    elif shape is not None and rows > 1:
        shape = (None, rows, *shape[1:])
    return ModelOutput(
        name=value.name or "",
        shape=shape,
        rows=rows > 1 and varying is None,
        varying=varying is not None,
        dtype=None if value.dtype is None else value.dtype.numpy(),
        operator="" if node is None else node.op_type,
        softmax_axis=None if node is None or moved or axis else _softmax_axis(node, value),
        normalized=node is not None and _is_normalized(node),
        parts=() if node is None or node.op_type != "Concat" else _parts(node.inputs),
    )


def _rows(value: ir.Value, graph: ir.Graph) -> int:
    try:
        return rows_per_example(graph, value)
    except ModelError:  # which is said when the output is read
        return 1


def _last(value: ir.Value) -> tuple[ir.Node | None, bool]:
    """Return the last node that computes a value, and whether axes are moved behind it."""
    node, moved = value.producer(), False
    while node is not None and node.op_type in SHAPING and node.inputs[0] is not None:
        moved = moved or node.op_type in MOVES_AXES
        node = node.inputs[0].producer()
    return node, moved


def _softmax_axis(node: ir.Node, value: ir.Value) -> int | None:
    shape = shape_of(value)
    if node.op_type not in ("Softmax", "LogSoftmax") or shape is None:
        return None
    opset = node.version or (node.graph.opset_imports.get("", 13) if node.graph else 13)
    axis = attribute(node, "axis", -1 if opset >= 13 else 1) % len(shape)
    together = opset < 13 and axis != len(shape) - 1  # all axes from there on are normalised
    return None if together else axis


def _is_normalized(node: ir.Node) -> bool:
    if node.op_type == "LpNormalization":
        return True
    if node.op_type != "Div" or node.inputs[1] is None:
        return False
    below = node.inputs[1].producer()
    while below is not None and below.op_type in BETWEEN and below.inputs[0] is not None:
        below = below.inputs[0].producer()
    return below is not None and below.op_type in NORMS


def _parts(values: Sequence[ir.Value | None]) -> tuple[JoinedTensor, ...]:
    parts = []
    for value in values:
        node = None if value is None else _last(value)[0]
        sizes = None if value is None else shape_of(value)
        parts.append(JoinedTensor("" if node is None else node.op_type, sizes))
    return tuple(parts)
