"""The cost of a model: its weights, and its multiply-accumulates for one example."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.layout import shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.table import OPERATORS


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one or several nodes.

    Attributes:
        parameters: The number of entries of their weights and biases.
        macs: Their multiply-accumulates for one example, None if a size is unknown.
    """

    parameters: int
    macs: int | None


def node_cost(*nodes: ir.Node, operators: Operators = OPERATORS) -> Cost:
    """Return the cost of weighted nodes together (see ``node_macs``).

    Weights that nodes share count once.  A bias counts when it is an input of the node, not when
    it is added by a node of its own.
    """
    weights = {
        id(value): shape_of(value) or ()
        for node in nodes
        for value in node.inputs[1:3]
        if value is not None and is_constant(value)
    }
    counts = [node_macs(node, operators) for node in nodes]
    return Cost(
        parameters=sum(prod(size or 1 for size in shape) for shape in weights.values()),
        macs=sum(n for n in counts if n is not None) if None not in counts else None,
    )


def node_macs(node: ir.Node, operators: Operators = OPERATORS) -> int | None:
    """Return the multiply-accumulates of one node for one example, None if a size is unknown.

    Operators without weights of their own count as 0, as is usual; biases and elementwise
    operators are left out.

    Args:
        node: The node; its tensors have known shapes.
        operators: The operators, by :func:`~frivkit.graph.operators.operator.operator_name`.

    Example:
        >>> x, y = (ir.Value(name=n, shape=ir.Shape(["N", s])) for n, s in (("x", 5), ("y", 3)))
        >>> weight = ir.Value(name="w", const_value=ir.tensor([[0.0] * 3] * 5))
        >>> weight.shape = ir.Shape([5, 3])
        >>> node_macs(ir.Node("", "MatMul", [x, weight], outputs=[y]))
        15
    """
    operator = operators.get(operator_name(node))
    return 0 if operator is None or operator.weights is None else operator.weights.macs(node)


def macs(graph: ir.Graph, operators: Operators = OPERATORS) -> int | None:
    """Return the multiply-accumulates of a graph for one example, None if a size is unknown.

    See :func:`node_macs`.
    """
    total = 0
    for node in graph:
        count = node_macs(node, operators)
        if count is None:
            return None
        total += count
    return total
