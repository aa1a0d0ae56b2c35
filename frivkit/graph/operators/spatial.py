"""Operators that pool, pad, resize or reduce positions."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_UNIT, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.edits import (
    Edit,
    KeepMean,
    Locked,
    NodeContext,
    unchanged,
)
from frivkit.graph.operators.effects import Effect, Kept, Split, Stacked, Untraceable
from frivkit.graph.operators.operands import constant_numbers, has_input, integers, update_lengths
from frivkit.graph.operators.operator import Operator
from frivkit.graph.operators.written_norms import statistic_of
from frivkit.graph.shapes import batch_symbol_of, examples_axis

POOLING = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")


REDUCING = (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceProd",
    "ReduceLogSum",
    "ReduceLogSumExp",
)


def _propagate_pooling(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units: positions are pooled in each channel (axis 1)."""
    del index
    if layout.axes != (1,):
        return Untraceable(f"{node.op_type} pools over axis {layout.axes[-1]}, where units lie")
    if _places_are_read(node):
        return Split((layout, layout))
    return Kept(layout, moves_positions=True)


def _places_are_read(node: ir.Node) -> bool:
    """Whether the places of maxima, the second output of a MaxPool, are read."""
    return any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def _narrow_pooling(context: NodeContext) -> list[Edit]:
    """Lock units if anything but a MaxUnpool reads the places of their maxima.

    Places are numbered over all channels, so that numbers change when one leaves.
    """
    consumers = [use for value in context.node.outputs[1:] for use in value.uses()]
    unpooled = all(use.node.op_type == "MaxUnpool" and use.idx == 1 for use in consumers)
    if unpooled and not any(value.is_graph_output() for value in context.node.outputs[1:]):
        return []
    return context.locked("the places of its maxima are numbered over all channels")


def propagate_resize(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if positions are repeated or resized and their own axes keep their lengths."""
    before, shape = rank_of(node.inputs[0]), shape_of(node.outputs[0])
    if index != 0 or before is None or shape is None:
        return Untraceable(f"{node.op_type} to or from an unknown shape")
    axes = [axis + len(shape) - before for axis in layout.axes]  # Expand may put axes in front
    if [shape[axis] for axis in axes] != list(layout.units.shape):
        return Untraceable(f"{node.op_type} changes the axis that units lie on")
    return Kept(layout.with_axes(*axes), moves_positions=True)


def _propagate_pad(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units: positions are padded, or their own axis is padded with constants or cropped."""
    pads, axes = integers(node, 1, "pads"), integers(node, 3, "axes")
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None or pads is None or (axes is None and has_input(node, 3)):
        return Untraceable("a Pad whose sizes are computed")
    padded = [axis % rank for axis in (axes if axes is not None else range(len(pads) // 2))]
    mode = node.attributes.get("mode")
    for at, axis in enumerate(layout.axes):
        entry = padded.index(axis) if axis in padded else None
        front, back = (0, 0) if entry is None else (pads[entry], pads[entry + len(padded)])
        if (front, back) == (0, 0):
            continue
        if mode is not None and mode.as_string() != "constant":
            return Untraceable("a Pad that repeats units")
        length = layout.units.shape[at]
        positions = np.arange(-front, length + back)
        outside = (positions < 0) | (positions >= length)
        padded_layout = layout.take(axis, np.where(outside, NO_UNIT, positions))
        if padded_layout is None:
            return Split((None,))
        layout = padded_layout
    return Kept(layout, moves_positions=True)


def _propagate_reduction(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if positions are reduced, by a sum, mean or extreme; stack those of branches."""
    rank = rank_of(node.inputs[0])
    axes = integers(node, 1, "axes")
    if index != 0 or rank is None or not axes:
        return Untraceable(f"{node.op_type} over axes that are computed, or over all of them")
    reduced = {axis % rank for axis in axes}
    if reduced == {rank - 1} == {*layout.axes} and statistic_of(node) is not None:
        return Split((None,))
    left = tuple(axis for axis in layout.axes if axis not in reduced)
    stacks = len(left) < len(layout.axes)
    stack = layout.stacked(layout.narrowed_axis) if stacks else None
    examples = examples_axis(node.inputs[0], batch_symbol_of(node)) if node.inputs[0] else None
    if (examples or 0) in reduced or (
        stacks and (stack is None or left != (layout.narrowed_axis,))
    ):
        return Untraceable(f"{node.op_type} over the axis that units or examples lie on")
    shift = 0 if attribute(node, "keepdims", 1) else 1
    new_axes = [axis - shift * sum(a < axis for a in reduced) for axis in left]
    if stack is not None:  # one unit of each branch at each position
        return Stacked(tuple(each.with_axes(*new_axes) for each in stack))
    return Kept(layout.with_axes(*new_axes), moves_positions=True)


def _narrow_reduction(context: NodeContext) -> list[Edit]:
    """Let a mean over units that is part of a norm keep the number that it is divided by."""
    statistic, rank = statistic_of(context.node), rank_of(context.operand(0))
    group_ids = None if rank is None else context.located(0, rank - 1)
    if statistic is None or rank is None or group_ids is None:
        return []
    if (rank - 1) in {axis % rank for axis in integers(context.node, 1, "axes") or ()}:
        return [KeepMean(group_ids, statistic == "spread")]
    return []


def _narrow_resize(context: NodeContext) -> list[Edit]:
    """Update lengths in ``sizes``; along units the scale must be 1."""
    node = context.node
    rank = rank_of(context.operand(0))
    mode = node.attributes.get("coordinate_transformation_mode")
    policy = node.attributes.get("keep_aspect_ratio_policy")
    cropped = mode is not None and mode.as_string() == "tf_crop_and_resize"
    if rank is None or cropped or (policy is not None and policy.as_string() != "stretch"):
        return context.locked("a Resize of unknown rank, or one that crops or keeps proportions")
    axes_attribute = node.attributes.get("axes")
    axes = (
        [axis % rank for axis in axes_attribute.as_ints()]
        if axes_attribute is not None
        else [*range(rank)]
    )
    entries = {axis: axes.index(axis) for axis in context.inputs[0] if axis in axes}
    if context.operand(3) is not None:
        return update_lengths(context, 3, entries)
    scales = _scales(context)
    reason = f"a {node.op_type} whose scale along units is not 1 or not known"
    return [
        Locked(reason, context.inputs[0][axis])
        for axis, entry in entries.items()
        if scales is None or scales[entry] != 1
    ]


def _scales(context: NodeContext) -> list[float] | None:
    if "scales" in context.node.attributes:
        return list(context.node.attributes["scales"].as_floats())
    index = 2 if len(context.node.inputs) > 2 else 1  # behind roi, which came with opset 11
    tensor = constant_tensor(context.operand(index))
    return None if tensor is None else [float(scale) for scale in tensor.numpy().ravel()]


def _narrow_pad(context: NodeContext) -> list[Edit]:
    """Leave a Pad as it is, unless it crops units."""
    attribute_ = context.node.attributes.get("pads")
    pads = constant_numbers(context, 1) if attribute_ is None else list(attribute_.as_ints())
    if pads is not None and min(pads, default=0) >= 0:
        return []
    return [
        Locked("a Pad that cuts units off, or whose sizes are computed", group_ids)
        for axis, group_ids in context.inputs[0].items()
        if len(context.output.get(axis, ())) != len(group_ids)
    ]


OPERATORS = {
    **dict.fromkeys(POOLING, Operator(_propagate_pooling, _narrow_pooling)),
    **dict.fromkeys(["Resize", "Upsample"], Operator(propagate_resize, _narrow_resize)),
    "Tile": Operator(propagate_resize, unchanged),  # the axis of units is repeated once
    "Pad": Operator(_propagate_pad, _narrow_pad),
    **dict.fromkeys(REDUCING, Operator(_propagate_reduction, _narrow_reduction)),
}
