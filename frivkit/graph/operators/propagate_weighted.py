"""Rules for operators that mix units: by their own weights, or with another tensor."""

import onnx_ir as ir

from frivkit.graph.layout import (
    Effect,
    Ends,
    Joins,
    Keeps,
    Layout,
    Reads,
    attribute,
    others_constant,
    rank_of,
    shape_of,
)

MIXING = frozenset(
    [
        "Gemm",
        "MatMul",
        "Conv",
        "ConvTranspose",
        "Einsum",
        "LSTM",
        "GRU",
        "RNN",
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
    ]
)


def _mixing(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all units by weights into something new."""
    del node, index, layout
    return Reads()


def _gemm(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all units, or add them where a bias is expected."""
    del node, layout
    return Ends("units are the bias of a Gemm") if index == 2 else Reads()


def _product(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix along the axis that is summed over; rows of the left and columns of the right stay."""
    rank, other = rank_of(node.inputs[index]), rank_of(node.inputs[1 - index])
    after = rank_of(node.outputs[0])
    if rank is None or other is None or after is None:
        return Ends("a MatMul of unknown rank")
    summed, whole = (-1, -2) if index == 0 else (-2, -1)
    from_back = [axis - rank for axis in layout.axes]
    if summed in from_back:
        if others_constant(node, index):
            return Reads()
        axes = [after if back == summed else after + back for back in from_back]
        return Joins(layout.moved(*axes), "inner")
    if other == 1 or (whole not in from_back and not others_constant(node, index)):
        return Ends("a MatMul along other axes, with a vector or a matrix for each unit")
    return Keeps(layout.moved(*(after + back for back in from_back)), places=True)


def _einsum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix along letters that are summed over; units stay on the others."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if not arrow or "." in equation or len(operands) > 2 or len(set(right)) != len(right):
        return Ends(f"an Einsum with equation {equation}")
    letters = [operands[index][axis] for axis in layout.axes]
    beside = "".join(operands[:index] + operands[index + 1 :])
    constant = others_constant(node, index)
    gone = [letter for letter in letters if letter not in right]
    if gone:
        if constant:
            return Reads()
        if len(gone) > 1 or gone[0] not in beside:
            return Ends("an Einsum that sums units up")
        axes = [right.find(letter) if letter in right else len(right) for letter in letters]
        return Joins(layout.moved(*axes), "inner")
    found = layout.moved(*(right.index(letter) for letter in letters))
    met = not constant and all(letter in beside for letter in letters)
    return Joins(found, "product") if met else Keeps(found, places=True)


def _convolution(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all channels, or in a depthwise convolution carry each into units of its own."""
    group = attribute(node, "group", 1)
    if index != 0 or layout.axes != (1,):
        return Reads() if index == 0 else Ends("units are the weights of a convolution")
    shape = shape_of(node.outputs[0])
    if group == 1 or group != layout.size or shape is None or shape[1] != group:
        return Reads()  # grouped, but not one unit to one unit
    return Joins(layout, "depthwise")


RULES = {
    **dict.fromkeys(MIXING, _mixing),
    "Gemm": _gemm,
    "MatMul": _product,
    "Einsum": _einsum,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
}
