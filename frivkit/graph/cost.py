"""The cost of a model: its weights, and its multiply-accumulates for one example."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.layout import shape_of
from frivkit.graph.model import is_constant, subgraphs
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.table import OPERATORS
from frivkit.graph.operators.without_rule import MULTIPLYING, WITHOUT_PRODUCTS


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

    Products of two tensors count, whether one of them is a weight or none; biases and elementwise
    operators are left out, as is usual.

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
    if operator is None:
        return 0
    count = operator.macs if operator.weights is None else operator.weights.macs
    return 0 if count is None else count(node)


def uncounted(graph: ir.Graph, operators: Operators = OPERATORS) -> tuple[str, ...]:
    """Return the operators of a graph whose multiply-accumulates :func:`macs` leaves out.

    They are operators that nothing is known of, that multiply tensors in a way that is not counted,
    and those that hold graphs of their own with such operators or weights.

    Returns:
        Their names, each once, in the order of the graph.

    Example:
        >>> x, y = (ir.Value(name=name, shape=ir.Shape(["N", 4])) for name in "xy")
        >>> node = ir.Node("org.example", "Blend", [x], outputs=[y])
        >>> uncounted(ir.Graph([x], [y], nodes=[node]))
        ('org.example.Blend',)
    """
    names: dict[str, None] = {}
    for node in graph:
        constant = bool(node.outputs) and is_constant(node.outputs[0])
        if not constant and _is_uncounted(node, operators):
            names[operator_name(node)] = None
    return tuple(names)


def _is_uncounted(node: ir.Node, operators: Operators) -> bool:
    bodies = subgraphs(node)
    if bodies:
        return any(uncounted(body, operators) or macs(body, operators) != 0 for body in bodies)
    operator = operators.get(operator_name(node))
    if operator is not None:
        return operator.mixes and operator.weights is None and operator.macs is None
    if node.domain == "" and operator_name(node) not in MULTIPLYING:
        return False
    return operator_name(node) not in WITHOUT_PRODUCTS


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
