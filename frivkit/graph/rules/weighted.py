"""Rules for operators that mix units: by their own weights, or with another tensor."""

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Joins, Layout, Reads, attribute, shape_of

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
    del node, index, layout
    return Reads()


def _convolution(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Mix all channels, or in a depthwise convolution carry each into units of its own."""
    group = attribute(node, "group", 1)
    if index != 0 or layout.axis != 1:
        return Reads() if index == 0 else Ends("units are the weights of a convolution")
    shape = shape_of(node.outputs[0])
    if group == 1 or group != layout.size or shape is None or shape[1] != group:
        return Reads()  # grouped, but not one unit to one unit
    return Joins(layout, "depthwise")


RULES = {
    **dict.fromkeys(MIXING, _mixing),
    "Conv": _convolution,
    "ConvTranspose": _convolution,
}
