"""Rules for operators that pool, pad, slice or reorder places, and those that choose units."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import (
    STAYS,
    Effect,
    Ends,
    Joins,
    Keeps,
    Layout,
    Splits,
    attribute,
    rank_of,
    shape_of,
)
from frivkit.graph.model import constant_tensor
from frivkit.graph.shapes import batch_symbol_of


def _pooling(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pool places, channel by channel (axis 1)."""
    del index
    if layout.axes != (1,):
        return Ends(f"{node.op_type} pools over axis {layout.axes[-1]}, where units lie")
    return Keeps(layout, places=True)


def _resizing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Repeat or resize places; the axes of units must keep their sizes."""
    before, shape = rank_of(node.inputs[0]), shape_of(node.outputs[0])
    if index != 0 or before is None or shape is None:
        return Ends(f"{node.op_type} to or from an unknown shape")
    axes = [axis + len(shape) - before for axis in layout.axes]  # Expand may put axes in front
    if [shape[axis] for axis in axes] != list(layout.units.shape):
        return Ends(f"{node.op_type} changes the axis that units lie on")
    return Keeps(layout.moved(*axes), places=True)


def _padding(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Pad places; on the axis of units constants come to lie beside them, or units are cut off."""
    pads, axes = _integers(node, 1, "pads"), _integers(node, 3, "axes")
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None or pads is None or (axes is None and given(node, 3)):
        return Ends("a Pad whose sizes are computed")
    padded = [axis % rank for axis in (axes if axes is not None else range(len(pads) // 2))]
    mode = node.attributes.get("mode")
    for at, axis in enumerate(layout.axes):
        place = padded.index(axis) if axis in padded else None
        front, back = (0, 0) if place is None else (pads[place], pads[place + len(padded)])
        if (front, back) == (0, 0):
            continue
        if mode is not None and mode.as_string() != "constant":
            return Ends("a Pad that repeats units")
        length = layout.units.shape[at]
        positions = np.arange(-front, length + back)
        outside = (positions < 0) | (positions >= length)
        found = layout.taken(axis, np.where(outside, STAYS, positions))
        if found is None:
            return Splits((None,))
        layout = found
    return Keeps(layout, places=True)


def _slicing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Take a part of the places, or of the units."""
    rank = rank_of(node.inputs[0])
    starts, ends = _integers(node, 1, "starts"), _integers(node, 2, "ends")
    axes, steps = _integers(node, 3, "axes"), _integers(node, 4, "steps")
    known = (axes is not None or not given(node, 3)) and (steps is not None or not given(node, 4))
    if index != 0 or rank is None or not known:
        return Ends("a Slice whose axes are computed")
    if axes is None and starts is None:
        return Ends("a Slice whose axes are computed")
    sliced = [axis % rank for axis in (axes if axes is not None else range(len(starts or ())))]
    for axis in layout.axes:
        if axis not in sliced:
            continue
        if starts is None or ends is None:
            return Ends("a Slice of units whose sizes are computed")
        at = sliced.index(axis)
        length = layout.units.shape[layout.axes.index(axis)]
        step = 1 if steps is None else steps[at]
        last = ends[at] if step > 0 or ends[at] >= -length else None
        found = layout.taken(axis, np.arange(length)[starts[at] : last : step])
        if found is None:
            return Splits((None,))
        layout = found
    return Keeps(layout, places=True)


def _reducing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Sum, average or take extremes over places; over units it ends them."""
    rank = rank_of(node.inputs[0])
    axes = _integers(node, 1, "axes")
    if index != 0 or rank is None or not axes:
        return Ends(f"{node.op_type} over axes that are computed, or over all of them")
    reduced = {axis % rank for axis in axes}
    if reduced & {0, *layout.axes}:
        return Ends(f"{node.op_type} over the axis that units or examples lie on")
    if attribute(node, "keepdims", 1):
        return Keeps(layout, places=True)
    moved = [axis - sum(a < axis for a in reduced) for axis in layout.axes]
    return Keeps(layout.moved(*moved), places=True)


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
    axes = [order.index(axis) for axis in layout.axes]
    if 0 in axes and batch_symbol_of(node) is None:
        return Ends("a Transpose that puts units on the batch axis")
    return Keeps(layout.moved(*axes), places=True)


def _concatenating(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Put tensors side by side: on the axis of units each part lies behind those before it."""
    rank = rank_of(node.outputs[0]) or rank_of(node.inputs[index])
    if rank is None:
        return Ends("a Concat of unknown rank")
    axis = attribute(node, "axis", 1) % rank
    if axis not in layout.axes:
        return Joins(layout, "sum")  # places beside places: unit i stays unit i
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in node.inputs]
    known = [size for size in sizes if size is not None]
    if len(known) != len(sizes):
        return Ends("a Concat of parts of unknown size")
    before, size = sum(known[:index]), known[index]
    positions = np.arange(sum(known)) - before
    beside = (positions < 0) | (positions >= size)
    found = layout.taken(axis, np.where(beside, STAYS, positions))
    return Joins(found, "concat") if found is not None else Splits((None,))


def _splitting(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Give each output its part; on the axis of units its units, else all of them its places."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None:
        return Ends("a Split of a tensor of unknown rank")
    axis = attribute(node, "axis", 0) % rank
    if axis not in layout.axes:
        return Splits((layout,) * len(node.outputs))
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in node.outputs]
    known = [size for size in sizes if size is not None]
    length = layout.units.shape[layout.axes.index(axis)]
    if len(known) != len(sizes) or sum(known) != length:
        return Ends("a Split into parts of unknown size")
    ends = np.cumsum(known)
    parts = zip(ends - known, ends, strict=True)
    return Splits(tuple(layout.taken(axis, np.arange(a, b)) for a, b in parts))


def _gathering(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Take positions of an axis, in any order: units, where it is theirs, else places."""
    rank = rank_of(node.inputs[0])
    if index != 0 or rank is None:
        return Ends("units are the indices of a Gather")
    axis = attribute(node, "axis", 0) % rank
    tensor, shape = constant_tensor(node.inputs[1]), shape_of(node.inputs[1])
    if axis not in layout.axes:
        if shape is None:
            return Ends("a Gather by indices of unknown shape")
        more = len(shape) - 1
        return Keeps(layout.moved(*(a + more * (a > axis) for a in layout.axes)), places=True)
    if tensor is None:
        return Ends("a Gather that chooses among units by what it computes")
    positions = tensor.numpy().astype(np.intp)
    if positions.ndim > 1 or (positions.ndim == 0 and len(layout.axes) == 1):
        return Ends("a Gather that takes one unit out, or lays units out on further axes")
    length = layout.units.shape[layout.axes.index(axis)]
    return _only(layout.taken(axis, np.asarray(positions % length)))


def _only(layout: Layout | None) -> Effect:
    """Go on with what is left of the units, if any is."""
    return Splits((None,)) if layout is None else Keeps(layout, places=True)


def given(node: ir.Node, index: int) -> bool:
    """Tell whether an optional input is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


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
    "Slice": _slicing,
    "Transpose": _transposing,
    "Concat": _concatenating,
    "Split": _splitting,
    "Gather": _gathering,
}
