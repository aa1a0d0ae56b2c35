"""All operators that frivkit knows: what each does to units, and what changes when units leave."""

from collections.abc import Callable

import onnx_ir as ir

from frivkit.graph.layout import GroupIds, Layout, shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators import elementwise, indexing, normalization, shape, spatial, weighted
from frivkit.graph.operators.constants import uncut
from frivkit.graph.operators.edits import Edit, Locked, NodeContext, SliceOperand, UpdateShape
from frivkit.graph.operators.effects import Effect, Untraceable
from frivkit.graph.operators.operator import Operators, operator_name

OPERATORS: Operators = {
    **elementwise.OPERATORS,
    **normalization.OPERATORS,
    **spatial.OPERATORS,
    **indexing.OPERATORS,
    **shape.OPERATORS,
    **weighted.OPERATORS,
}
SPLITTING = ("Split",)
"""Operators of which all outputs are looked at."""
OLDEST = 7
"""The first opset whose operators align axes as numpy does."""
OLDEST_MIN = 12
"""The first opset whose Min takes whole numbers, by which computed lengths are kept down."""


def operators_of(model: Model) -> Operators:
    """Return the operators that hold for a model: frivkit's own, then those of plugins."""
    return {**OPERATORS, **model.operators}


def effect(node: ir.Node, index: int, layout: Layout, operators: Operators = OPERATORS) -> Effect:
    """Return what a node does to units that lie in its input ``index`` as ``layout`` says.

    An operator that is not known ends the units and says so; nothing is guessed.

    Args:
        node: The node.
        index: The input.
        layout: Where units lie in it.
        operators: The operators, by :func:`operator_name`.
    """
    operator = operators.get(operator_name(node))
    if operator is None:
        return Untraceable(f"no rule for operator {operator_name(node)}")
    sizes = shape_of(node.inputs[index])
    with_batch = sizes is not None and any(sizes[axis] is None for axis in layout.axes)
    if with_batch and not operator.beside_batch:
        return Untraceable(f"{node.op_type} of an axis on which both examples and units lie")
    return operator.propagate(node, index, layout)


def edits(
    node: ir.Node, located: Callable[[ir.Value | None], GroupIds], model: Model
) -> list[Edit]:
    """Return what must change in a node when units leave that lie in what it reads or writes.

    Args:
        node: The node.
        located: From a tensor to the groups of units on its axes.
        model: The model that the node is of.

    Returns:
        The edits; those that cannot be made are replaced by holding the units they are for.
    """
    inputs, outputs = ([*map(located, values)] for values in (node.inputs, node.outputs))
    given = NodeContext(node, tuple(inputs), tuple(outputs))
    if not any(outputs) and not any(inputs):
        return []
    operator = operators_of(model).get(operator_name(node))
    if operator is None or operator.narrow is None:
        return given.locked(f"no rule for slicing operator {operator_name(node)}")
    opset = model.ir.opset_imports.get("", 1)
    if opset < OLDEST:
        return given.locked(f"operators of opset {opset} align axes by number")
    if not _fits(given):
        return given.locked(f"{node.op_type} of an axis on which both examples and units lie")
    further = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    if given.output and further and node.op_type not in SPLITTING:
        return given.locked(f"{node.op_type} has further outputs, which are read")
    return [_possible(given, asked, model) for asked in operator.narrow(given)]


def _fits(given: NodeContext) -> bool:
    """Whether every axis of units is as long as there are marks."""
    for values, group_ids in (
        (given.node.inputs, given.inputs),
        (given.node.outputs, given.outputs),
    ):
        for value, there in zip(values, group_ids, strict=True):
            shape = shape_of(value)
            if shape is not None and any(shape[a] != len(m) for a, m in there.items()):
                return False
    return True


def _possible(given: NodeContext, edit: Edit, model: Model) -> Edit:
    if isinstance(edit, SliceOperand):
        value = given.operand(edit.index)
        if value is not None and not given.constant(edit.index):
            return Locked(f"{value.name!r} is computed", edit.group_ids)
        reason = uncut(value, edit.axis, len(edit.group_ids))
        return edit if reason is None else Locked(reason, edit.group_ids)
    if isinstance(edit, UpdateShape) and constant_tensor(given.operand(edit.index)) is None:
        early = model.ir.opset_imports.get("", 1) < OLDEST_MIN
        if early and target(given.node, model) is None:
            return Locked("a length is computed, before opset 12", edit.group_ids)
    return edit


def target(node: ir.Node, model: Model) -> list[int] | None:
    """Return the shape that a Reshape asks for, as numbers: -1 for the one size that is open.

    None for another operator, where more sizes are open, or where the model takes inputs of other
    sizes than those it was examined with.
    """
    sizes = shape_of(node.outputs[0])
    open_ = any(None in spec.shape for spec in model.inputs)
    if node.op_type != "Reshape" or sizes is None or open_ or sizes.count(None) > 1:
        return None
    return [-1 if size is None else size for size in sizes]
