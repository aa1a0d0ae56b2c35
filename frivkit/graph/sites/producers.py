"""Find the weighted nodes of a graph: those that write units, and those we leave out and why."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Self

import onnx_ir as ir

from frivkit.graph.layout import Layout, shape_of
from frivkit.graph.model import consumed_values, is_constant, subgraphs
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import STANDARD, Operators, operator_name
from frivkit.graph.operators.table import OPERATORS


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
        """Return the node's place in the graph."""
        return order.get(self.key, len(order))


def find_producers(
    graph: ir.Graph, operators: Operators = OPERATORS
) -> tuple[list[tuple[ir.Node, Layout]], list[Skip]]:
    """Return the nodes that write units with the layout of their output, and those skipped.

    Conv, ConvTranspose, Gemm and MatMul write units when their weight is a constant with one axis
    for its units.  Any other node with a floating-point constant of two or more axes is skipped
    with a reason, so that no weights of the file go unmentioned.
    """
    written, skipped = [], []
    for node in graph:
        if node.outputs and is_constant(node.outputs[0]):
            continue  # what is made of weights alone is a weight, of the node that reads it
        operator = operators.get(operator_name(node))
        if operator is not None and operator.weights is not None:
            layout = operator.weights.produced(node)
            if isinstance(layout, Layout):
                written.append((node, layout))
            elif layout:
                skipped.append(Skip.of(node, layout))
        else:
            reason = _weights_not_read(node, mixes=operator is not None and operator.mixes)
            if reason:
                skipped.append(Skip.of(node, reason))
    return written, skipped


def _weights_not_read(node: ir.Node, *, mixes: bool) -> str | None:
    if subgraphs(node):
        return f"{node.op_type} holds a graph of its own, which is not entered"
    for value in node.inputs:
        if value is None or not is_constant(value):
            continue
        floating = value.dtype is not None and value.dtype.is_floating_point()
        if not floating and not mixes:  # sizes and indices, not weights
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


def leading_to_weights(
    graph: ir.Graph, to_output: Set[int], operators: Operators = OPERATORS
) -> set[int]:
    """Return the ids of the values from which a node that mixes units is reached.

    Args:
        graph: The graph.
        to_output: Values that count: a node none of whose outputs is among them does not.
        operators: What is known of each operator.
    """
    reached: set[int] = set()
    for node in reversed(graph):
        mixes = _mixes(node, operators) and any(id(value) in to_output for value in node.outputs)
        if mixes or any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in consumed_values(node))
    return reached


def _mixes(node: ir.Node, operators: Operators) -> bool:
    known = operators.get(operator_name(node))
    mixes = node.domain not in STANDARD if known is None else known.mixes
    return mixes or any(_mixes(n, operators) for b in subgraphs(node) for n in b)


def leading_to_outputs(graph: ir.Graph, output: str) -> set[int]:
    """Return the ids of the values that the output named ``output`` is computed from."""
    reached = {id(value) for value in graph.outputs if value.name == output}
    for node in reversed(graph):
        if any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in consumed_values(node))
    return reached
