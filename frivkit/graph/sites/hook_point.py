"""Find where to tap what a weighted node writes: right after the layer's nonlinearity."""

from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY, Layout, rank_of, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.effects import Coupled, Kept
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.table import OPERATORS, effect

LONGEST_NONLINEARITY = 32
"""Nodes in the longest nonlinearity written in pieces that is looked for (GELU takes about 9)."""


def find_hook_point(
    start: ir.Value,
    layout: Layout,
    order: dict[int, int],
    operators: Operators = OPERATORS,
) -> tuple[ir.Value, Layout]:
    """Follow units from the node that writes them to the tensor where the paper taps them.

    1. Single consumers are followed through bias, normalisation, residual sum and place-moving
       operators up to the first nonlinearity; its output is the tap.
    2. A nonlinearity may be many nodes: a fan-out that elementwise operators close again, or
       elementwise nodes in a row (``1 / (1 + exp(-x))``), of which the last that bends counts.
    3. Without a nonlinearity the tap is the last tensor before places are moved or pooled.
    4. Only a tensor of floating-point numbers is tapped, not a bool on its way to one.

    Args:
        start: The output of the weighted node.
        layout: Where its units lie.
        order: The position of each node in the graph, by ``id(node)``.
        operators: What each operator does to units.

    Returns:
        The tensor to tap, and where the units lie in it.
    """
    here = _Step(start, layout)
    settled, moved, bent = here, False, False
    while True:
        following = _step(here, order, operators)
        if following is None:
            break
        here = following
        moved, bent = moved or here.moves, bent or here.bends
        if bent and _floating(here.value):
            here = settled = _row(here, order, operators)
            break
        if not moved and _floating(here.value):
            settled = here
    return settled.value, settled.layout


@dataclass(frozen=True, slots=True)
class _Step:
    """A tensor on the way, and what the step to it did."""

    value: ir.Value
    layout: Layout
    bends: bool = False
    moves: bool = False
    alone: bool = False  # made of the tensor before, entry by entry, and of nothing else


def _step(here: _Step, order: dict[int, int], operators: Operators) -> _Step | None:
    """Go on to the one tensor that is made of this one, None where there is no such tensor."""
    consumers = _consumers(here.value, order)
    if any(id(node) not in order for node in consumers):  # read inside an If or a Loop
        return None
    taken = [(n, i) for n in consumers for i, v in enumerate(n.inputs) if v is here.value]
    if len(taken) != 1:
        closed = _closes_again(here.value, order, operators)
        return None if closed is None else _Step(closed[0], here.layout, closed[1], alone=True)
    node, index = taken[0]
    known = operators.get(operator_name(node))
    if known is None or known.mixes:
        return None
    what = effect(node, index, here.layout, operators)
    if isinstance(what, Kept):
        bends, moves = what.nonlinear, what.moves_positions
        return _Step(node.outputs[0], what.layout, bends, moves, known.elementwise)
    if isinstance(what, Coupled) and what.kind == "sum" and node.op_type != "Concat":
        return _Step(node.outputs[0], what.layout)
    return None


def _row(bent: _Step, order: dict[int, int], operators: Operators) -> _Step:
    """Go on through elementwise nodes to the last one that bends."""
    last, here = bent, _step(bent, order, operators)
    while here is not None and here.alone:
        if here.bends and _floating(here.value):
            last = here
        here = _step(here, order, operators)
    return last


def _floating(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _consumers(value: ir.Value, order: dict[int, int]) -> list[ir.Node]:
    nodes = {id(node): node for node in value.consumers() if node.op_type not in SHAPE_ONLY}
    return sorted(nodes.values(), key=lambda node: order.get(id(node), -1))


def _closes_again(
    start: ir.Value, order: dict[int, int], operators: Operators
) -> tuple[ir.Value, bool] | None:
    """Find the one tensor into which elementwise nodes gather all that is computed from ``start``.

    Returns:
        That tensor and whether it is a nonlinear function of ``start``, or None.
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
        open_ = [v for v in inside if any(n not in taken for n in _consumers(v, order))]
        if len(open_) == 1 and open_[0] is inside[-1]:
            return inside[-1], any(_bends(n, inside, operators) for n in taken)
    return None


def _stays_inside(node: ir.Node, inside: list[ir.Value], operators: Operators) -> bool:
    known = operators.get(operator_name(node))
    if known is None or not known.elementwise:
        return False
    if shape_of(node.outputs[0]) != shape_of(inside[0]) or rank_of(inside[0]) is None:
        return False  # a constant of more axes or entries spreads the units
    return all(v is None or _is_in(v, inside) or is_constant(v) for v in node.inputs)


def _bends(node: ir.Node, inside: list[ir.Value], operators: Operators) -> bool:
    """Whether a node makes the whole nonlinear: by itself, or by a product of two parts."""
    parts = sum(v is not None and _is_in(v, inside) for v in node.inputs)
    return operators[operator_name(node)].nonlinear or (
        node.op_type in ("Mul", "Div") and parts > 1
    )


def _is_in(value: ir.Value, inside: list[ir.Value]) -> bool:
    return any(value is v for v in inside)
