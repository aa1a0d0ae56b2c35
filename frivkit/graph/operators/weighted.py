"""Operators that mix units: by their own weights, or with another tensor."""

from math import prod

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import (
    NO_GROUP,
    Layout,
    Numbers,
    attribute,
    others_constant,
    rank_of,
    shape_of,
)
from frivkit.graph.model import constant_tensor, is_constant
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
from frivkit.graph.shapes import example_sizes

OPAQUE = (
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DeformConv",
    "Attention",
    "MultiHeadAttention",
    "FusedMatMul",
    "FusedConv",
    "FusedGemm",
    "MatMulNBits",
    "GroupQueryAttention",
    "QAttention",
    "EmbedLayerNormalization",
)
"""Operators that mix units in ways that are not looked into."""


def _mixing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all units by weights into something new."""
    del node, index, layout
    return Consumed()


def _gemm(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all units, or add them where a bias is expected."""
    del node, layout
    return Untraceable("units are the bias of a Gemm") if index == 2 else Consumed()


def _product(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix along the axis that is summed over; rows of the left and columns of the right stay."""
    rank, other = rank_of(node.inputs[index]), rank_of(node.inputs[1 - index])
    after = rank_of(node.outputs[0])
    if rank is None or other is None or after is None:
        return Untraceable("a MatMul of unknown rank")
    summed, whole = (-1, -2) if index == 0 else (-2, -1)
    from_back = [axis - rank for axis in layout.axes]
    if summed in from_back:
        if others_constant(node, index):
            return Consumed()
        axes = [after if back == summed else after + back for back in from_back]
        return Coupled(layout.moved(*axes), "inner")
    if other == 1 or (whole not in from_back and not others_constant(node, index)):
        return Untraceable("a MatMul along other axes, with a vector or a matrix for each unit")
    return Kept(layout.moved(*(after + back for back in from_back)), moves_positions=True)


def _einsum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix along letters that are summed over; units stay on the others."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if not arrow or "." in equation or len(operands) > 2 or len(set(right)) != len(right):
        return Untraceable(f"an Einsum with equation {equation}")
    letters = [operands[index][axis] for axis in layout.axes]
    beside = "".join(operands[:index] + operands[index + 1 :])
    constant = others_constant(node, index)
    gone = [letter for letter in letters if letter not in right]
    if gone:
        if constant:
            return Consumed()
        if len(gone) > 1 or gone[0] not in beside:
            return Untraceable("an Einsum that sums units up")
        axes = [right.find(letter) if letter in right else len(right) for letter in letters]
        return Coupled(layout.moved(*axes), "inner")
    found = layout.moved(*(right.index(letter) for letter in letters))
    met = not constant and all(letter in beside for letter in letters)
    return Coupled(found, "product") if met else Kept(found, moves_positions=True)


def _convolution(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all channels, or in a depthwise convolution carry each into units of its own."""
    group = attribute(node, "group", 1)
    if index != 0 or layout.axes != (1,):
        return Consumed() if index == 0 else Untraceable("units are the weights of a convolution")
    shape = shape_of(node.outputs[0])
    if group == 1 or group != layout.size or shape is None or shape[1] != group:
        return Consumed()  # grouped, but not one unit to one unit
    return Coupled(layout, "depthwise")


def _narrow_gemm(given: NodeContext) -> list[Edit]:
    node = given.node
    if not given.constant(1) or attribute(node, "transA", 0):
        return given.locked("a Gemm whose weights are computed or whose input is transposed")
    columns, rows = (1, 0) if attribute(node, "transB", 0) else (0, 1)
    edits: list[Edit] = []
    read, written = given.located(0, 1), given.output.get(1)
    if read is not None:
        edits.append(SliceOperand(1, columns, read))
    if written is not None:
        edits.append(SliceOperand(1, rows, written))
        edits += broadcast(given, [2])
    return edits


def _matmul(given: NodeContext) -> list[Edit]:
    ranks = [rank_of(value) for value in given.node.inputs]
    if None in ranks:
        return given.locked("a MatMul of unknown rank")
    edits: list[Edit] = []
    for index in (0, 1):
        rank, other = ranks[index] or 0, ranks[1 - index] or 0
        summed, summed_there = (-1, max(other - 2, 0)) if index == 0 else (-2, other - 1)
        for axis, group_ids in given.inputs[index].items():
            back = axis - rank
            if back == summed and not given.constant(1 - index):
                edits += _inner(given, 1 - index, summed_there, group_ids)
            elif back == summed:
                edits.append(SliceOperand(1 - index, summed_there, group_ids))
            elif back < -2:
                edits += _stacked(given, 1 - index, back, group_ids)
    written = given.output.get((rank_of(given.node.outputs[0]) or 0) - 1)
    if written is not None and given.constant(1):
        edits.append(SliceOperand(1, (ranks[1] or 0) - 1, written))
    return edits


def _inner(given: NodeContext, index: int, axis: int, group_ids: Numbers) -> list[Edit]:
    """Hold units of a product of two computed tensors that meet others, or none, in it."""
    value = given.operand(index)
    if value is None:
        return [Locked("summed over in a MatMul of two computed tensors", group_ids)]
    return require_same_groups(
        group_ids, given.inputs[index].get(axis, np.full(len(group_ids), NO_GROUP)), value
    )


def _stacked(given: NodeContext, index: int, back: int, group_ids: Numbers) -> list[Edit]:
    """Cut a stack of matrices, one for each of the units, where the operand is one."""
    value = given.operand(index)
    sizes = shape_of(value)
    if value is None or sizes is None:
        return [Locked("a MatMul of unknown shapes", group_ids)]
    axis = len(sizes) + back
    if axis < 0 or sizes[axis] == 1:
        return []
    if given.constant(index):
        return [SliceOperand(index, axis, group_ids)]
    return require_same_groups(
        group_ids, given.inputs[index].get(axis, np.full(len(group_ids), NO_GROUP)), value
    )


def _narrow_convolution(given: NodeContext) -> list[Edit]:
    node = given.node
    if not given.constant(1):
        return given.locked("a convolution whose weights are computed")
    edits: list[Edit] = [
        Locked("units on an axis that a convolution slides over", group_ids)
        for axis, group_ids in given.inputs[0].items()
        if axis != 1
    ]
    transposed = node.op_type == "ConvTranspose"
    groups = attribute(node, "group", 1)
    read, written = given.located(0, 1), given.output.get(1)
    if written is not None and given.operand(2) is not None:
        edits.append(SliceOperand(2, 0, written))
    if groups > 1:
        return edits + _grouped(given, groups, transposed=transposed)
    if read is not None:
        edits.append(SliceOperand(1, 0 if transposed else 1, read))
    if written is not None:
        edits.append(SliceOperand(1, 1 if transposed else 0, written))
    return edits


def _grouped(given: NodeContext, groups: int, *, transposed: bool) -> list[Edit]:
    """Let whole groups leave: their channels on both sides and their kernels."""
    sides = []
    read, written = given.located(0, 1), given.output.get(1)
    for value, group_ids in ((given.operand(0), read), (given.node.outputs[0], written)):
        sizes = shape_of(value)
        size = None if sizes is None or len(sizes) < 2 else sizes[1]
        if group_ids is None and size is None:
            return given.locked("a grouped convolution of unknown width")
        sides.append(np.full(size or 0, NO_GROUP) if group_ids is None else group_ids)
    rows = np.concatenate([side.reshape(groups, -1) for side in sides], axis=1)
    whole = rows.min(axis=1) == rows.max(axis=1)  # marks of one group, or of none
    reason = "a grouped convolution leaves in whole groups, and some of this one's channels stay"
    edits: list[Edit] = [] if whole.all() else [Locked(reason, rows[~whole].ravel())]
    edits.append(SliceOperand(1, 0, sides[0] if transposed else sides[1]))
    return [*edits, UpdateGroupCount(np.where(whole, rows[:, 0], NO_GROUP))]


def _recurrent(given: NodeContext) -> list[Edit]:
    """Cut the columns that read the units of each step (X of an LSTM, a GRU or an RNN)."""
    edits: list[Edit] = []
    for index, there in enumerate(given.inputs):
        for axis, group_ids in there.items():
            if index == 0 and axis == 2 and given.constant(1):
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


def _of_convolution(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node)
    if shape is None:
        return "its weights are computed"
    transposed = node.op_type == "ConvTranspose"
    width = shape[1] * attribute(node, "group", 1) if transposed else shape[0]
    return Layout.of(axis=1, width=width)


def _of_gemm(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node)
    if shape is None:
        return "its weights are computed or stand on the left"
    if attribute(node, "transA", 0):
        return "its input is transposed (transA), so that units lie on the batch axis"
    return Layout.of(axis=1, width=shape[0] if attribute(node, "transB", 0) else shape[1])


def _of_matmul(node: ir.Node) -> Layout | str:
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
    """Return output entries x what is summed for one, which ConvTranspose counts from its input.

    Conv: output entries x input channels of a group x kernel size.  ConvTranspose: input entries x
    output channels of a group x kernel size.  Gemm and MatMul: output entries x inner size.
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
    _convolution, _narrow_convolution, mixes=True, weights=Weights(_of_convolution, _macs)
)
OPERATORS = {
    "Gemm": Operator(_gemm, _narrow_gemm, mixes=True, weights=Weights(_of_gemm, _macs)),
    "MatMul": Operator(
        _product, _matmul, mixes=True, beside_batch=True, weights=Weights(_of_matmul, _macs)
    ),
    "Conv": _CONVOLUTION,
    "ConvTranspose": _CONVOLUTION,
    "Einsum": Operator(_einsum, mixes=True, beside_batch=True),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), Operator(_mixing, _recurrent, mixes=True)),
    **dict.fromkeys(OPAQUE, Operator(_mixing, mixes=True)),
}
