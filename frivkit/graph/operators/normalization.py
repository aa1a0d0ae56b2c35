"""Normalisations and quantisers: each unit by its own numbers, or by its neighbours' too."""

from functools import partial

import onnx_ir as ir

from frivkit.graph.layout import Layout, attribute, rank_of, shape_of
from frivkit.graph.operators.edits import Edit, Locked, NarrowingRule, NodeContext, SliceOperand
from frivkit.graph.operators.effects import Coupled, Effect, Kept, PropagationRule, Untraceable
from frivkit.graph.operators.operator import Operator


def _per_unit(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Scale and shift each unit: batch and instance normalisation of axis 1."""
    if index != 0:
        return Untraceable("units are the parameters of a normalisation")
    if layout.axes != (1,):
        return Untraceable(f"{node.op_type} acts on axis 1 and units lie on axis {layout.axes[-1]}")
    return Kept(layout)


def _over_places(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Normalise each channel of axis 1 over its places, among which units may lie."""
    return _per_unit(node, index, layout) if layout.axes == (1,) else _across(node, index, layout)


def _across(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Rescale units by statistics over several of them: they stay in their places."""
    del node
    return (
        Kept(layout, moves_positions=True)
        if index == 0
        else Untraceable("units are parameters of a norm")
    )


def _after_a_sum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Add two streams and rescale units by statistics over all of them."""
    del node
    return Coupled(layout, "sum") if index < 2 else Untraceable("units are parameters of a norm")


def _quantised(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Round or restore each entry."""
    del node
    return Kept(layout) if index == 0 else Untraceable("units are the scale of a quantiser")


def _narrow_per_unit(given: NodeContext) -> list[Edit]:
    group_ids = given.located(0, 1)
    if group_ids is None:
        reason = f"{given.node.op_type} rescales each unit by all of its channel"
        return [Locked(reason, group_ids) for group_ids in given.inputs[0].values()]
    return [SliceOperand(index, 0, group_ids) for index in range(1, len(given.node.inputs))]


def _narrow_across(given: NodeContext, *, first: int, behind: bool) -> list[Edit]:
    """Hold the units whose axis statistics are taken over.

    Args:
        given: The node.
        first: The axis where the file leaves it out.
        behind: Statistics are taken over all axes behind that axis, too.
    """
    rank = rank_of(given.operand(0))
    if rank is None:
        return given.locked("a normalisation of a tensor of unknown rank")
    over = attribute(given.node, "axis", first) % rank
    normalised = range(over, rank) if behind else [over]
    wide = any((rank_of(value) or 0) > len(normalised) for value in given.node.inputs[1:])
    reason = f"{given.node.op_type} rescales each unit by all of them"
    return [
        Locked(reason, group_ids)
        for axis, group_ids in given.inputs[0].items()
        if axis in normalised or wide
    ]


def _neighbours(given: NodeContext) -> list[Edit]:
    group_ids = given.located(0, 1)
    return (
        [] if group_ids is None else [Locked("LRN rescales each unit by its neighbours", group_ids)]
    )


def _in_groups(given: NodeContext) -> list[Edit]:
    return given.locked("GroupNormalization rescales each unit by those of its group")


def _over_axes(given: NodeContext) -> list[Edit]:
    """Hold the units over which ``axes`` says that mean and variance are taken."""
    found, rank = given.node.attributes.get("axes"), rank_of(given.operand(0))
    if rank is None:
        return given.locked("a normalisation of a tensor of unknown rank")
    axes = [axis % rank for axis in ((0, 2, 3) if found is None else found.as_ints())]
    reason = "MeanVarianceNormalization rescales each unit by all of them"
    return [
        Locked(reason, group_ids) for axis, group_ids in given.inputs[0].items() if axis in axes
    ]


def _quantiser(given: NodeContext) -> list[Edit]:
    """Cut scales and zero points that are given for each unit."""
    rank = rank_of(given.operand(0)) or 1
    axis = attribute(given.node, "axis", 1) % rank
    edits: list[Edit] = []
    for index, value in enumerate(given.node.inputs[1:], start=1):
        sizes, group_ids = shape_of(value), given.located(0, axis)
        if value is not None and (sizes is None or len(sizes) > 1):
            return given.locked("a quantiser with a scale for each block")
        if sizes and sizes[0] != 1 and group_ids is not None:
            edits.append(SliceOperand(index, 0, group_ids))
    return edits


def _operator(propagate: PropagationRule, narrow: NarrowingRule | None = None) -> Operator:
    return Operator(propagate, narrow, beside_batch=True)


_over_last = partial(_narrow_across, first=-1, behind=True)
_softmax = partial(_narrow_across, first=1, behind=True)  # up to opset 12 over all axes behind

OPERATORS = {
    "BatchNormalization": _operator(_per_unit, _narrow_per_unit),
    "InstanceNormalization": _operator(_over_places, _narrow_per_unit),
    "LRN": _operator(_across, _neighbours),
    "LpNormalization": _operator(_across, partial(_narrow_across, first=-1, behind=False)),
    "LayerNormalization": _operator(_across, _over_last),
    "SimplifiedLayerNormalization": _operator(_across, _over_last),
    "RMSNormalization": _operator(_across, _over_last),
    "SkipLayerNormalization": _operator(_after_a_sum),
    "SkipSimplifiedLayerNormalization": _operator(_after_a_sum),
    "GroupNormalization": _operator(_across, _in_groups),
    "MeanVarianceNormalization": _operator(_across, _over_axes),
    "Softmax": _operator(_across, _softmax),
    "LogSoftmax": _operator(_across, _softmax),
    "QuantizeLinear": _operator(_quantised, _quantiser),
    "DequantizeLinear": _operator(_quantised, _quantiser),
}
