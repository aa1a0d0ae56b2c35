"""What changes in normalisations and quantisers: the numbers they hold for each unit."""

from functools import partial

from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.operators.edits import Cut, Edit, Given, Holds, Rule


def _per_unit(given: Given) -> list[Edit]:
    marks = given.lying(0, 1)
    if marks is None:
        reason = f"{given.node.op_type} rescales each unit by all of its channel"
        return [Holds(reason, marks) for marks in given.inputs[0].values()]
    return [Cut(index, 0, marks) for index in range(1, len(given.node.inputs))]


def _across(given: Given, *, first: int, behind: bool) -> list[Edit]:
    """Hold the units whose axis statistics are taken over.

    Args:
        given: The node.
        first: The axis where the file leaves it out.
        behind: Statistics are taken over all axes behind that axis, too.
    """
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.held("a normalisation of a tensor of unknown rank")
    over = attribute(given.node, "axis", first) % rank
    normalised = range(over, rank) if behind else [over]
    wide = any((rank_of(value) or 0) > len(normalised) for value in given.node.inputs[1:])
    reason = f"{given.node.op_type} rescales each unit by all of them"
    return [
        Holds(reason, marks)
        for axis, marks in given.inputs[0].items()
        if axis in normalised or wide
    ]


def _neighbours(given: Given) -> list[Edit]:
    marks = given.lying(0, 1)
    return [] if marks is None else [Holds("LRN rescales each unit by its neighbours", marks)]


def _in_groups(given: Given) -> list[Edit]:
    return given.held("GroupNormalization rescales each unit by those of its group")


def _over_axes(given: Given) -> list[Edit]:
    """Hold the units over which ``axes`` says that mean and variance are taken."""
    found, rank = given.node.attributes.get("axes"), rank_of(given.operand(0))
    if rank is None:
        return given.held("a normalisation of a tensor of unknown rank")
    axes = [axis % rank for axis in ((0, 2, 3) if found is None else found.as_ints())]
    reason = "MeanVarianceNormalization rescales each unit by all of them"
    return [Holds(reason, marks) for axis, marks in given.inputs[0].items() if axis in axes]


def _quantiser(given: Given) -> list[Edit]:
    """Cut scales and zero points that are given for each unit."""
    rank = rank_of(given.operand(0)) or 1
    axis = attribute(given.node, "axis", 1) % rank
    edits: list[Edit] = []
    for index, value in enumerate(given.node.inputs[1:], start=1):
        sizes, marks = shape_of(value), given.lying(0, axis)
        if value is not None and (sizes is None or len(sizes) > 1):
            return given.held("a quantiser with a scale for each block")
        if sizes and sizes[0] != 1 and marks is not None:
            edits.append(Cut(index, 0, marks))
    return edits


_softmax = partial(_across, first=1, behind=True)

RULES: dict[str, Rule] = {
    "BatchNormalization": _per_unit,
    "InstanceNormalization": _per_unit,
    "LRN": _neighbours,
    "LpNormalization": partial(_across, first=-1, behind=False),
    "LayerNormalization": partial(_across, first=-1, behind=True),
    "SimplifiedLayerNormalization": partial(_across, first=-1, behind=True),
    "RMSNormalization": partial(_across, first=-1, behind=True),
    "GroupNormalization": _in_groups,
    "MeanVarianceNormalization": _over_axes,
    "Softmax": _softmax,  # up to opset 12 over all axes behind the one that is named
    "LogSoftmax": _softmax,
    "QuantizeLinear": _quantiser,
    "DequantizeLinear": _quantiser,
}
