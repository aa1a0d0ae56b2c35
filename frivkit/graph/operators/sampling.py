"""Operators on maps: blocks of channels and places, sampling, unpooling, cropping."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_UNIT, IntArray, Layout, attribute, rank_of, shape_of
from frivkit.graph.operators.edits import (
    Edit,
    Locked,
    NodeContext,
    require_same_groups,
    unchanged,
)
from frivkit.graph.operators.effects import Coupled, Effect, Kept, Split, Stacked, Untraceable
from frivkit.graph.operators.operands import integers, update_lengths
from frivkit.graph.operators.operator import Operator


def _propagate_depth_to_space(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Stack the channels that are laid out over the places of one channel."""
    del index
    block = attribute(node, "blocksize", 1)
    if layout.axes != (1,) or layout.size % block**2:
        return Untraceable("a DepthToSpace that makes channels of the places where units lie")
    return _stacked(_channel_blocks(node, layout.units))


def _channel_blocks(node: ir.Node, units: IntArray) -> IntArray:
    """Return what lies along the channels, shape (new channels, places of a block)."""
    block, mode = attribute(node, "blocksize", 1), node.attributes.get("mode")
    if mode is not None and mode.as_string() == "CRD":
        return units.reshape(-1, block**2)
    return units.reshape(block**2, -1).T


def _propagate_col2im(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Stack the channels that are laid out over the places of one channel."""
    block = integers(node, 2, "block_shape")
    if index != 0 or layout.axes != (1,) or block is None or layout.size % int(np.prod(block)):
        return Untraceable("a Col2Im of units that are no channels")
    return _stacked(layout.units.reshape(-1, int(np.prod(block))))


def _stacked(rows: IntArray) -> Effect:
    """Return the effect on units of which each row lies at one position of axis 1."""
    layouts = [Layout((1,), column.copy()) for column in rows.T if (column != NO_UNIT).any()]
    if not layouts:
        return Split((None,))
    return Stacked(tuple(layouts)) if rows.shape[1] > 1 else Kept(layouts[0], moves_positions=True)


def _narrow_depth_to_space(context: NodeContext) -> list[Edit]:
    group_ids = context.located(0, 1)
    return [] if group_ids is None else _lock_broken(_channel_blocks(context.node, group_ids))


def _narrow_col2im(context: NodeContext) -> list[Edit]:
    group_ids, block = context.located(0, 1), integers(context.node, 2, "block_shape")
    if group_ids is None or block is None:
        return context.locked("a Col2Im of units that are no channels")
    return _lock_broken(group_ids.reshape(-1, int(np.prod(block))))


def _lock_broken(rows: IntArray) -> list[Edit]:
    """Lock rows of groups that make up one channel together if they are not all one group."""
    broken = rows.min(axis=1) != rows.max(axis=1)
    reason = "laid out over the places of a channel in which no units lie, too"
    return [Locked(reason, rows[broken].ravel())] if broken.any() else []


def _propagate_space_to_depth(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units: the places of each channel become channels."""
    del index
    if layout.axes != (1,):
        return Untraceable("a SpaceToDepth that makes channels of the places where units lie")
    times = attribute(node, "blocksize", 1) ** 2
    return Kept(Layout((1,), np.tile(layout.units, times)), moves_positions=True)


def _propagate_sampling(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep channels (axis 1) whose places are sampled; units say not where."""
    if index != 0:
        return Untraceable(f"units say where {node.op_type} samples")
    if layout.axes != (1,):
        return Untraceable(f"{node.op_type} samples along axis {layout.axes[-1]}, where units lie")
    return Kept(layout, moves_positions=True)


def _propagate_unpool(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Couple channels (axis 1) with those of the places that their pooling found."""
    if index > 1 or layout.axes != (1,):
        return Untraceable(f"{node.op_type} of units that are no channels")
    return Coupled(layout, "product")


def _narrow_unpool(context: NodeContext) -> list[Edit]:
    group_ids, places = context.located(0, 1), context.operand(1)
    if group_ids is None or places is None or context.constant(1):
        return context.locked("places that are constant, or are those of other channels")
    found = context.located(1, 1)
    found = np.full(len(group_ids), NO_UNIT) if found is None else found
    edits = require_same_groups(group_ids, found, places)
    return edits if context.operand(2) is None else [*edits, *update_lengths(context, 2, {1: 1})]


def _propagate_crop_or_pad(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if other axes are cropped or padded, and theirs keeps its length."""
    shape = shape_of(node.outputs[0])
    if index != 0 or shape is None:
        return Untraceable(f"{node.op_type} to a shape that is not known")
    if [shape[axis] for axis in layout.axes] != list(layout.units.shape):
        return Untraceable(f"{node.op_type} cuts units off or adds others")
    return Kept(layout, moves_positions=True)


def _narrow_crop_or_pad(context: NodeContext) -> list[Edit]:
    rank, axes = rank_of(context.operand(0)), context.node.attributes.get("axes")
    if rank is None:
        return context.locked("a CenterCropPad of a tensor of unknown rank")
    named = list(range(rank)) if axes is None else [axis % rank for axis in axes.as_ints()]
    return update_lengths(context, 1, {axis: entry for entry, axis in enumerate(named)})


def _propagate_matrices(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units of which each has a matrix of its own on the last two axes."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None or any(axis >= rank - 2 for axis in layout.axes):
        return Untraceable(f"{node.op_type} of matrices in which units lie")
    return Kept(layout, moves_positions=True)


def _propagate_fourier(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units if another axis is transformed."""
    rank = rank_of(node.inputs[0])
    axes = integers(node, 2, "axis") if len(node.inputs) > 2 else None
    if index != 0 or rank is None or (axes is None and len(node.inputs) > 2):
        return Untraceable(f"{node.op_type} along an axis that is computed")
    first = attribute(node, "axis", 1) if "axis" in node.attributes else -2
    transformed = first if axes is None else axes[0]
    if {transformed % rank, rank - 1} & {*layout.axes}:
        return Untraceable(f"{node.op_type} along the axis that units lie on")
    return Kept(layout, moves_positions=True)


_SAMPLING = Operator(_propagate_sampling, unchanged)
_MATRICES = Operator(_propagate_matrices, unchanged)
OPERATORS = {
    "DepthToSpace": Operator(_propagate_depth_to_space, _narrow_depth_to_space),
    "SpaceToDepth": Operator(_propagate_space_to_depth, unchanged),
    "Col2Im": Operator(_propagate_col2im, _narrow_col2im),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), _SAMPLING),
    "MaxUnpool": Operator(_propagate_unpool, _narrow_unpool),
    "CenterCropPad": Operator(_propagate_crop_or_pad, _narrow_crop_or_pad),
    **dict.fromkeys(("Det", "Trilu", "Inverse"), _MATRICES),
    "DFT": Operator(_propagate_fourier, unchanged),
}
