"""The multiply-accumulates of operators that multiply tensors and produce no units of their own."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import onnx_ir as ir

from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.equation import macs_of_equation, parse_equation
from frivkit.graph.shapes import example_sizes


def product_macs(sizes: Sequence[int | None]) -> int | None:
    """Return a product of sizes, None if one of them is not known.

    Example:
        >>> product_macs([2, 3]), product_macs([2, None])
        (6, None)
    """
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def sizes_of_operand(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return the sizes of an operand for one example; those of a weight as they are."""
    if value is None:
        return None
    return shape_of(value) if is_constant(value) else example_sizes(value)


def _operand(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def einsum_macs(node: ir.Node) -> int | None:
    """Return those of an Einsum, whose operands are multiplied from the left."""
    operands = [sizes_of_operand(value) for value in node.inputs]
    if None in operands:
        return None
    terms, result = parse_equation(node)
    size: dict[str, int | None] = {}
    for labels, sizes in zip(terms, operands, strict=True):
        for label, length in zip(labels, sizes or (), strict=True):
            size[label] = length if size.get(label) in (None, 1) else size[label]
    known = {label: length for label, length in size.items() if length is not None}
    return macs_of_equation(terms, result, known) if len(known) == len(size) else None


def convolution_macs(node: ir.Node, *, weight: int) -> int | None:
    """Return output entries times the entries of a kernel of one output channel."""
    kernel, out = shape_of(_operand(node, weight)), example_sizes(node.outputs[0])
    return None if kernel is None or out is None else product_macs((*out, *kernel[1:]))


def matrix_macs(node: ir.Node, *, right: int) -> int | None:
    """Return output entries times the length of the axis that is summed over."""
    left, out = shape_of(_operand(node, 0)), example_sizes(node.outputs[0])
    summed = shape_of(_operand(node, right))
    if out is None or (not left and not summed):
        return None
    inner = None
    if left:
        inner = left[-2 if attribute(node, "transA", 0) and len(left) > 1 else -1]
    if inner is None and summed:
        inner = summed[-1 if attribute(node, "transB", 0) or len(summed) < 2 else -2]
    return product_macs((*out, inner))


def packed_macs(node: ir.Node) -> int | None:
    """Return output entries times ``K`` of a matrix in blocks of few bits."""
    out = example_sizes(node.outputs[0])
    return None if out is None else product_macs((*out, attribute(node, "K", 0)))


def recurrent_macs(node: ir.Node) -> int | None:
    """Return steps times the entries of the matrices for input and state."""
    weights = [shape_of(_operand(node, index)) for index in (1, 2)]
    steps = shape_of(_operand(node, 0))
    first = example_sizes(_operand(node, 0))
    if None in weights or not steps or first is None:
        return None
    axis = 1 if attribute(node, "layout", 0) else 0
    count = steps[axis] if steps[axis] is not None else first[axis]
    entries = [product_macs(shape or ()) for shape in weights]
    if count is None or None in entries:
        return None
    return count * sum(entry or 0 for entry in entries)


def attention_macs(node: ir.Node) -> int | None:
    """Return those of scores and of sums of values, and of projections that the node holds."""
    out, query = example_sizes(node.outputs[0]), example_sizes(_operand(node, 0))
    if out is None or query is None or len(query) < 3:
        return None
    projections: int | None = 0
    if node.domain == "com.microsoft" and node.op_type in ("Attention", "QAttention"):
        weight = shape_of(_operand(node, 1))
        steps = sources = query[1]
        projections = None if weight is None else product_macs((steps, *weight))
        width = out[-1] if weight is None or weight[1] is None else None
        if weight is not None and weight[1] is not None and out[-1] is not None:
            width = (weight[1] - out[-1]) // 2  # queries and keys are equally wide
    else:
        key = example_sizes(_operand(node, 1))
        heads = len(query) == 4
        steps, width = (query[2], product_macs((query[1], query[3]))) if heads else query[1:3]
        if len(query) == 5:  # queries, keys and values of each head together
            width = product_macs((query[2], query[4]))
        sources = query[1] if key is None else key[-2]
        if node.op_type == "GroupQueryAttention":
            width = out[-1]
    values = product_macs((out[1], out[3])) if len(out) == 4 else out[-1]
    scores = product_macs((steps, sources, width))
    sums = product_macs((steps, sources, values))
    if scores is None or sums is None or projections is None:
        return None
    return projections + scores + sums


def _none(node: ir.Node) -> int:
    """Return 0: rows of a table are looked up."""
    del node
    return 0


MACS: dict[str, Callable[[ir.Node], int | None]] = {
    "Einsum": einsum_macs,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent_macs),
    **dict.fromkeys(
        ("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"), attention_macs
    ),
    "MatMulNBits": packed_macs,
    **dict.fromkeys(
        ("ConvInteger", "DeformConv", "FusedConv"), partial(convolution_macs, weight=1)
    ),
    "QLinearConv": partial(convolution_macs, weight=3),
    **dict.fromkeys(("MatMulInteger", "FusedMatMul", "FusedGemm"), partial(matrix_macs, right=1)),
    "QLinearMatMul": partial(matrix_macs, right=3),
    "EmbedLayerNormalization": _none,
}
"""By the name of an operator, its multiply-accumulates for one example."""
