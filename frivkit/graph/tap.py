"""Find where to tap what a weighted node writes: right after the layer's nonlinearity."""

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY, Joins, Keeps, Layout
from frivkit.graph.model import is_constant
from frivkit.graph.rules import STANDARD, effect
from frivkit.graph.rules.elementwise import ELEMENTWISE, NONLINEAR

LONGEST_NONLINEARITY = 32
"""Nodes in the longest nonlinearity written in pieces that is looked for (GELU takes about 9)."""


def tap(start: ir.Value, layout: Layout, order: dict[int, int]) -> tuple[ir.Value, Layout]:
    """Follow units from the node that writes them to the tensor where the paper taps them.

    1. Single consumers are followed through bias, normalisation, residual sum and place-moving
       operators up to the first nonlinearity; its output is the tap.
    2. A nonlinearity may be many nodes: a fan-out that elementwise operators close again.
    3. Without a nonlinearity the tap is the last tensor before places are moved or pooled.

    Args:
        start: The output of the weighted node.
        layout: Where its units lie.
        order: The position of each node in the graph, by ``id(node)``.

    Returns:
        The tensor to tap, and where the units lie in it.
    """
    here, settled, moved = start, start, False
    lies, settled_layout = layout, layout
    while True:
        consumers = _consumers(here, order)
        if any(id(node) not in order for node in consumers):  # read inside an If or a Loop
            return settled, settled_layout
        if len(consumers) == 1:
            node = consumers[0]
            what = effect(node, next(i for i, v in enumerate(node.inputs) if v is here), lies)
            if isinstance(what, Joins) and (what.kind != "sum" or node.op_type == "Concat"):
                return settled, settled_layout
            if not isinstance(what, Keeps | Joins):
                return settled, settled_layout
            here, lies = node.outputs[0], what.layout
            nonlinear = isinstance(what, Keeps) and what.nonlinear
            moved = moved or (isinstance(what, Keeps) and what.places)
        else:
            closed = _closes_again(here, order)
            if closed is None:
                return settled, settled_layout
            here, nonlinear = closed
        if nonlinear:
            return here, lies
        if not moved:
            settled, settled_layout = here, lies


def _consumers(value: ir.Value, order: dict[int, int]) -> list[ir.Node]:
    nodes = {id(node): node for node in value.consumers() if node.op_type not in SHAPE_ONLY}
    return sorted(nodes.values(), key=lambda node: order.get(id(node), -1))


def _closes_again(start: ir.Value, order: dict[int, int]) -> tuple[ir.Value, bool] | None:
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
            if node not in taken and _stays_inside(node, inside)
        }
        if not candidates:
            return None
        node = min(candidates.values(), key=lambda node: order.get(id(node), -1))
        taken.append(node)
        inside.append(node.outputs[0])
        open_ = [v for v in inside if any(n not in taken for n in _consumers(v, order))]
        if len(open_) == 1 and open_[0] is inside[-1]:
            return inside[-1], any(_bends(n, inside) for n in taken)
    return None


def _stays_inside(node: ir.Node, inside: list[ir.Value]) -> bool:
    if node.op_type not in ELEMENTWISE or node.domain not in STANDARD:
        return False
    return all(v is None or _is_in(v, inside) or is_constant(v) for v in node.inputs)


def _bends(node: ir.Node, inside: list[ir.Value]) -> bool:
    """Tell whether a node makes the whole nonlinear: by itself, or by a product of two parts."""
    parts = sum(v is not None and _is_in(v, inside) for v in node.inputs)
    return node.op_type in NONLINEAR or (node.op_type in ("Mul", "Div") and parts > 1)


def _is_in(value: ir.Value, inside: list[ir.Value]) -> bool:
    return any(value is v for v in inside)
