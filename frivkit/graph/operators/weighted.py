"""Operators that mix units: by their own weights, or with another tensor."""

from math import prod

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import (
    NO_GROUP,
    IntArray,
    Layout,
    attribute,
    others_constant,
    rank_of,
    shape_of,
)
from frivkit.graph.model import constant_tensor, is_constant
from frivkit.graph.operators.attention import lock_attention
from frivkit.graph.operators.edits import (
    Edit,
    Locked,
    NodeContext,
    SliceOperand,
    UpdateGroupCount,
    broadcast,
    require_same_groups,
)
from frivkit.graph.operators.effects import Consumed, Coupled, Effect, Kept, Untraceable
from frivkit.graph.operators.operator import Operator, Weights
from frivkit.graph.operators.products import MACS
from frivkit.graph.shapes import example_sizes

OPAQUE = (
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DeformConv",
    "FusedMatMul",
    "FusedConv",
    "FusedGemm",
    "MatMulNBits",
    "EmbedLayerNormalization",
)
"""Operators that mix units in a way that is not analysed."""


def _propagate_opaque(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Consume units: weights mix them into new ones."""
    del node, index, layout
    return Consumed()


def _propagate_gemm(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Consume units of the matrix; those of the bias cannot be followed."""
    del node, layout
    return Untraceable("units are the bias of a Gemm") if index == 2 else Consumed()


def _propagate_matmul(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Consume units on the summed axis; keep rows on the left, columns on the right."""
    rank, other = rank_of(node.inputs[index]), rank_of(node.inputs[1 - index])
    after = rank_of(node.outputs[0])
    if rank is None or other is None or after is None:
        return Untraceable("a MatMul of unknown rank")
    summed, remaining = (-1, -2) if index == 0 else (-2, -1)
    from_back = [axis - rank for axis in layout.axes]
    if summed in from_back:
        if others_constant(node, index):
            return Consumed()
        axes = [after if back == summed else after + back for back in from_back]
        return Coupled(layout.with_axes(*axes), "inner")
    if other == 1 or (remaining not in from_back and not others_constant(node, index)):
        return Untraceable("a MatMul along other axes, with a vector or a matrix for each unit")
    return Kept(layout.with_axes(*(after + back for back in from_back)), moves_positions=True)


def _propagate_einsum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Consume units on letters that are summed over; keep those on others."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if not arrow or "." in equation or len(operands) > 2 or len(set(right)) != len(right):
        return Untraceable(f"an Einsum with equation {equation}")
    letters = [operands[index][axis] for axis in layout.axes]
    other_letters = "".join(operands[:index] + operands[index + 1 :])
    constant = others_constant(node, index)
    summed = [letter for letter in letters if letter not in right]
    if summed:
        if constant:
            return Consumed()
        if len(summed) > 1 or summed[0] not in other_letters:
            return Untraceable("an Einsum that sums units up")
        axes = [right.find(letter) if letter in right else len(right) for letter in letters]
        return Coupled(layout.with_axes(*axes), "inner")
    new_layout = layout.with_axes(*(right.index(letter) for letter in letters))
    if not constant and all(letter in other_letters for letter in letters):
        return Coupled(new_layout, "product")
    return Kept(new_layout, moves_positions=True)


def _propagate_convolution(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Consume units, or couple each with one of the output if the convolution is depthwise."""
    group = attribute(node, "group", 1)
    if index != 0 or layout.axes != (1,):
        return Consumed() if index == 0 else Untraceable("units are the weights of a convolution")
    shape = shape_of(node.outputs[0])
    if group == 1 or group != layout.size or shape is None or shape[1] != group:
        return Consumed()  # grouped, but not one unit to one unit
    return Coupled(layout, "depthwise")


def _narrow_gemm(context: NodeContext) -> list[Edit]:
    node = context.node
    if not context.constant(1) or attribute(node, "transA", 0):
        return context.locked("a Gemm whose weights are computed or whose input is transposed")
    columns, rows = (1, 0) if attribute(node, "transB", 0) else (0, 1)
    edits: list[Edit] = []
    input_ids, output_ids = context.located(0, 1), context.output.get(1)
    if input_ids is not None:
        edits.append(SliceOperand(1, columns, input_ids))
    if output_ids is not None:
        edits.append(SliceOperand(1, rows, output_ids))
        edits += broadcast(context, [2])
    return edits


def _narrow_matmul(context: NodeContext) -> list[Edit]:
    ranks = [rank_of(value) for value in context.node.inputs]
    if None in ranks:
        return context.locked("a MatMul of unknown rank")
    edits: list[Edit] = []
    after = rank_of(context.node.outputs[0]) or 0
    for index in (0, 1):
        rank, other = ranks[index] or 0, ranks[1 - index] or 0
        summed, other_axis = (-1, max(other - 2, 0)) if index == 0 else (-2, other - 1)
        for axis, group_ids in context.inputs[index].items():
            back = axis - rank
            if back == summed and not context.constant(1 - index):
                edits += _lock_unequal_factors(context, 1 - index, other_axis, group_ids)
                continue
            if back == summed:
                edits.append(SliceOperand(1 - index, other_axis, group_ids))
                continue
            if back < -2:
                edits += _slice_stack(context, 1 - index, back, group_ids)
            if not np.array_equal(context.output.get(after + back, ()), group_ids):
                edits.append(Locked("rows of a product that no units are followed to", group_ids))
    output_ids = context.output.get(after - 1)
    if output_ids is not None and context.constant(1):
        edits.append(SliceOperand(1, (ranks[1] or 0) - 1, output_ids))
    return edits


def _lock_unequal_factors(
    context: NodeContext, index: int, axis: int, group_ids: IntArray
) -> list[Edit]:
    """Lock units of a product of two computed tensors that meet others, or none, in it."""
    value = context.operand(index)
    if value is None:
        return [Locked("summed over in a MatMul of two computed tensors", group_ids)]
    return require_same_groups(
        group_ids, context.inputs[index].get(axis, np.full(len(group_ids), NO_GROUP)), value
    )


def _slice_stack(context: NodeContext, index: int, back: int, group_ids: IntArray) -> list[Edit]:
    """Slice an operand that is a stack of matrices, one for each unit."""
    value = context.operand(index)
    sizes = shape_of(value)
    if value is None or sizes is None:
        return [Locked("a MatMul of unknown shapes", group_ids)]
    axis = len(sizes) + back
    if axis < 0 or sizes[axis] == 1:
        return []
    if context.constant(index):
        return [SliceOperand(index, axis, group_ids)]
    return require_same_groups(
        group_ids, context.inputs[index].get(axis, np.full(len(group_ids), NO_GROUP)), value
    )


def _narrow_convolution(context: NodeContext) -> list[Edit]:
    node = context.node
    if not context.constant(1):
        return context.locked("a convolution whose weights are computed")
    edits: list[Edit] = [
        Locked("units on an axis that a convolution slides over", group_ids)
        for axis, group_ids in context.inputs[0].items()
        if axis != 1
    ]
    transposed = node.op_type == "ConvTranspose"
    groups = attribute(node, "group", 1)
    input_ids, output_ids = context.located(0, 1), context.output.get(1)
    if output_ids is not None and context.operand(2) is not None:
        edits.append(SliceOperand(2, 0, output_ids))
    if groups > 1:
        return edits + _narrow_grouped(context, groups, transposed=transposed)
    if input_ids is not None:
        edits.append(SliceOperand(1, 0 if transposed else 1, input_ids))
    if output_ids is not None:
        edits.append(SliceOperand(1, 1 if transposed else 0, output_ids))
    return edits


def _narrow_grouped(context: NodeContext, groups: int, *, transposed: bool) -> list[Edit]:
    """Remove whole groups: their input and output channels, and their kernels."""
    channel_ids = []
    input_ids, output_ids = context.located(0, 1), context.output.get(1)
    for value, group_ids in (
        (context.operand(0), input_ids),
        (context.node.outputs[0], output_ids),
    ):
        sizes = shape_of(value)
        size = None if sizes is None or len(sizes) < 2 else sizes[1]
        if group_ids is None and size is None:
            return context.locked("a grouped convolution of unknown width")
        channel_ids.append(np.full(size or 0, NO_GROUP) if group_ids is None else group_ids)
    rows = np.concatenate([ids.reshape(groups, -1) for ids in channel_ids], axis=1)
    whole = rows.min(axis=1) == rows.max(axis=1)  # all channels of one pruning group, or of none
    reason = "a grouped convolution leaves in whole groups, and some of this one's channels stay"
    edits: list[Edit] = [] if whole.all() else [Locked(reason, rows[~whole].ravel())]
    edits.append(SliceOperand(1, 0, channel_ids[0] if transposed else channel_ids[1]))
    return [*edits, UpdateGroupCount(np.where(whole, rows[:, 0], NO_GROUP))]


def _narrow_recurrent(context: NodeContext) -> list[Edit]:
    """Slice the columns that read the units of each step (X of an LSTM, a GRU or an RNN)."""
    edits: list[Edit] = []
    for index, by_axis in enumerate(context.inputs):
        for axis, group_ids in by_axis.items():
            if index == 0 and axis == 2 and context.constant(1):
                edits.append(SliceOperand(1, 2, group_ids))
            else:
                edits.append(Locked("units are its steps, its weights or its states", group_ids))
    return edits


def _weight_shape(node: ir.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's weight, None if it is computed from the model's inputs."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    if value is None or not is_constant(value):
        return None
    tensor = constant_tensor(value)
    shape = tuple(tensor.shape.numpy()) if tensor is not None else shape_of(value)
    if shape is None or None in shape:
        return None
    return tuple(size for size in shape if size is not None)


def _units_of_convolution(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node)
    if shape is None:
        return "its weights are computed"
    transposed = node.op_type == "ConvTranspose"
    width = shape[1] * attribute(node, "group", 1) if transposed else shape[0]
    return Layout.of(axis=1, width=width)


def _units_of_gemm(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node)
    if shape is None:
        return "its weights are computed or stand on the left"
    if attribute(node, "transA", 0):
        return "its input is transposed (transA), so that units lie on the batch axis"
    return Layout.of(axis=1, width=shape[0] if attribute(node, "transB", 0) else shape[1])


def _units_of_matmul(node: ir.Node) -> Layout | str:
    shape, rank = _weight_shape(node), rank_of(node.outputs[0])
    if shape is None:
        left = node.inputs[0] is not None and is_constant(node.inputs[0])
        return "its weights stand on the left" if left else ""  # two activations: no weights
    if len(shape) != 2:
        return f"its weights have {len(shape)} axes, one matrix for each batch"
    if rank is None or rank < 2:
        return "its output has no unit axis behind a batch axis"
    return Layout.of(axis=rank - 1, width=shape[1])


def _macs(node: ir.Node) -> int | None:
    """Return the multiply-accumulates of a node for one example, None if a size is unknown.

    1. Conv: output entries x input channels of a group x kernel size.
    2. ConvTranspose: input entries x output channels of a group x kernel size.
    3. Gemm and MatMul: output entries x the length of the axis that is summed over.
    """
    data, weight = shape_of(node.inputs[0]), shape_of(node.inputs[1])
    out = example_sizes(node.outputs[0])
    if data is None or weight is None or out is None:
        return None
    if node.op_type == "Conv":
        factors = (*out, *weight[1:])
    elif node.op_type == "ConvTranspose":
        factors = (*(example_sizes(node.inputs[0]) or ()), *weight[1:])
    else:
        inner = data[0] if node.op_type == "Gemm" and attribute(node, "transA", 0) else data[-1]
        factors = (*out, inner)
    sizes = [size for size in factors if size is not None]
    return prod(sizes) if len(sizes) == len(factors) else None


_CONVOLUTION = Operator(
    _propagate_convolution,
    _narrow_convolution,
    mixes=True,
    weights=Weights(_units_of_convolution, _macs),
)
OPERATORS = {
    "Gemm": Operator(
        _propagate_gemm, _narrow_gemm, mixes=True, weights=Weights(_units_of_gemm, _macs)
    ),
    "MatMul": Operator(
        _propagate_matmul,
        _narrow_matmul,
        mixes=True,
        beside_batch=True,
        weights=Weights(_units_of_matmul, _macs),
    ),
    "Conv": _CONVOLUTION,
    "ConvTranspose": _CONVOLUTION,
    "Einsum": Operator(_propagate_einsum, mixes=True, beside_batch=True, macs=MACS["Einsum"]),
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN"),
        Operator(_propagate_opaque, _narrow_recurrent, mixes=True, macs=MACS["LSTM"]),
    ),
    **{op: Operator(_propagate_opaque, mixes=True, macs=MACS.get(op)) for op in OPAQUE},
    **{
        op: Operator(_propagate_opaque, lock_attention, mixes=True, macs=MACS.get(op))
        for op in ("MultiHeadAttention", "GroupQueryAttention", "QAttention")
    },
}
