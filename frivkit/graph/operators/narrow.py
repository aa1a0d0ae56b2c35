"""What must change in each operator when units leave, one family of operators a file."""

import onnx_ir as ir

from frivkit.graph.layout import shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators import (
    narrow_elementwise as elementwise,
)
from frivkit.graph.operators import (
    narrow_normalisation as normalisation,
)
from frivkit.graph.operators import (
    narrow_places as places,
)
from frivkit.graph.operators import (
    narrow_weighted as weighted,
)
from frivkit.graph.operators.constants import uncut
from frivkit.graph.operators.edits import (
    Cut,
    Edit,
    Fewer,
    Given,
    Holds,
    Names,
    Pieces,
    Restores,
    Rule,
)
from frivkit.graph.operators.propagate import STANDARD
from frivkit.graph.sites.group_ids import Ties

__all__ = [
    "RULES",
    "Cut",
    "Edit",
    "Fewer",
    "Given",
    "Holds",
    "Names",
    "Pieces",
    "Restores",
    "edits",
    "target",
]

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **normalisation.RULES,
    **places.RULES,
    **weighted.RULES,
}
SPLITTING = ("Split",)
"""Operators of which all outputs are looked at."""
OLDEST = 7
"""The first opset whose operators align axes as numpy does."""
OLDEST_MIN = 12
"""The first opset whose Min takes whole numbers, by which computed lengths are kept down."""


def edits(node: ir.Node, ties: Ties, model: Model) -> list[Edit]:
    """Say what must change in a node when units leave that lie in what it reads or writes.

    Args:
        node: The node.
        ties: Where units lie.
        model: The model that the node is of.

    Returns:
        The edits; those that cannot be made are replaced by holding the units they are for.
    """
    inputs, outputs = ([*map(ties.at, values)] for values in (node.inputs, node.outputs))
    given = Given(node, tuple(inputs), tuple(outputs))
    if not any(outputs) and not any(inputs):
        return []
    rule = RULES.get(node.op_type) if node.domain in STANDARD else None
    if rule is None:
        return given.held(f"no rule for slicing operator {node.op_type}")
    opset = model.ir.opset_imports.get("", 1)
    if opset < OLDEST:
        return given.held(f"operators of opset {opset} align axes by number")
    if not _fits(given):
        return given.held(f"{node.op_type} of an axis on which both examples and units lie")
    further = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    if given.output and further and node.op_type not in SPLITTING:
        return given.held(f"{node.op_type} has further outputs, which are read")
    return [_possible(given, asked, model) for asked in rule(given)]


def _fits(given: Given) -> bool:
    """Tell whether every axis of units is as long as there are marks."""
    for values, marks in ((given.node.inputs, given.inputs), (given.node.outputs, given.outputs)):
        for value, there in zip(values, marks, strict=True):
            shape = shape_of(value)
            if shape is not None and any(shape[a] != len(m) for a, m in there.items()):
                return False
    return True


def _possible(given: Given, edit: Edit, model: Model) -> Edit:
    if isinstance(edit, Cut):
        value = given.operand(edit.index)
        if value is not None and not given.constant(edit.index):
            return Holds(f"{value.name!r} is computed", edit.marks)
        reason = uncut(value, edit.axis, len(edit.marks))
        return edit if reason is None else Holds(reason, edit.marks)
    if isinstance(edit, Names) and constant_tensor(given.operand(edit.index)) is None:
        early = model.ir.opset_imports.get("", 1) < OLDEST_MIN
        if early and target(given.node, model) is None:
            return Holds("a length is computed, before opset 12", edit.marks)
    return edit


def target(node: ir.Node, model: Model) -> list[int] | None:
    """Give the shape that a Reshape asks for, as numbers: -1 for the one size that is open.

    None for another operator, where more sizes are open, or where the model takes inputs of other
    sizes than those it was examined with.
    """
    sizes = shape_of(node.outputs[0])
    open_ = any(None in spec.shape for spec in model.inputs)
    if node.op_type != "Reshape" or sizes is None or open_ or sizes.count(None) > 1:
        return None
    return [-1 if size is None else size for size in sizes]
