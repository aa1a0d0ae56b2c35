"""Find the weighted nodes of a graph: those that write units, and those we leave out and why."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Self

import onnx_ir as ir

from frivkit.graph.layout import Layout, attribute, rank_of, shape_of
from frivkit.graph.model import bodies, constant_tensor, is_constant, reads
from frivkit.graph.names import node_label
from frivkit.graph.operators.propagate import STANDARD
from frivkit.graph.operators.propagate_weighted import MIXING


@dataclass(frozen=True, slots=True)
class Skip:
    """A weighted node whose units are not analysed."""

    node: str
    op: str
    reason: str
    key: int = 0

    @classmethod
    def of(cls, node: ir.Node, reason: str) -> Self:
        """Say that ``node`` is skipped for ``reason``."""
        return cls(node_label(node), node.op_type, reason, id(node))

    def position(self, order: dict[int, int]) -> int:
        """Give the node's place in the graph."""
        return order.get(self.key, len(order))


def find_writers(graph: ir.Graph) -> tuple[list[tuple[ir.Node, Layout]], list[Skip]]:
    """Give the nodes that write units with the layout of their output, and those skipped.

    Conv, ConvTranspose, Gemm and MatMul write units when their weight is a constant with one axis
    for its units.  Any other node with a floating-point constant of two or more axes is skipped
    with a reason, so that no weights of the file go unmentioned.
    """
    written, skipped = [], []
    for node in graph:
        if node.outputs and is_constant(node.outputs[0]):
            continue  # what is made of weights alone is a weight, of the node that reads it
        if node.op_type in _WRITERS and node.domain in STANDARD:
            layout = _WRITERS[node.op_type](node)
            if isinstance(layout, Layout):
                written.append((node, layout))
            elif layout:
                skipped.append(Skip.of(node, layout))
        else:
            reason = _weights_not_read(node)
            if reason:
                skipped.append(Skip.of(node, reason))
    return written, skipped


def _convolution(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node, 1)
    if shape is None:
        return "its weights are computed"
    transposed = node.op_type == "ConvTranspose"
    width = shape[1] * attribute(node, "group", 1) if transposed else shape[0]
    return Layout.of(axis=1, width=width)


def _gemm(node: ir.Node) -> Layout | str:
    shape = _weight_shape(node, 1)
    if shape is None:
        return "its weights are computed or stand on the left"
    if attribute(node, "transA", 0):
        return "its input is transposed (transA), so that units lie on the batch axis"
    return Layout.of(axis=1, width=shape[0] if attribute(node, "transB", 0) else shape[1])


def _matmul(node: ir.Node) -> Layout | str:
    shape, rank = _weight_shape(node, 1), rank_of(node.outputs[0])
    if shape is None:
        left = node.inputs[0] is not None and is_constant(node.inputs[0])
        return "its weights stand on the left" if left else ""  # two activations: no weights
    if len(shape) != 2:
        return f"its weights have {len(shape)} axes, one matrix for each batch"
    if rank is None or rank < 2:
        return "its output has no unit axis behind a batch axis"
    return Layout.of(axis=rank - 1, width=shape[1])


_WRITERS = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _weight_shape(node: ir.Node, index: int) -> tuple[int, ...] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or not is_constant(value):
        return None
    tensor = constant_tensor(value)
    shape = tuple(tensor.shape.numpy()) if tensor is not None else shape_of(value)
    if shape is None or None in shape:
        return None
    return tuple(size for size in shape if size is not None)


def _weights_not_read(node: ir.Node) -> str | None:
    if bodies(node):
        return f"{node.op_type} holds a graph of its own, which is not entered"
    for value in node.inputs:
        if value is None or not is_constant(value):
            continue
        floating = value.dtype is not None and value.dtype.is_floating_point()
        if not floating and node.op_type not in MIXING:  # sizes and indices, not weights
            continue
        if sum(size != 1 for size in shape_of(value) or ()) >= 2:
            return _WITHOUT_UNITS.get(node.op_type, f"{node.op_type} has weights but no rule")
    return None


_WITHOUT_UNITS = {
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN"), "recurrent: its units live in a state, which is not looked into"
    ),
    "Gather": "looks rows of a table up: no unit is computed by its weights",
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), "a number of its own for each place: no units"),
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger"),
        "computes in whole numbers, which masks cannot be put between",
    ),
}
"""Why an operator with weights is not analysed."""


def leading_to_weights(graph: ir.Graph, to_output: Set[int]) -> set[int]:
    """Give the ids of the values from which a node that mixes units is reached.

    Args:
        graph: The graph.
        to_output: Values that count: a node none of whose outputs is among them does not.
    """
    reached: set[int] = set()
    for node in reversed(graph):
        mixes = _mixes(node) and any(id(value) in to_output for value in node.outputs)
        if mixes or any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in reads(node))
    return reached


def _mixes(node: ir.Node) -> bool:
    foreign = node.domain not in STANDARD
    return foreign or node.op_type in MIXING or any(_mixes(n) for b in bodies(node) for n in b)


def leading_to_outputs(graph: ir.Graph, output: str) -> set[int]:
    """Give the ids of the values that the output named ``output`` is computed from."""
    reached = {id(value) for value in graph.outputs if value.name == output}
    for node in reversed(graph):
        if any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in reads(node))
    return reached
