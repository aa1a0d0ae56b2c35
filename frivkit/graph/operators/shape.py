"""Operators that change the axes of a tensor, or return its shape."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import IntArray, Layout, attribute, rank_of, shape_of
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
from frivkit.graph.operators.spatial import propagate_resize
from frivkit.graph.shapes import TRIAL_BATCHES, batch_symbol_of, sizes_for

BATCHES = (2, 3)
"""Batch sizes for which a layout is computed; it must be the same for both."""


AxisSizes = tuple[int | None, ...]


class AxisRun(NamedTuple):
    """Adjacent axes of two shapes that have equally many entries; ends are exclusive."""

    before_first: int
    before_end: int
    after_first: int
    after_end: int


def _propagate_reshape(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units on their new axes, which are found by numbering the entries of changed axes."""
    symbol = batch_symbol_of(node)
    before, after = (sizes_for(value, symbol, TRIAL_BATCHES[0]) for value in _ends(node))
    if index != 0 or before is None or after is None:
        return Untraceable(f"{node.op_type} to or from an unknown shape")
    runs = [
        run
        for run in _equal_runs(before, after)
        if any(run.before_first <= axis < run.before_end for axis in layout.axes)
    ]
    mixed = Untraceable(f"{node.op_type} that mixes units with the batch")
    if symbol is None and any(run.before_first == 0 or run.after_first == 0 for run in runs):
        return mixed
    surviving = _surviving_axis(before, after, layout, runs)
    if surviving is not None:
        return Kept(layout.with_axes(surviving), moves_positions=True)
    if any(None in before[a:b] or None in after[c:d] for a, b, c, d in runs):
        return Untraceable(f"{node.op_type} of places of unknown size")
    has_batch = [(size or 0) % TRIAL_BATCHES[0] == 0 for size in after]
    first, second = (
        _layout_for_batch(node, layout, runs, symbol, batch, has_batch) for batch in BATCHES
    )
    if first is None or first != second:
        return mixed
    return Kept(first, moves_positions=True)


def _ends(node: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    return node.inputs[0], node.outputs[0]


def _layout_for_batch(  # noqa: PLR0917  # all that positions depend on
    node: ir.Node,
    layout: Layout,
    runs: Sequence[AxisRun],
    symbol: str | None,
    batch: int,
    has_batch: Sequence[bool],
) -> Layout | None:
    """Return the layout for a number of examples, None if units differ between examples."""
    before, after = (sizes_for(value, symbol, batch) or () for value in _ends(node))
    old_axes = [axis for run in runs for axis in range(run.before_first, run.before_end)]
    new_axes = [axis for run in runs for axis in range(run.after_first, run.after_end)]
    old, new = [before[axis] or 0 for axis in old_axes], [after[axis] or 0 for axis in new_axes]
    if prod(old) != prod(new):
        return None
    units = _units_along(layout, old_axes, old).reshape(new)
    batches = [batch if has_batch[axis] else 1 for axis in new_axes]
    return _without_constant_axes(units, new_axes, batches)


def _units_along(layout: Layout, axes: Sequence[int], lengths: Sequence[int]) -> IntArray:
    """Return the unit at every entry of some axes, the layout's among them."""
    units = layout.units
    shape = [1] * len(axes)
    for at, axis in enumerate(layout.axes):
        index = axes.index(axis)
        repeats = lengths[index] // units.shape[at]  # along the batch the layout is one period
        units = np.concatenate([units] * repeats, axis=at)
        shape[index] = lengths[index]
    return np.broadcast_to(units.reshape(shape), lengths)


def _without_constant_axes(
    units: IntArray, axes: Sequence[int], batches: Sequence[int]
) -> Layout | None:
    """Return a layout without axes along which units do not change and with one example.

    Args:
        units: The unit at every entry of the axes.
        axes: The axes, one for each of ``units``.
        batches: The number of examples on each axis.
    """
    changing: list[int] = []
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
            changing.append(axis)
    if not changing:  # a single unit: any axis except the batch represents it
        candidates = [at for at, batch in enumerate(batches) if batch == 1]
        if not candidates:
            return None
        longest = max(candidates, key=lambda at: lengths[at])
        return Layout((axes[longest],), np.full(lengths[longest], units.item()))
    return Layout(tuple(changing), units.reshape([size for size in units.shape if size > 1]))


def _surviving_axis(
    before: AxisSizes, after: AxisSizes, layout: Layout, runs: Sequence[AxisRun]
) -> int | None:
    """Return the new axis of units if theirs is unchanged and only its neighbours are reshaped."""
    if len(layout.axes) != 1 or len(runs) != 1:
        return None
    (run,) = runs
    outer = _size(before[run.before_first : layout.axis])
    inner = _size(before[layout.axis + 1 : run.before_end])
    for axis in range(run.after_first, run.after_end):
        sizes = _size(after[run.after_first : axis]), _size(after[axis + 1 : run.after_end])
        if after[axis] == before[layout.axis] and None not in sizes and sizes == (outer, inner):
            return axis
    return None


def _equal_runs(before: AxisSizes, after: AxisSizes) -> list[AxisRun]:
    """Return the shortest runs of axes, from the last one on, that have equally many entries.

    In front of sizes that cannot be compared, the rest is one run; axes of size 1 that remain in
    front belong to the first run.
    """
    runs: list[AxisRun] = []
    before_end, after_end = len(before), len(after)
    while before_end > 0 and after_end > 0:
        i, j = before_end - 1, after_end - 1
        a, b = before[i], after[j]
        while a != b:
            if a is None or b is None or (a < b and i == 0) or (b < a and j == 0):
                return [AxisRun(0, before_end, 0, after_end), *runs]
            if a < b:
                i -= 1
                a = _size(before[i:before_end])
            else:
                j -= 1
                b = _size(after[j:after_end])
        runs.insert(0, AxisRun(i, before_end, j, after_end))
        before_end, after_end = i, j
    if runs:
        runs[0] = AxisRun(0, runs[0].before_end, 0, runs[0].after_end)
    return runs


def _size(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def _propagate_transpose(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units on their reordered axes."""
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
    return Kept(layout.with_axes(*axes), moves_positions=True)


def _narrow_reshape(context: NodeContext) -> list[Edit]:
    """Update the length of each axis of units, unless it is -1 or copied."""
    lengths = constant_numbers(context, 1)
    edits: list[Edit] = []
    for axis, group_ids in context.output.items():
        entry = None if lengths is None else lengths[axis]
        copies = entry == 0 and not attribute(context.node, "allowzero", 0)
        before = context.located(0, axis)
        if copies and (
            before is None or len(before) != len(group_ids) or (before != group_ids).any()
        ):
            edits.append(Locked("a Reshape that copies the length of another axis", group_ids))
        elif entry is None or (entry != -1 and not copies):
            edits.append(UpdateShape(1, axis, group_ids))
    return edits


def _narrow_expand(context: NodeContext) -> list[Edit]:
    shape, sizes = shape_of(context.node.outputs[0]), shape_of(context.operand(1))
    length = None if sizes is None or not sizes else sizes[0]
    if shape is None or length is None:
        return context.locked("an Expand to an unknown shape")
    return update_lengths(context, 1, {axis: axis - len(shape) + length for axis in context.output})


def _narrow_squeeze(context: NodeContext) -> list[Edit]:
    if "axes" in context.node.attributes or context.operand(1) is not None:
        return []
    return context.locked("a Squeeze that names no axes would drop the units' where one stays")


def _narrow_shape(context: NodeContext) -> list[Edit]:
    """Compensate lengths of axes of units, so that tensors computed from the shape do not change.

    Operands that must change are updated in their own nodes.
    """
    rank = rank_of(context.operand(0))
    if rank is None:
        return context.locked("a Shape of a tensor of unknown rank")
    first = _clipped(attribute(context.node, "start", 0), rank)
    last = _clipped(attribute(context.node, "end", rank), rank)
    return [
        CompensateShape(axis - first, group_ids)
        for axis, group_ids in context.inputs[0].items()
        if first <= axis < last
    ]


def _clipped(axis: int, rank: int) -> int:
    return min(max(axis + rank if axis < 0 else axis, 0), rank)


def _narrow_size(context: NodeContext) -> list[Edit]:
    return context.locked("the number of its entries is computed with")


def _propagate_shape(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pass no units on: the output holds the shape and no entries of the tensor."""
    del node, index, layout
    return Split((None,))


OPERATORS = {
    **dict.fromkeys(
        ["Flatten", "Unsqueeze"], Operator(_propagate_reshape, unchanged, beside_batch=True)
    ),
    "Reshape": Operator(_propagate_reshape, _narrow_reshape, beside_batch=True),
    "Squeeze": Operator(_propagate_reshape, _narrow_squeeze, beside_batch=True),
    "Transpose": Operator(_propagate_transpose, unchanged, beside_batch=True),
    "Expand": Operator(propagate_resize, _narrow_expand),
    "Shape": Operator(_propagate_shape, _narrow_shape),
    "Size": Operator(_propagate_shape, _narrow_size),
}
