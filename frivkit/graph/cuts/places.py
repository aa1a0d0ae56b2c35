"""What changes in operators that move, pool or reshape places: numbers that name the unit axis."""

from frivkit.graph.cuts.edit import Edit, Given, Holds, Names, Restores, Rule, broadcast, nothing
from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.rules.places import POOLING, REDUCING


def _concat(given: Given) -> list[Edit]:
    """Cut constants that stand beside units on another axis than theirs."""
    rank = rank_of(given.node.outputs[0])
    if rank is None:
        return given.held("a Concat of unknown rank")
    axis = attribute(given.node, "axis", 1) % rank
    beside = {at: marks for at, marks in given.output.items() if at != axis}
    return broadcast(Given(given.node, given.inputs, beside))


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


def _size(given: Given) -> list[Edit]:
    return given.held("the number of its entries is computed with")


RULES: dict[str, Rule] = {
    **dict.fromkeys((*POOLING, *REDUCING), nothing),
    # Units pass whole, so Pad pads nothing there, Tile repeats them once, and Slice takes from the
    # first to beyond the last, which it clips.
    **dict.fromkeys(["Flatten", "Unsqueeze", "Transpose", "Pad", "Tile", "Slice"], nothing),
    **dict.fromkeys(["Resize", "Upsample"], _resize),
    "Concat": _concat,
    "Expand": _expand,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Shape": _shape,
    "Size": _size,
}
