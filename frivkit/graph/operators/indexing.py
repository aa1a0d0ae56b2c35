"""Operators that choose, cut or join along an axis: Slice, Split, Gather, Concat."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_UNIT, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
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


def _slicing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Take a part of the places, or of the units."""
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
    sliced = [axis % rank for axis in (axes if axes is not None else range(len(starts or ())))]
    for axis in layout.axes:
        if axis not in sliced:
            continue
        if starts is None or ends is None:
            return Untraceable("a Slice of units whose sizes are computed")
        at = sliced.index(axis)
        length = layout.units.shape[layout.axes.index(axis)]
        step = 1 if steps is None else steps[at]
        last = ends[at] if step > 0 or ends[at] >= -length else None
        found = layout.taken(axis, np.arange(length)[starts[at] : last : step])
        if found is None:
            return Split((None,))
        layout = found
    return Kept(layout, moves_positions=True)


def _concatenating(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Put tensors side by side: on the axis of units each part lies behind those before it."""
    rank = rank_of(node.outputs[0]) or rank_of(node.inputs[index])
    if rank is None:
        return Untraceable("a Concat of unknown rank")
    axis = attribute(node, "axis", 1) % rank
    if axis not in layout.axes:
        return Coupled(layout, "sum")  # places beside places: unit i stays unit i
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in node.inputs]
    known = [size for size in sizes if size is not None]
    if len(known) != len(sizes):
        return Untraceable("a Concat of parts of unknown size")
    before, size = sum(known[:index]), known[index]
    positions = np.arange(sum(known)) - before
    beside = (positions < 0) | (positions >= size)
    found = layout.taken(axis, np.where(beside, NO_UNIT, positions))
    return Coupled(found, "concat") if found is not None else Split((None,))


def _splitting(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Return each output its part; on the axis of units its units, else all of them its places."""
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
    return Split(tuple(layout.taken(axis, np.arange(a, b)) for a, b in parts))


def _gathering(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Take positions of an axis, in any order: units, where it is theirs, else places."""
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
            layout.moved(*(a + more * (a > axis) for a in layout.axes)), moves_positions=True
        )
    if tensor is None:
        return Untraceable("a Gather that chooses among units by what it computes")
    positions = tensor.numpy().astype(np.intp)
    if positions.ndim > 1 or (positions.ndim == 0 and len(layout.axes) == 1):
        return Untraceable("a Gather that takes one unit out, or lays units out on further axes")
    length = layout.units.shape[layout.axes.index(axis)]
    return _only(layout.taken(axis, np.asarray(positions % length)))


def _only(layout: Layout | None) -> Effect:
    """Go on with what is left of the units, if any is."""
    return Split((None,)) if layout is None else Kept(layout, moves_positions=True)


def _concat(given: NodeContext) -> list[Edit]:
    """Cut constants that stand beside units on another axis than theirs."""
    rank = rank_of(given.node.outputs[0])
    if rank is None:
        return given.locked("a Concat of unknown rank")
    axis = attribute(given.node, "axis", 1) % rank
    beside = {at: group_ids for at, group_ids in given.output.items() if at != axis}
    return broadcast(NodeContext(given.node, given.inputs, (beside,)))


def _split(given: NodeContext) -> list[Edit]:
    """Shorten the parts along units; a Split of places goes on as before."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.locked("a Split of a tensor of unknown rank")
    axis = attribute(given.node, "axis", 0) % rank
    read = given.located(0, axis)
    if read is None:
        return []
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in given.node.outputs]
    if "split" in given.node.attributes or None in sizes or given.computed(1):
        return [Locked("a Split whose sizes are computed, or of before opset 13", read)]
    ends = np.cumsum([size or 0 for size in sizes])
    parts = np.split(read, ends[:-1])
    return [UpdateSplit(i, part) for i, part in enumerate(parts)]


def _slice(given: NodeContext) -> list[Edit]:
    """Move the bounds of a Slice along units; one of places goes on as before."""
    rank = rank_of(given.operand(0))
    starts, ends = constant_numbers(given, 1), constant_numbers(given, 2)
    axes, steps = constant_numbers(given, 3), constant_numbers(given, 4)
    edits: list[Edit] = []
    for axis, group_ids in given.inputs[0].items():
        if rank is None or "starts" in given.node.attributes:
            same = given.output.get(axis)
            whole = same is not None and len(same) == len(group_ids)
            edits += [] if whole else [Locked("a Slice of units of before opset 10", group_ids)]
            continue
        sliced = [a % rank for a in (axes if axes is not None else range(len(starts or ())))]
        if axis not in sliced:
            continue
        at = sliced.index(axis)
        after = given.output.get(axis)
        if after is not None and len(after) == len(group_ids) and (after == group_ids).all():
            continue  # units pass whole: from the first to beyond the last, which Slice clips
        if starts is None or ends is None or (steps is not None and steps[at] != 1):
            edits.append(Locked("a Slice that chooses among units by what it computes", group_ids))
            continue
        if min(starts[at], ends[at]) < 0:  # behind what leaves, the end is another
            edits.append(Locked("a Slice of units that counts from their end", group_ids))
            continue
        bounds = slice(starts[at], ends[at]).indices(len(group_ids))
        edits += [
            UpdateShape(1, at, group_ids[: bounds[0]]),
            UpdateShape(2, at, group_ids[: bounds[1]]),
        ]
    return edits


def _gather(given: NodeContext) -> list[Edit]:
    """Hold units that are chosen by number; places may be chosen as before."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.locked("a Gather from a tensor of unknown rank")
    group_ids = given.located(0, attribute(given.node, "axis", 0) % rank)
    return [] if group_ids is None else [Locked("a Gather that chooses units by number", group_ids)]


OPERATORS = {
    "Slice": Operator(_slicing, _slice),
    "Concat": Operator(_concatenating, _concat),
    "Split": Operator(_splitting, _split),
    "Gather": Operator(_gathering, _gather),
}
