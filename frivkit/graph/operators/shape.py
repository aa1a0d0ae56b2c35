"""Operators that give a tensor other axes, or tell its shape."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import Layout, Numbers, attribute, rank_of, shape_of
from frivkit.graph.operators.edits import (
    CompensateShape,
    Edit,
    Locked,
    NodeContext,
    UpdateShape,
    unchanged,
)
from frivkit.graph.operators.effects import Effect, Kept, Split, Untraceable
from frivkit.graph.operators.operands import constant_numbers, update_lengths
from frivkit.graph.operators.operator import Operator
from frivkit.graph.operators.spatial import resizing
from frivkit.graph.shapes import STAND_INS, batch_symbol_of, sizes_for

EXAMPLES = (2, 3)
"""Batches for which the places of units are worked out; what differs between them is no layout."""


AxisSizes = tuple[int | None, ...]


AxisRuns = list[tuple[int, int, int, int]]
"""Runs of axes: the first and the one behind the last, of what is read, then of what is made."""


def _reshaping(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Follow units to their new axes, by numbering the entries of the axes that change."""
    symbol = batch_symbol_of(node)
    before, after = (sizes_for(value, symbol, STAND_INS[0]) for value in _ends_of(node))
    if index != 0 or before is None or after is None:
        return Untraceable(f"{node.op_type} to or from an unknown shape")
    groups = [
        group
        for group in _equal_groups(before, after)
        if any(group[0] <= axis < group[1] for axis in layout.axes)
    ]
    mixed = Untraceable(f"{node.op_type} that mixes units with the batch")
    if symbol is None and any(left == 0 or right == 0 for left, _, right, _ in groups):
        return mixed
    kept = _kept_whole(before, after, layout, groups)
    if kept is not None:
        return Kept(layout.moved(kept), moves_positions=True)
    if any(None in before[a:b] or None in after[c:d] for a, b, c, d in groups):
        return Untraceable(f"{node.op_type} of places of unknown size")
    free = [(size or 0) % STAND_INS[0] == 0 for size in after]
    found = [_regrouped(node, layout, groups, symbol, batch, free) for batch in EXAMPLES]
    if found[0] is None or found[0] != found[1]:
        return mixed
    return Kept(found[0], moves_positions=True)


def _ends_of(node: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    return node.inputs[0], node.outputs[0]


def _regrouped(  # noqa: PLR0917  # all that places depend on
    node: ir.Node,
    layout: Layout,
    groups: AxisRuns,
    symbol: str | None,
    batch: int,
    free: Sequence[bool],
) -> Layout | None:
    """Return the layout for a number of examples; None where units change with the example."""
    before, after = (sizes_for(value, symbol, batch) or () for value in _ends_of(node))
    left = [axis for first, last, _, _ in groups for axis in range(first, last)]
    right = [axis for _, _, first, last in groups for axis in range(first, last)]
    old, new = [before[axis] or 0 for axis in left], [after[axis] or 0 for axis in right]
    if prod(old) != prod(new):
        return None
    units = _spread(layout, left, old).reshape(new)
    return _reduced(units, right, [batch if free[axis] else 1 for axis in right])


def _spread(layout: Layout, axes: Sequence[int], lengths: Sequence[int]) -> Numbers:
    """Return the unit at every entry of axes, of which those of the layout are some."""
    units = layout.units
    shape = [1] * len(axes)
    for at, axis in enumerate(layout.axes):
        place = axes.index(axis)
        repeats = lengths[place] // units.shape[at]  # along the batch the layout is one period
        units = np.concatenate([units] * repeats, axis=at)
        shape[place] = lengths[place]
    return np.broadcast_to(units.reshape(shape), lengths)


def _reduced(units: Numbers, axes: Sequence[int], batches: Sequence[int]) -> Layout | None:
    """Leave out the axes along which units do not change, and all examples but the first."""
    kept: list[int] = []
    lengths = units.shape
    for at, (axis, batch) in enumerate(zip(axes, batches, strict=True)):
        period = units.shape[at] // batch
        first = np.take(units, np.arange(period), axis=at)
        if batch > 1 and not (units == np.concatenate([first] * batch, axis=at)).all():
            return None
        single = np.take(first, [0], axis=at)
        changes = not (first == single).all()
        units = first if changes else single
        if changes:
            kept.append(axis)
    if not kept:  # a single unit: any axis will do that is not the batch
        wide = [at for at, batch in enumerate(batches) if batch == 1]
        if not wide:
            return None
        longest = max(wide, key=lambda at: lengths[at])
        return Layout((axes[longest],), np.full(lengths[longest], units.item()))
    return Layout(tuple(kept), units.reshape([size for size in units.shape if size > 1]))


def _kept_whole(
    before: AxisSizes, after: AxisSizes, layout: Layout, groups: AxisRuns
) -> int | None:
    """Return axis on which units go on where theirs survives and its neighbours are regrouped."""
    if len(layout.axes) != 1 or len(groups) != 1:
        return None
    left, left_end, right, right_end = groups[0]
    outer, inner = _size(before[left : layout.axis]), _size(before[layout.axis + 1 : left_end])
    for axis in range(right, right_end):
        beside = _size(after[right:axis]), _size(after[axis + 1 : right_end])
        if after[axis] == before[layout.axis] and None not in beside and beside == (outer, inner):
            return axis
    return None


def _equal_groups(before: AxisSizes, after: AxisSizes) -> AxisRuns:
    """Cut two shapes, from the back, into the shortest runs of axes of equal size.

    From where sizes cannot be compared, in front, the rest is one group; axes of 1 that are left
    over in front belong to the first.
    """
    found: AxisRuns = []
    i, j = len(before), len(after)
    while i > 0 and j > 0:
        left, right = i - 1, j - 1
        a, b = before[left], after[right]
        while a != b:
            if a is None or b is None or (a < b and left == 0) or (b < a and right == 0):
                return [(0, i, 0, j), *found]
            if a < b:
                left -= 1
                a = _size(before[left:i])
            else:
                right -= 1
                b = _size(after[right:j])
        found.insert(0, (left, i, right, j))
        i, j = left, right
    if found:
        found[0] = (0, found[0][1], 0, found[0][3])
    return found


def _size(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def _transposing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Reorder axes."""
    del index
    rank = rank_of(node.inputs[0])
    if "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
    elif rank is not None:
        order = list(reversed(range(rank)))
    else:
        return Untraceable("a Transpose of a tensor of unknown rank")
    axes = [order.index(axis) for axis in layout.axes]
    if 0 in axes and batch_symbol_of(node) is None:
        return Untraceable("a Transpose that puts units on the batch axis")
    return Kept(layout.moved(*axes), moves_positions=True)


def _reshape(given: NodeContext) -> list[Edit]:
    """Rename the length of each axis of units; one that is -1 or copied follows by itself."""
    lengths = constant_numbers(given, 1)
    edits: list[Edit] = []
    for axis, group_ids in given.output.items():
        entry = None if lengths is None else lengths[axis]
        copies = entry == 0 and not attribute(given.node, "allowzero", 0)
        before = given.located(0, axis)
        if copies and (
            before is None or len(before) != len(group_ids) or (before != group_ids).any()
        ):
            edits.append(Locked("a Reshape that copies the length of another axis", group_ids))
        elif entry is None or (entry != -1 and not copies):
            edits.append(UpdateShape(1, axis, group_ids))
    return edits


def _expand(given: NodeContext) -> list[Edit]:
    shape, sizes = shape_of(given.node.outputs[0]), shape_of(given.operand(1))
    length = None if sizes is None or not sizes else sizes[0]
    if shape is None or length is None:
        return given.locked("an Expand to an unknown shape")
    return update_lengths(given, 1, {axis: axis - len(shape) + length for axis in given.output})


def _squeeze(given: NodeContext) -> list[Edit]:
    if "axes" in given.node.attributes or given.operand(1) is not None:
        return []
    return given.locked("a Squeeze that names no axes would drop the units' where one stays")


def _shape(given: NodeContext) -> list[Edit]:
    """Let what is computed from a shape go on as before; lengths that must change are renamed."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.locked("a Shape of a tensor of unknown rank")
    first = _clipped(attribute(given.node, "start", 0), rank)
    last = _clipped(attribute(given.node, "end", rank), rank)
    return [
        CompensateShape(axis - first, group_ids)
        for axis, group_ids in given.inputs[0].items()
        if first <= axis < last
    ]


def _clipped(axis: int, rank: int) -> int:
    return min(max(axis + rank if axis < 0 else axis, 0), rank)


def _size_told(given: NodeContext) -> list[Edit]:
    return given.locked("the number of its entries is computed with")


def _told(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Return how large the tensor is: none of its entries is read."""
    del node, index, layout
    return Split((None,))


OPERATORS = {
    **dict.fromkeys(["Flatten", "Unsqueeze"], Operator(_reshaping, unchanged, beside_batch=True)),
    "Reshape": Operator(_reshaping, _reshape, beside_batch=True),
    "Squeeze": Operator(_reshaping, _squeeze, beside_batch=True),
    "Transpose": Operator(_transposing, unchanged, beside_batch=True),
    "Expand": Operator(resizing, _expand),
    "Shape": Operator(_told, _shape),
    "Size": Operator(_told, _size_told),
}
