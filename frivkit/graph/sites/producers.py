"""Find the weighted nodes of a graph: those that produce units, and those that are skipped."""

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

import onnx_ir as ir

from frivkit.graph.layout import Layout, shape_of
from frivkit.graph.model import consumed_values, is_constant, subgraphs
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import STANDARD, Operators, operator_name
from frivkit.graph.operators.table import OPERATORS


class SkipCause(Enum):
    """The kinds of reasons why a weighted node is skipped."""

    UNKNOWN_SHAPE = auto()
    """The shape of its output is open; ``--input-shape`` may give it."""
    SUBGRAPH = auto()
    """It is an If, a Loop or a Scan."""
    RECURRENT = auto()
    """It is an LSTM, a GRU or an RNN."""
    OTHER_OUTPUT = auto()
    """It leads to outputs of the model whose labels are not compared."""
    MODEL_OUTPUT = auto()
    """Its units are outputs of the model."""
    OTHER = auto()
    """Any other reason."""


@dataclass(frozen=True, slots=True)
class SkipReason:
    """Why the units of a node are not analysed.

    Attributes:
        text: The reason, for ``frivkit inspect``.
        cause: Its kind, on which advice depends.
    """

    text: str
    cause: SkipCause = SkipCause.OTHER


@dataclass(frozen=True, slots=True)
class Skip:
    """A weighted node whose units are not analysed.

    Attributes:
        node: Its label.
        op: Its operator.
        reason: The reason, for ``frivkit inspect``.
        cause: The kind of the reason.
        key: ``id`` of the node.
    """

    node: str
    op: str
    reason: str
    cause: SkipCause = SkipCause.OTHER
    key: int = 0

    @classmethod
    def of(cls, node: ir.Node, reason: SkipReason) -> Self:
        """Return the skip of a node."""
        return cls(node_label(node), node.op_type, reason.text, reason.cause, id(node))

    def position(self, order: dict[int, int]) -> int:
        """Return the position of the node in the graph, from positions by ``id(node)``."""
        return order.get(self.key, len(order))


def find_producers(
    graph: ir.Graph, operators: Operators = OPERATORS
) -> tuple[list[tuple[ir.Node, Layout]], list[Skip]]:
    """Return the nodes that produce units, and those that are skipped.

    Conv, ConvTranspose, Gemm and MatMul produce units if their weight is a constant with one axis
    for its units.  Any other node with a floating-point constant of two or more axes is skipped
    with a reason, so that all weights of a file are accounted for.

    Args:
        graph: The graph.
        operators: The operators, by name.

    Returns:
        Producers with the layouts of their outputs, and skipped nodes; both in the order of the
        graph.
    """
    producers: list[tuple[ir.Node, Layout]] = []
    skipped: list[Skip] = []
    for node in graph:
        if node.outputs and is_constant(node.outputs[0]):
            continue  # computed from weights alone, it is a weight of its consumer
        operator = operators.get(operator_name(node))
        if operator is not None and operator.weights is not None:
            layout = operator.weights.produced(node)
            if isinstance(layout, Layout) and not layout.units.size:
                skipped.append(Skip.of(node, SkipReason("its weights are empty")))
            elif isinstance(layout, Layout):
                producers.append((node, layout))
            elif layout:
                skipped.append(Skip.of(node, SkipReason(layout)))
        else:
            reason = _why_skipped(node, mixes=operator is not None and operator.mixes)
            if reason is not None:
                skipped.append(Skip.of(node, reason))
    return producers, skipped


def _why_skipped(node: ir.Node, *, mixes: bool) -> SkipReason | None:
    """Return why a node is skipped, None if it has no weights."""
    if subgraphs(node):
        text = f"{node.op_type} holds a graph of its own, which is not entered"
        return SkipReason(text, SkipCause.SUBGRAPH)
    for value in node.inputs:
        if value is None or not is_constant(value):
            continue
        floating = value.dtype is not None and value.dtype.is_floating_point()
        if not floating and not mixes:  # sizes and indices, not weights
            continue
        if sum(size != 1 for size in shape_of(value) or ()) >= 2:
            known = _WITHOUT_UNITS.get(node.op_type)
            return known or SkipReason(f"{node.op_type} has weights but no rule")
    return None


_RECURRENT = SkipReason(
    "recurrent: its units live in a state, which is not looked into", SkipCause.RECURRENT
)
_TABLE = SkipReason("looks rows of a table up: no unit is computed by its weights")
_POSITIONS = SkipReason("a number of its own for each place: no units")
_QUANTIZED = SkipReason("computes in whole numbers, which masks cannot be put between")
_WITHOUT_UNITS = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
    "Gather": _TABLE,
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), _POSITIONS),
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger"), _QUANTIZED
    ),
}
"""Why nodes of an operator that have weights are skipped; some of these are not in the table."""


def values_leading_to_weights(
    graph: ir.Graph, to_output: Set[int], operators: Operators = OPERATORS
) -> set[int]:
    """Return the ids of the values that lead to a node that mixes units.

    Args:
        graph: The graph.
        to_output: Ids of values; a node counts if one of its outputs is among them.
        operators: The operators, by name.
    """
    reached: set[int] = set()
    for node in reversed(graph):
        mixes = _mixes(node, operators) and any(id(value) in to_output for value in node.outputs)
        if mixes or any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in consumed_values(node))
    return reached


def _mixes(node: ir.Node, operators: Operators) -> bool:
    operator = operators.get(operator_name(node))
    mixes = node.domain not in STANDARD if operator is None else operator.mixes
    return mixes or any(_mixes(n, operators) for body in subgraphs(node) for n in body)


def values_leading_to_output(graph: ir.Graph, output: str | None) -> set[int]:
    """Return the ids of the values from which an output is computed; None takes every output."""
    reached = {id(value) for value in graph.outputs if output in (None, value.name)}
    for node in reversed(graph):
        if any(id(value) in reached for value in node.outputs):
            reached.update(id(value) for value in consumed_values(node))
    return reached
