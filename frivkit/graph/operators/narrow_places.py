"""What changes in operators that move, pool or reshape places: numbers that name the unit axis."""

import numpy as np

from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.edits import (
    Edit,
    Given,
    Holds,
    Names,
    Pieces,
    Restores,
    Rule,
    broadcast,
    nothing,
)
from frivkit.graph.operators.propagate_places import POOLING, REDUCING


def _concat(given: Given) -> list[Edit]:
    """Cut constants that stand beside units on another axis than theirs."""
    rank = rank_of(given.node.outputs[0])
    if rank is None:
        return given.held("a Concat of unknown rank")
    axis = attribute(given.node, "axis", 1) % rank
    beside = {at: marks for at, marks in given.output.items() if at != axis}
    return broadcast(Given(given.node, given.inputs, (beside,)))


def _reshape(given: Given) -> list[Edit]:
    """Rename the length of each axis of units; one that is -1 or copied follows by itself."""
    numbers = _numbers(given, 1)
    edits: list[Edit] = []
    for axis, marks in given.output.items():
        entry = None if numbers is None else numbers[axis]
        copies = entry == 0 and not attribute(given.node, "allowzero", 0)
        before = given.lying(0, axis)
        if copies and (before is None or len(before) != len(marks) or (before != marks).any()):
            edits.append(Holds("a Reshape that copies the length of another axis", marks))
        elif entry is None or (entry != -1 and not copies):
            edits.append(Names(1, axis, marks))
    return edits


def _expand(given: Given) -> list[Edit]:
    shape, sizes = shape_of(given.node.outputs[0]), shape_of(given.operand(1))
    length = None if sizes is None or not sizes else sizes[0]
    if shape is None or length is None:
        return given.held("an Expand to an unknown shape")
    return _named(given, 1, {axis: axis - len(shape) + length for axis in given.output})


def _resize(given: Given) -> list[Edit]:
    """Rename lengths in ``sizes``; along units the scale must be 1."""
    node = given.node
    rank = rank_of(given.operand(0))
    mode = node.attributes.get("coordinate_transformation_mode")
    policy = node.attributes.get("keep_aspect_ratio_policy")
    cropped = mode is not None and mode.as_string() == "tf_crop_and_resize"
    if rank is None or cropped or (policy is not None and policy.as_string() != "stretch"):
        return given.held("a Resize of unknown rank, or one that crops or keeps proportions")
    named = node.attributes.get("axes")
    axes = [axis % rank for axis in named.as_ints()] if named is not None else list(range(rank))
    entries = {axis: axes.index(axis) for axis in given.inputs[0] if axis in axes}
    if given.operand(3) is not None:
        return _named(given, 3, entries)
    scales = _scales(given)
    reason = f"a {node.op_type} whose scale along units is not 1 or not known"
    return [
        Holds(reason, given.inputs[0][axis])
        for axis, entry in entries.items()
        if scales is None or scales[entry] != 1
    ]


def _scales(given: Given) -> list[float] | None:
    if "scales" in given.node.attributes:
        return list(given.node.attributes["scales"].as_floats())
    index = 2 if len(given.node.inputs) > 2 else 1  # behind roi, which came with opset 11
    tensor = constant_tensor(given.operand(index))
    return None if tensor is None else [float(scale) for scale in tensor.numpy().ravel()]


def _named(given: Given, index: int, entries: dict[int, int]) -> list[Edit]:
    """Rename lengths of output axes in an operand, but not 1, which means any."""
    numbers = _numbers(given, index)
    return [
        Names(index, entry, marks)
        for axis, entry in entries.items()
        if entry >= 0 and (marks := given.output.get(axis)) is not None
        if numbers is None or numbers[entry] != 1
    ]


def _numbers(given: Given, index: int) -> list[int] | None:
    tensor = constant_tensor(given.operand(index))
    return None if tensor is None else [int(number) for number in tensor.numpy().ravel()]


def _squeeze(given: Given) -> list[Edit]:
    if "axes" in given.node.attributes or given.operand(1) is not None:
        return []
    return given.held("a Squeeze that names no axes would drop the units' where one stays")


def _shape(given: Given) -> list[Edit]:
    """Let what is computed from a shape go on as before; lengths that must change are renamed."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.held("a Shape of a tensor of unknown rank")
    first = _clipped(attribute(given.node, "start", 0), rank)
    last = _clipped(attribute(given.node, "end", rank), rank)
    return [
        Restores(axis - first, marks)
        for axis, marks in given.inputs[0].items()
        if first <= axis < last
    ]


def _clipped(axis: int, rank: int) -> int:
    return min(max(axis + rank if axis < 0 else axis, 0), rank)


def _split(given: Given) -> list[Edit]:
    """Shorten the parts along units; a Split of places goes on as before."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.held("a Split of a tensor of unknown rank")
    axis = attribute(given.node, "axis", 0) % rank
    read = given.lying(0, axis)
    if read is None:
        return []
    sizes = [(shape_of(value) or (None,) * rank)[axis] for value in given.node.outputs]
    if "split" in given.node.attributes or None in sizes or given.computed(1):
        return [Holds("a Split whose sizes are computed, or of before opset 13", read)]
    ends = np.cumsum([size or 0 for size in sizes])
    parts = np.split(read, ends[:-1])
    return [Pieces(i, part) for i, part in enumerate(parts)]


def _slice(given: Given) -> list[Edit]:
    """Move the bounds of a Slice along units; one of places goes on as before."""
    rank = rank_of(given.operand(0))
    starts, ends = _numbers(given, 1), _numbers(given, 2)
    axes, steps = _numbers(given, 3), _numbers(given, 4)
    edits: list[Edit] = []
    for axis, marks in given.inputs[0].items():
        if rank is None or "starts" in given.node.attributes:
            same = given.output.get(axis)
            whole = same is not None and len(same) == len(marks)
            edits += [] if whole else [Holds("a Slice of units of before opset 10", marks)]
            continue
        sliced = [a % rank for a in (axes if axes is not None else range(len(starts or ())))]
        if axis not in sliced:
            continue
        at = sliced.index(axis)
        after = given.output.get(axis)
        if after is not None and len(after) == len(marks) and (after == marks).all():
            continue  # units pass whole: from the first to beyond the last, which Slice clips
        if starts is None or ends is None or (steps is not None and steps[at] != 1):
            edits.append(Holds("a Slice that chooses among units by what it computes", marks))
            continue
        if min(starts[at], ends[at]) < 0:  # behind what leaves, the end is another
            edits.append(Holds("a Slice of units that counts from their end", marks))
            continue
        bounds = slice(starts[at], ends[at]).indices(len(marks))
        edits += [Names(1, at, marks[: bounds[0]]), Names(2, at, marks[: bounds[1]])]
    return edits


def _pad(given: Given) -> list[Edit]:
    """Leave what is put beside units; nothing may be cut off."""
    pads = _numbers(given, 1)
    attribute_ = given.node.attributes.get("pads")
    numbers = pads if attribute_ is None else list(attribute_.as_ints())
    if numbers is not None and min(numbers, default=0) >= 0:
        return []
    return [
        Holds("a Pad that cuts units off, or whose sizes are computed", marks)
        for axis, marks in given.inputs[0].items()
        if len(given.output.get(axis, ())) != len(marks)
    ]


def _gather(given: Given) -> list[Edit]:
    """Hold units that are chosen by number; places may be chosen as before."""
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.held("a Gather from a tensor of unknown rank")
    marks = given.lying(0, attribute(given.node, "axis", 0) % rank)
    return [] if marks is None else [Holds("a Gather that chooses units by number", marks)]


def _size(given: Given) -> list[Edit]:
    return given.held("the number of its entries is computed with")


RULES: dict[str, Rule] = {
    **dict.fromkeys((*POOLING, *REDUCING), nothing),
    # Units pass a Tile whole, which repeats them once.
    **dict.fromkeys(["Flatten", "Unsqueeze", "Transpose", "Tile"], nothing),
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    **dict.fromkeys(["Resize", "Upsample"], _resize),
    "Concat": _concat,
    "Expand": _expand,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Shape": _shape,
    "Size": _size,
}
