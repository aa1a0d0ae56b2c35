"""Tensors whose examples do not lie on the first axis, as torch's own attention writes them."""

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
TURNED = "/examples_first"
"""What stands behind the name of a tensor whose examples were put first."""
_NONE = 7919  # a batch that no fixed size of a model is


def with_examples_first(
    value: ir.Value, layout: Layout, batch: int | None, operators: Operators = OPERATORS
) -> tuple[ir.Value, Layout] | None:
    """Follow units to a tensor with the examples on its first axis, through what moves places.

    Args:
        value: Where units are tapped.
        layout: Where they lie there.
        batch: The batch size the model insists on, None when any will do.
        operators: What each operator does to units.

    Returns:
        The tensor and where the units lie in it, whole and in order; None where there is none.
    """
    while not (batch_first(value, batch) and layout.whole):
        uses = [use for use in value.uses() if use.node.op_type not in SHAPE_ONLY]
        if len(uses) != 1 or uses[0].node.op_type not in MOVING or uses[0].idx != 0:
            return None
        what = effect(uses[0].node, 0, layout, operators)
        if not isinstance(what, Kept):
            return None
        value, layout = uses[0].node.outputs[0], what.layout
    return value, layout


def move_batch_first(model: Model) -> Model:
    """Return the model with the examples on the first axis of each tensor of units.

    Two Transposes are added behind a tensor whose examples lie elsewhere.
    The first puts the examples in front, where a site is tapped; the second puts them back, so that
    the model computes what it did.  A model that insists on a batch size is given back as it is.

    Args:
        model: The model, with known shapes.
    """
    symbol = batch_symbol(model.graph)
    found = [] if symbol is None else _misplaced(model, symbol)
    if not found:
        return model
    copy = model.ir.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    for name, axis in found:
        _put_examples_first(copy.graph, values[name], axis)
    return replace(model, ir=copy)


def _misplaced(model: Model, symbol: str) -> list[tuple[str, int]]:
    order = {id(node): i for i, node in enumerate(model.graph)}
    operators = operators_of(model)
    found: dict[str, int] = {}
    for node, layout in find_producers(model.graph, operators)[0]:
        value, there = find_hook_point(node.outputs[0], layout, order, operators)
        sizes = sizes_for(value, symbol, _NONE) or ()
        first = with_examples_first(value, there, None, operators)
        if first is None and sizes.count(_NONE) == 1 and there.whole:
            found[value.name or ""] = sizes.index(_NONE)
    return [(name, axis) for name, axis in found.items() if axis > 0 and name]


def _put_examples_first(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    """Put two Transposes between a tensor and all that reads it."""
    rank = len(value.shape or ())
    order = [axis, *(a for a in range(rank) if a != axis)]
    uses = [(use.node, use.idx) for use in value.uses()]
    producer = value.producer()
    name = f"{value.name}{TURNED}"
    first = _transpose(value, order, name)
    back = _transpose(first.outputs[0], [order.index(a) for a in range(rank)], f"{name}/back")
    if producer is not None:
        graph.insert_after(producer, [first, back])
    for node, index in uses:
        node.replace_input_with(index, back.outputs[0])


def _transpose(value: ir.Value, order: list[int], name: str) -> ir.Node:
    shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in order])
    made = ir.Value(name=name, shape=shape, type=value.type)
    return ir.Node(
        "", "Transpose", [value], [ir.AttrInt64s("perm", order)], outputs=[made], name=name
    )
