"""Rules for operators that pool, pad, slice, reorder or reshape places while units stay whole."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Joins, Keeps, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor


def _pooling(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pool places, channel by channel (axis 1)."""
    del index
    if layout.axis != 1:
        return Ends(f"{node.op_type} pools over axis {layout.axis}, where units lie")
    return Keeps(layout, places=True)


def _resizing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pad, repeat or resize places; the axis of units must keep its size."""
    before, shape = rank_of(node.inputs[0]), shape_of(node.outputs[0])
    if index != 0 or before is None or shape is None:
        return Ends(f"{node.op_type} to or from an unknown shape")
    axis = layout.axis + len(shape) - before  # Expand may put axes in front
    if shape[axis] != layout.size:
        return Ends(f"{node.op_type} changes the axis that units lie on")
    return Keeps(replace(layout, axis=axis), places=True)


def _padding(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pad places; units must not be shifted (cut in front and padded behind)."""
    pads, axes = _integers(node, 1, "pads"), _integers(node, 3, "axes")
    rank = rank_of(node.inputs[0])
    if rank is None or pads is None or (axes is None and _given(node, 3)):
        return Ends("a Pad whose sizes are computed")
    padded = [axis % rank for axis in (axes if axes is not None else range(len(pads) // 2))]
    if layout.axis in padded and pads[padded.index(layout.axis)] != 0:
        return Ends("Pad changes the axis that units lie on")
    return _resizing(node, index, layout)


def _slicing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Take a part of the places; the axis of units must stay whole and in order."""
    starts, rank = _integers(node, 1, "starts"), rank_of(node.inputs[0])
    axes, steps = _integers(node, 3, "axes"), _integers(node, 4, "steps")
    known = (axes is not None or not _given(node, 3)) and (steps is not None or not _given(node, 4))
    if rank is None or starts is None or not known:
        return Ends("a Slice whose axes are computed")
    sliced = [axis % rank for axis in (axes if axes is not None else range(len(starts)))]
    if layout.axis in sliced and steps is not None and steps[sliced.index(layout.axis)] != 1:
        return Ends("a Slice that reorders units")
    return _resizing(node, index, layout)


def _reducing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Sum, average or take extremes over places; over units it ends them."""
    rank = rank_of(node.inputs[0])
    axes = _integers(node, 1, "axes")
    if index != 0 or rank is None or not axes:
        return Ends(f"{node.op_type} over axes that are computed, or over all of them")
    reduced = {axis % rank for axis in axes}
    if layout.axis in reduced or 0 in reduced:
        return Ends(f"{node.op_type} over the axis that units or examples lie on")
    if attribute(node, "keepdims", 1):
        return Keeps(layout, places=True)
    return Keeps(
        replace(layout, axis=layout.axis - sum(a < layout.axis for a in reduced)), places=True
    )


def _transposing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Reorder axes."""
    del index
    rank = rank_of(node.inputs[0])
    if "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
    elif rank is not None:
        order = list(reversed(range(rank)))
    else:
        return Ends("a Transpose of a tensor of unknown rank")
    axis = order.index(layout.axis)
    if axis == 0:
        return Ends("a Transpose that puts units on the batch axis")
    return Keeps(replace(layout, axis=axis), places=True)


def _reshaping(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Flatten, Reshape, Squeeze, Unsqueeze: follow the axis through equal groups of axes."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if index != 0 or before is None or after is None:
        return Ends(f"{node.op_type} to or from an unknown shape")
    return _through_groups(before, after, layout, node.op_type)


def _through_groups(
    before: tuple[int | None, ...], after: tuple[int | None, ...], layout: Layout, op: str
) -> Effect:
    for left, left_end, right, right_end in _equal_groups(before, after):
        if left <= layout.axis < left_end:
            if left == 0 or right == 0:
                break
            group = before[left:left_end], after[right:right_end]
            return _within_group(*group, (left, right), layout, op)
    return Ends(f"{op} that mixes units with the batch")


def _equal_groups(
    before: tuple[int | None, ...], after: tuple[int | None, ...]
) -> Iterator[tuple[int, int, int, int]]:
    """Cut two shapes, from the back, into the shortest runs of axes of equal size.

    The batch, in front, is the one size that may be unknown; from where sizes cannot be compared
    the rest is one group.
    """
    i, j = len(before), len(after)
    while i > 0 and j > 0:
        left, right = i - 1, j - 1
        a, b = before[left], after[right]
        while a != b:
            if a is None or b is None or (a < b and left == 0) or (b < a and right == 0):
                yield 0, i, 0, j
                return
            if a < b:
                left -= 1
                a = _size(before[left:i])
            else:
                right -= 1
                b = _size(after[right:j])
        yield left, i, right, j
        i, j = left, right


def _within_group(
    before: tuple[int | None, ...],
    after: tuple[int | None, ...],
    firsts: tuple[int, int],
    layout: Layout,
    op: str,
) -> Effect:
    """Find the units of one group of input axes in the equal group of output axes.

    ``firsts`` are the axes with which the two groups begin.
    """
    position, first = layout.axis - firsts[0], firsts[1]
    inner, outer = _size(before[position + 1 :]), _size(before[:position])
    if inner is None or outer is None:
        return Ends(f"{op} of places of unknown size")
    for k, size in enumerate(after):  # the axis survives whole, its neighbours were regrouped
        if size == before[position] and (_size(after[:k]), _size(after[k + 1 :])) == (outer, inner):
            return Keeps(replace(layout, axis=first + k), places=True)
    if sum(size != 1 for size in after) > 1:
        return Ends(f"{op} that splits the axis of units")
    axis = first + [size != 1 for size in after].index(True)
    merged = replace(layout, axis=axis, inner=layout.inner * inner, outer=layout.outer * outer)
    return Keeps(merged, places=True)


def _concatenating(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Put tensors side by side: on the axis of units each part gets an offset."""
    rank = rank_of(node.outputs[0]) or rank_of(node.inputs[index])
    if rank is None:
        return Ends("a Concat of unknown rank")
    axis = attribute(node, "axis", 1) % rank
    if axis != layout.axis:
        return Joins(layout, "sum")  # places beside places: unit i stays unit i
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in node.inputs]
    known = [size for size in sizes if size is not None]
    if len(known) != len(sizes) or layout.outer != 1:
        return Ends("a Concat of parts of unknown size")
    if any(size % layout.inner for size in known):
        return Ends("a Concat of parts with different numbers of places")
    before = sum(known[:index]) // layout.inner
    span = sum(known) // layout.inner
    return Joins(replace(layout, offset=before + layout.offset, span=span), "concat")


def _given(node: ir.Node, index: int) -> bool:
    """Tell whether an optional input is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


def _size(sizes: tuple[int | None, ...]) -> int | None:
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def _integers(node: ir.Node, index: int, name: str) -> list[int] | None:
    """Read axes-like numbers: an attribute in old opsets, a constant input in new ones."""
    if name in node.attributes:
        return [int(number) for number in node.attributes[name].as_ints()]
    tensor = constant_tensor(node.inputs[index]) if index < len(node.inputs) else None
    return None if tensor is None else [int(n) for n in np.atleast_1d(tensor.numpy())]


POOLING = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
REDUCING = (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
)
RULES = {
    **dict.fromkeys(POOLING, _pooling),
    **dict.fromkeys(["Resize", "Upsample", "Expand", "Tile"], _resizing),
    "Pad": _padding,
    **dict.fromkeys(REDUCING, _reducing),
    **dict.fromkeys(["Flatten", "Reshape", "Squeeze", "Unsqueeze"], _reshaping),
    "Slice": _slicing,
    "Transpose": _transposing,
    "Concat": _concatenating,
}
