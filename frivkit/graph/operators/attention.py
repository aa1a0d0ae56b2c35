"""Attention in one node, of ONNX from opset 23 on, on tensors with an axis for heads."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import Layout, shape_of
from frivkit.graph.operators.edits import (
    Edit,
    Locked,
    NodeContext,
    SelectOperand,
    SetAttribute,
    SliceOperand,
    require_same_groups,
)
from frivkit.graph.operators.effects import Consumed, Coupled, Effect, Kept, Untraceable
from frivkit.graph.operators.operator import Operator
from frivkit.graph.operators.products import attention_macs

HEADS, DIMENSIONS = 1, 3
"""The axes of heads and of dimensions of queries, keys and values."""


def has_head_axis(node: ir.Node) -> bool:
    """Whether a node is ONNX's own Attention on queries, keys and values of four known axes."""
    if node.op_type != "Attention" or node.domain not in ("", "ai.onnx"):
        return False
    shapes = [shape_of(value) for value in node.inputs[:3]]
    return all(shape is not None and len(shape) == 4 and shape[HEADS] for shape in shapes)


def queries_of_a_key(node: ir.Node) -> int:
    """Return how many heads of queries share one head of keys and values."""
    queries, keys = (shape_of(value) or () for value in node.inputs[:2])
    return (queries[HEADS] or 1) // (keys[HEADS] or 1)


def _propagate(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Couple units of queries with those of keys, and keep those of values."""
    if not has_head_axis(node):
        return Consumed()
    if index > 2 or DIMENSIONS not in layout.axes or not {*layout.axes} <= {HEADS, DIMENSIONS}:
        return Untraceable("units are the mask of an attention, or its positions")
    if index > 0 and HEADS in layout.axes:
        at = layout.axes.index(HEADS)
        layout = Layout(layout.axes, np.repeat(layout.units, queries_of_a_key(node), axis=at))
    if index == 2:
        return Kept(layout, moves_positions=True)
    return Coupled(layout.with_axes(*(4 if a == DIMENSIONS else a for a in layout.axes)), "inner")


def _narrow(context: NodeContext) -> list[Edit]:
    """Keep the scale of scores, and slice a mask that has an entry for each head."""
    node = context.node
    if not has_head_axis(node):
        return context.locked("an attention in one node whose heads have no axis of their own")
    edits: list[Edit] = []
    queries, keys, values = context.inputs[:3]
    heads, dimensions = queries.get(HEADS), queries.get(DIMENSIONS)
    for other, axis in ((keys, HEADS), (values, HEADS), (keys, DIMENSIONS)):
        mine = heads if axis == HEADS else dimensions
        its = other.get(axis)
        if its is not None and axis == HEADS:
            its = np.repeat(its, queries_of_a_key(node))
        value = context.operand(1)
        if mine is not None and its is not None and value is not None:
            edits += require_same_groups(mine, its, value)
        elif (found := mine if its is None else its) is not None:
            edits.append(Locked("only some of queries, keys and values have units", found))
    if heads is not None:
        edits += _narrow_mask(context, heads)
    width = (shape_of(context.operand(0)) or (0,) * 4)[DIMENSIONS]
    if dimensions is not None and "scale" not in node.attributes and width:
        edits.append(SetAttribute("scale", width**-0.5, dimensions))
    return edits


def _narrow_mask(context: NodeContext, heads: np.ndarray) -> list[Edit]:
    sizes = shape_of(context.operand(3))
    if sizes is None or len(sizes) < 3 or sizes[-3] == 1:
        return []
    edit = SliceOperand if context.constant(3) else SelectOperand
    return [edit(3, len(sizes) - 3, heads)]


OPERATORS = {
    "Attention": Operator(_propagate, _narrow, mixes=True, beside_batch=True, macs=attention_macs)
}
