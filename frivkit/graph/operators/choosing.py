"""Operators that choose, order or accumulate entries along an axis, by number or by what they hold.

Units on another axis stay units; those on the axis itself would be mixed up.
"""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_GROUP, IntArray, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.edits import (
    Edit,
    NodeContext,
    SliceOperand,
    require_same_groups,
    unchanged,
)
from frivkit.graph.operators.effects import Coupled, Effect, Kept, Split, Untraceable
from frivkit.graph.operators.operands import integers
from frivkit.graph.operators.operator import Operator


def _axis(node: ir.Node, default: int) -> int | None:
    """Return the axis that a node works along, None for a tensor of unknown rank."""
    rank = rank_of(node.inputs[0])
    return None if not rank else attribute(node, "axis", default) % rank


def _propagate_extreme(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if another axis is searched; the positions found there do not depend on them."""
    del index
    axis = _axis(node, 0)
    if axis is None or axis in layout.axes:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    keep = attribute(node, "keepdims", 1)
    axes = layout.axes if keep else [each - (each > axis) for each in layout.axes]
    return Kept(layout.with_axes(*axes), nonlinear=True, moves_positions=True)


def _propagate_top(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units in all outputs if another axis is sorted."""
    axis = _axis(node, -1)
    if index != 0 or axis is None or axis in layout.axes:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    return Split((layout,) * len(node.outputs))


def _propagate_running(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if sums or products run along another axis."""
    rank, axes = rank_of(node.inputs[0]), integers(node, 1, "axis")
    if index != 0 or not rank or axes is None:
        return Untraceable(f"{node.op_type} along an axis that is computed")
    if axes[0] % rank in layout.axes:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    return Kept(layout, moves_positions=True)


def _propagate_reversal(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units on axes other than those of time and of sequences."""
    axes = {attribute(node, "time_axis", 0), attribute(node, "batch_axis", 1)}
    if index != 0 or axes & {*layout.axes}:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    return Kept(layout, moves_positions=True)


def _propagate_compress(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if entries along another axis are selected."""
    if index != 0 or "axis" not in node.attributes or _axis(node, 0) in layout.axes:
        return Untraceable(f"{node.op_type} among units")
    return Kept(layout, moves_positions=True)


def _propagate_one_hot(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units, each of which is a number that becomes a row."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None:
        return Untraceable(f"{node.op_type} whose values units are")
    axis = attribute(node, "axis", -1) % (rank + 1)
    axes = [each + (each >= axis) for each in layout.axes]
    return Kept(layout.with_axes(*axes), nonlinear=True, moves_positions=True)


def _propagate_elements(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if entries along another axis are chosen, equally many of each unit."""
    axis = _axis(node, 0)
    shapes = [shape_of(value) for value in node.inputs]
    if axis is None or axis in layout.axes:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    sizes = list(layout.units.shape)
    if any(shape is None or [shape[a] for a in layout.axes] != sizes for shape in shapes):
        return Untraceable(f"{node.op_type} by numbers for some units only")
    others = [value for i, value in enumerate(node.inputs) if i != index and value is not None]
    if all(is_constant(value) for value in others):
        return Kept(layout, moves_positions=True)
    return Coupled(layout, "product")


def _narrow_elements(context: NodeContext) -> list[Edit]:
    """Slice constant operands along units; lock units that meet others."""
    edits: list[Edit] = []
    for axis, group_ids in context.output.items():
        for index, value in enumerate(context.node.inputs):
            if value is not None and is_constant(value):
                edits.append(SliceOperand(index, axis, group_ids))
            elif value is not None:
                edits += require_same_groups(group_ids, _ids(context, index, axis), value)
    return edits


def _ids(context: NodeContext, index: int, axis: int) -> IntArray:
    """Return the groups along an axis of an operand, ``NO_GROUP`` where no units lie."""
    group_ids = context.located(index, axis)
    length = len(context.output.get(axis, ()))
    return np.full(length, NO_GROUP) if group_ids is None else group_ids


def _propagate_gather_nd(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units on axes behind those that are indexed."""
    numbers, batch = shape_of(node.inputs[1]), attribute(node, "batch_dims", 0)
    if index != 0 or not numbers or numbers[-1] is None:
        return Untraceable(f"{node.op_type} by indices that units are, or of unknown shape")
    indexed = batch + numbers[-1]
    if any(axis < indexed for axis in layout.axes):
        return Untraceable(f"{node.op_type} among units")
    more = len(numbers) - 1 - indexed
    return Kept(layout.with_axes(*(axis + more for axis in layout.axes)), moves_positions=True)


def _propagate_scatter_nd(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Couple units of the data with those of the updates, on axes behind those indexed."""
    numbers, rank = shape_of(node.inputs[1]), rank_of(node.inputs[0])
    if index == 1 or not numbers or numbers[-1] is None or rank is None:
        return Untraceable(f"{node.op_type} by indices that units are, or of unknown shape")
    more = 0 if index == 0 else numbers[-1] - (len(numbers) - 1)
    axes = [axis + more for axis in layout.axes]
    if any(axis < numbers[-1] for axis in axes):
        return Untraceable(f"{node.op_type} among units")
    return Coupled(layout.with_axes(*axes), "sum")


def _narrow_scatter_nd(context: NodeContext) -> list[Edit]:
    numbers = shape_of(context.operand(1))
    if not numbers or numbers[-1] is None:
        return context.locked("indices of unknown shape")
    more = numbers[-1] - (len(numbers) - 1)
    edits: list[Edit] = []
    for axis, group_ids in context.output.items():
        for index, its_axis in ((0, axis), (2, axis - more)):
            value = context.operand(index)
            if value is not None and is_constant(value):
                edits.append(SliceOperand(index, its_axis, group_ids))
            elif value is not None:
                found = context.located(index, its_axis)
                found = np.full(len(group_ids), NO_GROUP) if found is None else found
                edits += require_same_groups(group_ids, found, value)
    return edits


OPERATORS = {
    **dict.fromkeys(("ArgMax", "ArgMin"), Operator(_propagate_extreme, unchanged)),
    "TopK": Operator(_propagate_top, unchanged),
    **dict.fromkeys(("CumSum", "CumProd"), Operator(_propagate_running, unchanged)),
    "ReverseSequence": Operator(_propagate_reversal, unchanged),
    "Compress": Operator(_propagate_compress, unchanged),
    "OneHot": Operator(_propagate_one_hot, unchanged),
    **dict.fromkeys(
        ("GatherElements", "ScatterElements", "Scatter"),
        Operator(_propagate_elements, _narrow_elements),
    ),
    "GatherND": Operator(_propagate_gather_nd, unchanged),
    "ScatterND": Operator(_propagate_scatter_nd, _narrow_scatter_nd),
}
