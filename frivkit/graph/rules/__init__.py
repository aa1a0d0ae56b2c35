"""What each operator does to the axis that units lie on, one family of operators a file."""

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Layout, Rule
from frivkit.graph.rules import elementwise, normalisation, places, weighted

STANDARD = ("", "ai.onnx", "com.microsoft")
RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **normalisation.RULES,
    **places.RULES,
    **weighted.RULES,
}


def effect(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Say what a node does to units that lie in its input ``index`` as ``layout`` tells.

    An operator without a rule ends the units and says so; nothing is guessed.
    """
    rule = RULES.get(node.op_type) if node.domain in STANDARD else None
    if rule is None:
        where = f"{node.domain}." if node.domain else ""
        return Ends(f"no rule for operator {where}{node.op_type}")
    return rule(node, index, layout)
