"""Tensors whose examples are not on the first axis, as in torch's own attention."""

from dataclasses import replace

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY, Layout
from frivkit.graph.model import Model
from frivkit.graph.operators.effects import Kept
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import OPERATORS, effect, operators_of
from frivkit.graph.shapes import batch_first, batch_symbol, sizes_for
from frivkit.graph.sites.hook_point import find_hook_point
from frivkit.graph.sites.producers import find_producers

MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that move the axes of a tensor."""
SUFFIX = "/examples_first"
"""The suffix of the names of tensors whose examples were moved to the first axis."""
_UNUSED_SIZE = 7919  # a batch size that no fixed size of a model is equal to


def with_examples_first(
    value: ir.Value, layout: Layout, batch: int | None, operators: Operators = OPERATORS
) -> tuple[ir.Value, Layout] | None:
    """Follow units through operators that move axes, to a tensor with examples on its first axis.

    Args:
        value: The hook point of the units.
        layout: Their layout there.
        batch: The batch size that the model requires, None if any is allowed.
        operators: The operators, by name.

    Returns:
        The tensor and the layout of the units in it, which is whole; None if there is no such
        tensor.
    """
    while not (batch_first(value, batch) and layout.whole):
        uses = [use for use in value.uses() if use.node.op_type not in SHAPE_ONLY]
        if len(uses) != 1 or uses[0].node.op_type not in MOVING or uses[0].idx != 0:
            return None
        result = effect(uses[0].node, 0, layout, operators)
        if not isinstance(result, Kept):
            return None
        value, layout = uses[0].node.outputs[0], result.layout
    return value, layout


def move_batch_first(model: Model) -> Model:
    """Return the model with examples on the first axis of the hook point of each layer.

    Two Transposes are added behind a tensor whose examples are on another axis.  The first moves
    them to the first axis, where the hook point is then; the second moves them back, so that the
    outputs of the model do not change.  A model that requires a batch size is returned unchanged.

    Args:
        model: The model, with known shapes.
    """
    symbol = batch_symbol(model.graph)
    misplaced = [] if symbol is None else _misplaced(model, symbol)
    if not misplaced:
        return model
    copy = model.ir.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    for name, axis in misplaced:
        _put_examples_first(copy.graph, values[name], axis)
    return replace(model, ir=copy)


def as_in_file(model: Model) -> Model:
    """Return a model without the Transposes that :func:`move_batch_first` added."""
    if not any((node.name or "").endswith(SUFFIX) for node in model.graph):
        return model
    copy = model.ir.clone()
    for first in [node for node in copy.graph if (node.name or "").endswith(SUFFIX)]:
        (back,) = [use.node for use in first.outputs[0].uses()]
        for use in list(back.outputs[0].uses()):
            use.node.replace_input_with(use.idx, first.inputs[0])
        copy.graph.remove([back, first], safe=True)
    return replace(model, ir=copy)


def _misplaced(model: Model, symbol: str) -> list[tuple[str, int]]:
    """Return the names of hook points whose examples are not on the first axis, with their axis."""
    order = {id(node): i for i, node in enumerate(model.graph)}
    operators = operators_of(model)
    axis_of: dict[str, int] = {}
    for node, produced in find_producers(model.graph, operators)[0]:
        value, layout = find_hook_point(node.outputs[0], produced, order, operators)
        sizes = sizes_for(value, symbol, _UNUSED_SIZE) or ()
        first = with_examples_first(value, layout, None, operators)
        if first is None and sizes.count(_UNUSED_SIZE) == 1 and layout.whole:
            axis_of[value.name or ""] = sizes.index(_UNUSED_SIZE)
    return [(name, axis) for name, axis in axis_of.items() if axis > 0 and name]


def _put_examples_first(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    """Insert two Transposes between a tensor and its consumers."""
    rank = len(value.shape or ())
    order = [axis, *(a for a in range(rank) if a != axis)]
    uses = [(use.node, use.idx) for use in value.uses()]
    producer = value.producer()
    name = f"{value.name}{SUFFIX}"
    first = _transpose(value, order, name)
    back = _transpose(first.outputs[0], [order.index(a) for a in range(rank)], f"{name}/back")
    if producer is not None:
        graph.insert_after(producer, [first, back])
    for node, index in uses:
        node.replace_input_with(index, back.outputs[0])


def _transpose(value: ir.Value, order: list[int], name: str) -> ir.Node:
    shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in order])
    output = ir.Value(name=name, shape=shape, type=value.type)
    return ir.Node(
        "", "Transpose", [value], [ir.AttrInt64s("perm", order)], outputs=[output], name=name
    )
