"""What each operator does to the axes that units lie on, one family of operators a file."""

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Layout, Rule, shape_of
from frivkit.graph.rules import elementwise, normalisation, places, reshaping, weighted

STANDARD = ("", "ai.onnx", "com.microsoft")
RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **normalisation.RULES,
    **places.RULES,
    **reshaping.RULES,
    **weighted.RULES,
}
BY_PERIOD = frozenset(
    [*elementwise.RULES, *normalisation.RULES, *reshaping.RULES, "Transpose", "MatMul", "Einsum"]
)
"""Operators through which units are followed on an axis where the batch lies beside them."""


def effect(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Say what a node does to units that lie in its input ``index`` as ``layout`` tells.

    An operator without a rule ends the units and says so; nothing is guessed.
    """
    rule = RULES.get(node.op_type) if node.domain in STANDARD else None
    if rule is None:
        where = f"{node.domain}." if node.domain else ""
        return Ends(f"no rule for operator {where}{node.op_type}")
    shape = shape_of(node.inputs[index])
    with_batch = shape is not None and any(shape[axis] is None for axis in layout.axes)
    if with_batch and node.op_type not in BY_PERIOD:
        return Ends(f"{node.op_type} of an axis on which both examples and units lie")
    return rule(node, index, layout)
