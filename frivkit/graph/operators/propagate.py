"""What each operator does to the axes that units lie on, one family of operators a file."""

from collections.abc import Mapping

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Layout, Rule, shape_of
from frivkit.graph.operators import (
    propagate_elementwise as elementwise,
)
from frivkit.graph.operators import (
    propagate_normalisation as normalisation,
)
from frivkit.graph.operators import (
    propagate_places as places,
)
from frivkit.graph.operators import (
    propagate_reshaping as reshaping,
)
from frivkit.graph.operators import (
    propagate_weighted as weighted,
)

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


def operator_name(node: ir.Node) -> str:
    """Give the name under which a node's rule is found: with its domain, if that is not ONNX's."""
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"


def effect(
    node: ir.Node, index: int, layout: Layout, operators: Mapping[str, Rule] = RULES
) -> Effect:
    """Say what a node does to units that lie in its input ``index`` as ``layout`` tells.

    An operator without a rule ends the units and says so; nothing is guessed.

    Args:
        node: The node.
        index: The input.
        layout: Where units lie in it.
        operators: The rules, by :func:`operator_name`.
    """
    rule = operators.get(operator_name(node))
    if rule is None:
        return Ends(f"no rule for operator {operator_name(node)}")
    shape = shape_of(node.inputs[index])
    with_batch = shape is not None and any(shape[axis] is None for axis in layout.axes)
    if with_batch and node.op_type not in BY_PERIOD:
        return Ends(f"{node.op_type} of an axis on which both examples and units lie")
    return rule(node, index, layout)
