"""Operators that select, split or concatenate along an axis: Slice, Split, Gather, Concat."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import NO_UNIT, IntArray, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor, remembered
from frivkit.graph.operators.edits import (
    Edit,
    Locked,
    NodeContext,
    UpdateShape,
    UpdateSplit,
    broadcast,
)
from frivkit.graph.operators.effects import Coupled, Effect, Kept, Split, Untraceable
from frivkit.graph.operators.operands import constant_numbers, has_input, integers
from frivkit.graph.operators.operator import Operator


def _propagate_slice(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep the units of the slice: all of them on another axis, some of them on their own."""
    rank = rank_of(node.inputs[0])
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    axes, steps = integers(node, 3, "axes"), integers(node, 4, "steps")
    known = (axes is not None or not has_input(node, 3)) and (
        steps is not None or not has_input(node, 4)
    )
    if index != 0 or rank is None or not known:
        return Untraceable("a Slice whose axes are computed")
    if axes is None and starts is None:
        return Untraceable("a Slice whose axes are computed")
    sliced_axes = [axis % rank for axis in (axes if axes is not None else range(len(starts or ())))]
    for axis in layout.axes:
        if axis not in sliced_axes:
            continue
        if starts is None or ends is None:
            return Untraceable("a Slice of units whose sizes are computed")
        at = sliced_axes.index(axis)
        length = layout.units.shape[layout.axes.index(axis)]
        step = 1 if steps is None else steps[at]
        last = ends[at] if step > 0 or ends[at] >= -length else None
        taken = layout.take(axis, np.arange(length)[starts[at] : last : step])
        if taken is None:
            return Split((None,))
        layout = taken
    return Kept(layout, moves_positions=True)


def _propagate_concat(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Couple units of the parts: side by side on their axis, position by position on another."""
    rank = rank_of(node.outputs[0]) or rank_of(node.inputs[index])
    if rank is None:
        return Untraceable("a Concat of unknown rank")
    axis = attribute(node, "axis", 1) % rank
    if axis not in layout.axes:
        return Coupled(layout, "sum")  # positions are concatenated: unit i stays unit i
    ends = remembered(node.graph, ("ends", id(node), axis), lambda: _ends_of_parts(node, axis))
    if ends is None:
        return Untraceable("a Concat of parts of unknown size")
    in_front = ends[index - 1] if index else 0
    positions = np.arange(ends[-1]) - in_front
    others = (positions < 0) | (positions >= ends[index] - in_front)
    taken = layout.take(axis, np.where(others, NO_UNIT, positions))
    return Coupled(taken, "concat") if taken is not None else Split((None,))


def _ends_of_parts(node: ir.Node, axis: int) -> IntArray | None:
    """Return where each part of a Concat ends along its axis, None if one's size is unknown."""
    sizes = [None if (sizes := shape_of(value)) is None else sizes[axis] for value in node.inputs]
    known = [size for size in sizes if size is not None]
    return np.cumsum(known) if len(known) == len(sizes) else None


def _propagate_split(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Split units among the outputs if they lie on the split axis, else keep all in each output."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None:
        return Untraceable("a Split of a tensor of unknown rank")
    axis = attribute(node, "axis", 0) % rank
    if axis not in layout.axes:
        return Split((layout,) * len(node.outputs))
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in node.outputs]
    known = [size for size in sizes if size is not None]
    length = layout.units.shape[layout.axes.index(axis)]
    if len(known) != len(sizes) or sum(known) != length:
        return Untraceable("a Split into parts of unknown size")
    ends = np.cumsum(known)
    parts = zip(ends - known, ends, strict=True)
    return Split(tuple(layout.take(axis, np.arange(a, b)) for a, b in parts))


def _propagate_gather(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep the units at the indices if they lie on that axis, else all of them."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None:
        return Untraceable("units are the indices of a Gather")
    axis = attribute(node, "axis", 0) % rank
    tensor, shape = constant_tensor(node.inputs[1]), shape_of(node.inputs[1])
    if axis not in layout.axes:
        if shape is None:
            return Untraceable("a Gather by indices of unknown shape")
        more = len(shape) - 1
        return Kept(
            layout.with_axes(*(a + more * (a > axis) for a in layout.axes)), moves_positions=True
        )
    if tensor is None:
        return Untraceable("a Gather that chooses among units by what it computes")
    positions = tensor.numpy().astype(np.intp)
    if positions.ndim > 1 or (positions.ndim == 0 and len(layout.axes) == 1):
        return Untraceable("a Gather that takes one unit out, or lays units out on further axes")
    length = layout.units.shape[layout.axes.index(axis)]
    return _kept_or_gone(layout.take(axis, np.asarray(positions % length)))


def _kept_or_gone(layout: Layout | None) -> Effect:
    """Return the effect on the units of a layout, None for none."""
    return Split((None,)) if layout is None else Kept(layout, moves_positions=True)


def _narrow_concat(context: NodeContext) -> list[Edit]:
    """Slice constants that are concatenated to units along another axis."""
    rank = rank_of(context.node.outputs[0])
    if rank is None:
        return context.locked("a Concat of unknown rank")
    axis = attribute(context.node, "axis", 1) % rank
    others = {at: group_ids for at, group_ids in context.output.items() if at != axis}
    return broadcast(NodeContext(context.node, context.inputs, (others,)))


def _narrow_split(context: NodeContext) -> list[Edit]:
    """Update the lengths of a Split along units; others are not changed."""
    rank = rank_of(context.operand(0))
    if rank is None:
        return context.locked("a Split of a tensor of unknown rank")
    axis = attribute(context.node, "axis", 0) % rank
    group_ids = context.located(0, axis)
    if group_ids is None:
        return []
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in context.node.outputs]
    if "split" in context.node.attributes or None in sizes or context.computed(1):
        return [Locked("a Split whose sizes are computed, or of before opset 13", group_ids)]
    ends = np.cumsum([size or 0 for size in sizes])
    parts = np.split(group_ids, ends[:-1])
    return [UpdateSplit(i, part) for i, part in enumerate(parts)]


def _narrow_slice(context: NodeContext) -> list[Edit]:
    """Update the bounds of a Slice along units; others are not changed."""
    rank = rank_of(context.operand(0))
    starts, ends = constant_numbers(context, 1), constant_numbers(context, 2)
    axes, steps = constant_numbers(context, 3), constant_numbers(context, 4)
    edits: list[Edit] = []
    for axis, group_ids in context.inputs[0].items():
        if rank is None or "starts" in context.node.attributes:
            same = context.output.get(axis)
            whole = same is not None and len(same) == len(group_ids)
            edits += [] if whole else [Locked("a Slice of units of before opset 10", group_ids)]
            continue
        sliced_axes = [a % rank for a in (axes if axes is not None else range(len(starts or ())))]
        if axis not in sliced_axes:
            continue
        at = sliced_axes.index(axis)
        output_ids = context.output.get(axis)
        if (
            output_ids is not None
            and len(output_ids) == len(group_ids)
            and (output_ids == group_ids).all()
        ):
            continue  # all units: from the first to beyond the last, which Slice clips
        if starts is not None and ends is not None and steps is not None and steps[at] > 1:
            every = slice(starts[at], ends[at], steps[at]).indices(len(group_ids))
            whole = every[0] < steps[at] and ends[at] >= len(group_ids) > 0
            if whole and _leave_side_by_side(group_ids, steps[at]):
                continue
        if starts is None or ends is None or (steps is not None and steps[at] != 1):
            edits.append(Locked("a Slice that chooses among units by what it computes", group_ids))
            continue
        if min(starts[at], ends[at]) < 0:  # the end of a shorter axis is another one
            edits.append(Locked("a Slice of units that counts from their end", group_ids))
            continue
        bounds = slice(starts[at], ends[at]).indices(len(group_ids))
        edits += [
            UpdateShape(1, at, group_ids[: bounds[0]]),
            UpdateShape(2, at, group_ids[: bounds[1]]),
        ]
    return edits


def _leave_side_by_side(group_ids: NDArray[np.intp], step: int) -> bool:
    """Whether each run of ``step`` positions is one group, so that steps stay in their places."""
    if len(group_ids) % step:
        return False
    runs = group_ids.reshape(-1, step)
    return bool((runs == runs[:, :1]).all())


def _narrow_gather(context: NodeContext) -> list[Edit]:
    """Lock units that are selected by index; other axes are not changed."""
    rank = rank_of(context.operand(0))
    if rank is None:
        return context.locked("a Gather from a tensor of unknown rank")
    group_ids = context.located(0, attribute(context.node, "axis", 0) % rank)
    return [] if group_ids is None else [Locked("a Gather that chooses units by number", group_ids)]


OPERATORS = {
    "Slice": Operator(_propagate_slice, _narrow_slice),
    "Concat": Operator(_propagate_concat, _narrow_concat),
    "Split": Operator(_propagate_split, _narrow_split),
    "Gather": Operator(_propagate_gather, _narrow_gather),
}
