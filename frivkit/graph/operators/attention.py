"""Attention in one node: of ONNX from opset 23 on, on an axis for heads, and what stays whole."""

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
PAST = {
    "Attention": (4, 5),
    "QAttention": (8,),
    "MultiHeadAttention": (6, 7),
    "GroupQueryAttention": (3, 4),
}
"""By the name of an attention the operands that are keys and values of earlier tokens."""


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
    if not has_head_axis(node) or _keeps(node):
        return lock_attention(context)
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


def lock_attention(context: NodeContext) -> list[Edit]:
    """Lock the units of an attention that stays in one node, and say why."""
    node = context.node
    if _keeps(node):
        reason = "keeps keys and values of earlier tokens, which are no units"
    elif node.op_type == "Attention" and node.domain in ("", "ai.onnx"):
        reason = "is one node whose heads have no axis of their own"
    else:
        reason = "is one node with options, packed operands or sizes that are not taken apart"
    return context.locked(f"{node.op_type} {reason}")


def _keeps(node: ir.Node) -> bool:
    """Whether an attention reads keys and values of earlier tokens, or gives away its own."""
    places = PAST.get(node.op_type, ())
    if node.op_type == "Attention" and node.domain == "com.microsoft":
        places = (4,)
    reads = any(i < len(node.inputs) and node.inputs[i] is not None for i in places)
    return reads or any(each.uses() or each.is_graph_output() for each in node.outputs[1:])


def _narrow_mask(context: NodeContext, heads: np.ndarray) -> list[Edit]:
    sizes = shape_of(context.operand(3))
    if sizes is None or len(sizes) < 3 or sizes[-3] == 1:
        return []
    edit = SliceOperand if context.constant(3) else SelectOperand
    return [edit(3, len(sizes) - 3, heads)]


OPERATORS = {
    "Attention": Operator(_propagate, _narrow, mixes=True, beside_batch=True, macs=attention_macs)
}
