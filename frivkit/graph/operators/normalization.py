"""Normalization and quantization, of each unit on its own or across units."""

from collections.abc import Sequence
from functools import partial

import onnx_ir as ir

from frivkit.graph.layout import Layout, attribute, rank_of, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.edits import (
    Edit,
    KeepStatistics,
    Locked,
    NarrowingRule,
    NodeContext,
    SliceOperand,
)
from frivkit.graph.operators.effects import Coupled, Effect, Kept, PropagationRule, Untraceable
from frivkit.graph.operators.operator import Operator

FIRST_OF_ONE_AXIS = 13
"""The first opset in which a softmax is taken over one axis alone."""


def _per_unit(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units that are scaled and shifted one by one: batch and instance norm of axis 1."""
    if index != 0:
        return Untraceable("units are the parameters of a normalisation")
    if layout.axes != (1,):
        return Untraceable(f"{node.op_type} acts on axis 1 and units lie on axis {layout.axes[-1]}")
    return Kept(layout)


def _over_positions(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units: each channel of axis 1 is normalized over its positions."""
    return (
        _per_unit(node, index, layout)
        if layout.axes == (1,)
        else _across_units(node, index, layout)
    )


def _across_units(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units that are rescaled by statistics over several of them."""
    del node
    return (
        Kept(layout, moves_positions=True)
        if index == 0
        else Untraceable("units are parameters of a norm")
    )


def _skip_norm(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Couple units of two summed tensors, and rescale them by statistics over all of them."""
    del node
    return Coupled(layout, "sum") if index < 2 else Untraceable("units are parameters of a norm")


def _quantizer(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units whose entries are rounded or restored."""
    del node
    return Kept(layout) if index == 0 else Untraceable("units are the scale of a quantiser")


def _narrow_per_unit(context: NodeContext) -> list[Edit]:
    group_ids = context.located(0, 1)
    if group_ids is None:
        reason = f"{context.node.op_type} rescales each unit by all of its channel"
        return [Locked(reason, group_ids) for group_ids in context.inputs[0].values()]
    return [SliceOperand(index, 0, group_ids) for index in range(1, len(context.node.inputs))]


def _narrow_across_units(context: NodeContext, *, first: int, behind: bool) -> list[Edit]:
    """Lock units on an axis over which statistics are taken.

    Args:
        context: The node.
        first: The axis if the file leaves it out.
        behind: Whether statistics are taken over all axes behind that axis, too.
    """
    rank = rank_of(context.operand(0))
    if rank is None:
        return context.locked("a normalisation of a tensor of unknown rank")
    axis_ = attribute(context.node, "axis", first) % max(rank, 1)
    return _lock_normalized(context, range(axis_, rank) if behind else [axis_])


def _narrow_softmax(context: NodeContext) -> list[Edit]:
    """Lock units on the axis of a softmax: up to opset 12 on all axes behind it, too."""
    behind = context.opset < FIRST_OF_ONE_AXIS
    return _narrow_across_units(context, first=1 if behind else -1, behind=behind)


def _lock_normalized(context: NodeContext, normalized: Sequence[int]) -> list[Edit]:
    per_position = any((rank_of(value) or 0) > len(normalized) for value in context.node.inputs[1:])
    reason = f"{context.node.op_type} rescales each unit by all of them"
    return [
        Locked(reason, group_ids)
        for axis, group_ids in context.inputs[0].items()
        if axis in normalized or per_position
    ]


def _narrow_last_axis(context: NodeContext) -> list[Edit]:
    """Let a norm over the last axis alone keep its statistics; lock units in any other norm."""
    rank = rank_of(context.operand(0))
    if rank is None:
        return context.locked("a normalisation of a tensor of unknown rank")
    last = attribute(context.node, "axis", -1) % rank == rank - 1
    group_ids = context.located(0, rank - 1)
    parameters = [value for value in context.node.inputs[1:] if value is not None]
    rows = all(is_constant(value) and rank_of(value) == 1 for value in parameters)
    if not last or group_ids is None or not rows:
        return _narrow_across_units(context, first=-1, behind=True)
    return [KeepStatistics(group_ids)]


def _narrow_lrn(context: NodeContext) -> list[Edit]:
    group_ids = context.located(0, 1)
    return (
        [] if group_ids is None else [Locked("LRN rescales each unit by its neighbours", group_ids)]
    )


def _narrow_group_norm(context: NodeContext) -> list[Edit]:
    return context.locked("GroupNormalization rescales each unit by those of its group")


def _narrow_mean_variance(context: NodeContext) -> list[Edit]:
    """Lock units on the axes over which mean and variance are taken."""
    attribute_, rank = context.node.attributes.get("axes"), rank_of(context.operand(0))
    if rank is None:
        return context.locked("a normalisation of a tensor of unknown rank")
    axes = [axis % rank for axis in ((0, 2, 3) if attribute_ is None else attribute_.as_ints())]
    reason = "MeanVarianceNormalization rescales each unit by all of them"
    return [
        Locked(reason, group_ids) for axis, group_ids in context.inputs[0].items() if axis in axes
    ]


def _narrow_quantizer(context: NodeContext) -> list[Edit]:
    """Slice scales and zero points that have an entry for each unit."""
    rank = rank_of(context.operand(0)) or 1
    axis = attribute(context.node, "axis", 1) % rank
    edits: list[Edit] = []
    for index, value in enumerate(context.node.inputs[1:], start=1):
        sizes, group_ids = shape_of(value), context.located(0, axis)
        if value is not None and (sizes is None or len(sizes) > 1):
            return context.locked("a quantiser with a scale for each block")
        if sizes and sizes[0] != 1 and group_ids is not None:
            edits.append(SliceOperand(index, 0, group_ids))
    return edits


def _operator(propagate: PropagationRule, narrow: NarrowingRule | None = None) -> Operator:
    return Operator(propagate, narrow, beside_batch=True)


OPERATORS = {
    "BatchNormalization": _operator(_per_unit, _narrow_per_unit),
    "InstanceNormalization": _operator(_over_positions, _narrow_per_unit),
    "LRN": _operator(_across_units, _narrow_lrn),
    "LpNormalization": _operator(
        _across_units, partial(_narrow_across_units, first=-1, behind=False)
    ),
    "LayerNormalization": _operator(_across_units, _narrow_last_axis),
    "SimplifiedLayerNormalization": _operator(_across_units, _narrow_last_axis),
    "RMSNormalization": _operator(_across_units, _narrow_last_axis),
    "SkipLayerNormalization": _operator(_skip_norm),
    "SkipSimplifiedLayerNormalization": _operator(_skip_norm),
    "GroupNormalization": _operator(_across_units, _narrow_group_norm),
    "MeanVarianceNormalization": _operator(_across_units, _narrow_mean_variance),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax"), _operator(_across_units, _narrow_softmax)
    ),
    "QuantizeLinear": _operator(_quantizer, _narrow_quantizer),
    "DequantizeLinear": _operator(_quantizer, _narrow_quantizer),
}
