"""Find the hook point of a weighted node's units: the tensor behind the layer's nonlinearity."""

from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY, Layout, rank_of, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.effects import Coupled, Kept
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.table import OPERATORS, effect

LONGEST_NONLINEARITY = 32
"""The most nodes of a nonlinearity that is written as several nodes (GELU takes about 9)."""


def find_hook_point(
    start: ir.Value,
    layout: Layout,
    order: dict[int, int],
    operators: Operators = OPERATORS,
) -> tuple[ir.Value, Layout]:
    """Follow units from their producer to the tensor where they are read and masked.

    1. Single consumers are followed through bias, normalization, residual sum and operators that
       move positions, up to the first nonlinearity; its output is the hook point.
    2. A nonlinearity may be several nodes: branches that elementwise operators bring together
       again, or elementwise nodes in a row (``1 / (1 + exp(-x))``), of which the last nonlinear one
       counts.
    3. Without a nonlinearity the hook point is the last tensor before positions are moved or
       pooled.
    4. The hook point is a tensor of floating-point numbers, never of booleans.

    Args:
        start: The output of the producer.
        layout: The layout of its units there.
        order: The position of each node in the graph, by ``id(node)``.
        operators: The operators, by name.

    Returns:
        The hook point, and the layout of the units in it.

    Source: Casper et al., "Frivolous Units", AAAI 2021, which reads units behind nonlinearities.
    """
    current = _Step(start, layout)
    hook_point, moved, nonlinear = current, False, False
    while True:
        following = _next_step(current, order, operators)
        if following is None:
            break
        current = following
        moved = moved or current.moves_positions
        nonlinear = nonlinear or current.nonlinear
        if nonlinear and _floating(current.value):
            hook_point = _last_nonlinear(current, order, operators)
            break
        if not moved and _floating(current.value):
            hook_point = current
    return hook_point.value, hook_point.layout


@dataclass(frozen=True, slots=True)
class _Step:
    """A tensor on the way from a producer, and the properties of the step that led to it.

    Attributes:
        value: The tensor.
        layout: The layout of the units in it.
        nonlinear: Whether the step is a nonlinearity.
        moves_positions: Whether it moves or pools positions.
        elementwise: Whether each entry depends on one entry of the tensor before, and no other.
    """

    value: ir.Value
    layout: Layout
    nonlinear: bool = False
    moves_positions: bool = False
    elementwise: bool = False


def _next_step(current: _Step, order: dict[int, int], operators: Operators) -> _Step | None:
    """Return the step to the only tensor that is computed from this one, None if there is none."""
    consumers = _consumers(current.value, order)
    uses = [use for use in current.value.uses() if use.node.op_type not in SHAPE_ONLY]
    if any(id(node) not in order for node in consumers):  # consumed inside an If or a Loop
        return None
    if len(uses) != 1:
        closing = _closing_tensor(current.value, order, operators)
        return closing and _Step(closing[0], current.layout, closing[1], elementwise=True)
    return _step_through(uses[0].node, uses[0].idx, current.layout, operators)


def _step_through(node: ir.Node, index: int, layout: Layout, operators: Operators) -> _Step | None:
    """Return the step through a node that keeps the units of one of its inputs, else None."""
    operator = operators.get(operator_name(node))
    if operator is None or operator.mixes:
        return None
    result = effect(node, index, layout, operators)
    if isinstance(result, Kept):
        return _Step(
            node.outputs[0],
            result.layout,
            result.nonlinear,
            result.moves_positions,
            operator.elementwise,
        )
    if isinstance(result, Coupled) and result.kind == "sum" and node.op_type != "Concat":
        return _Step(node.outputs[0], result.layout)
    return None


def _last_nonlinear(first: _Step, order: dict[int, int], operators: Operators) -> _Step:
    """Return the last nonlinear step of the elementwise nodes that follow a nonlinear one."""
    last, current = first, _next_step(first, order, operators)
    while current is not None and current.elementwise:
        if current.nonlinear and _floating(current.value):
            last = current
        current = _next_step(current, order, operators)
    return last


def _floating(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _consumers(value: ir.Value, order: dict[int, int]) -> list[ir.Node]:
    nodes = {id(node): node for node in value.consumers() if node.op_type not in SHAPE_ONLY}
    return sorted(nodes.values(), key=lambda node: order.get(id(node), -1))


def _closing_tensor(
    start: ir.Value, order: dict[int, int], operators: Operators
) -> tuple[ir.Value, bool] | None:
    """Find the one tensor in which elementwise nodes bring together all consumers of a tensor.

    Returns:
        That tensor, and whether it is a nonlinear function of ``start``; None if there is none.
    """
    inside: list[ir.Value] = [start]
    taken: list[ir.Node] = []
    while len(taken) < LONGEST_NONLINEARITY:
        candidates = {
            id(node): node
            for value in inside
            for node in _consumers(value, order)
            if id(node) in order and node not in taken and _stays_inside(node, inside, operators)
        }
        if not candidates:
            return None
        node = min(candidates.values(), key=lambda node: order.get(id(node), -1))
        taken.append(node)
        inside.append(node.outputs[0])
        unfinished = [v for v in inside if any(n not in taken for n in _consumers(v, order))]
        if len(unfinished) == 1 and unfinished[0] is inside[-1]:
            return inside[-1], any(_is_nonlinear(n, inside, operators) for n in taken)
    return None


def _stays_inside(node: ir.Node, inside: list[ir.Value], operators: Operators) -> bool:
    operator = operators.get(operator_name(node))
    if operator is None or not operator.elementwise:
        return False
    if shape_of(node.outputs[0]) != shape_of(inside[0]) or rank_of(inside[0]) is None:
        return False  # a constant of more axes or entries broadcasts the units
    return all(v is None or _is_in(v, inside) or is_constant(v) for v in node.inputs)


def _is_nonlinear(node: ir.Node, inside: list[ir.Value], operators: Operators) -> bool:
    """Whether a node is nonlinear in the start: by itself, or as a product of two branches."""
    branches = sum(v is not None and _is_in(v, inside) for v in node.inputs)
    return operators[operator_name(node)].nonlinear or (
        node.op_type in ("Mul", "Div") and branches > 1
    )


def _is_in(value: ir.Value, inside: list[ir.Value]) -> bool:
    return any(value is v for v in inside)
