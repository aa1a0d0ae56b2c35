"""The table of all operators that frivkit knows, and their effects and edits."""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from frivkit.graph.layout import GroupIds, Layout, shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators import (
    attention,
    choosing,
    elementwise,
    indexing,
    normalization,
    sampling,
    shape,
    spatial,
    weighted,
)
from frivkit.graph.operators.constants import why_not_sliceable
from frivkit.graph.operators.edits import Edit, Locked, NodeContext, SliceOperand, UpdateShape
from frivkit.graph.operators.effects import (
    Coupled,
    Effect,
    Kept,
    Split,
    Stacked,
    Untraceable,
)
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.without_rule import REASONS

OPERATORS: Operators = {
    **elementwise.OPERATORS,
    **normalization.OPERATORS,
    **spatial.OPERATORS,
    **sampling.OPERATORS,
    **indexing.OPERATORS,
    **choosing.OPERATORS,
    **shape.OPERATORS,
    **weighted.OPERATORS,
    **attention.OPERATORS,
}
SPLITTING = ("Split", "TopK", "MaxPool")
"""Operators whose outputs can all have units."""
OLDEST = 7
"""The first opset whose operators broadcast as numpy does."""
OLDEST_MIN = 12
"""The first opset whose Min takes integers, which bounds computed lengths."""


def operators_of(model: Model) -> Operators:
    """Return the operators of a model: those of frivkit, replaced and extended by plugins'."""
    return {**OPERATORS, **model.operators}


def effect(node: ir.Node, index: int, layout: Layout, operators: Operators = OPERATORS) -> Effect:
    """Return the effect of a node on the units in one of its inputs.

    Units cannot be followed through an unknown operator: nothing is guessed.

    Args:
        node: The node.
        index: The input.
        layout: The layout of the units in it.
        operators: The operators, by :func:`operator_name`.

    Example:
        >>> x, y = (ir.Value(name=name, shape=ir.Shape(["N", 4])) for name in "xy")
        >>> relu = ir.Node("", "Relu", [x], outputs=[y])
        >>> effect(relu, 0, Layout.of(axis=1, width=4)).nonlinear
        True
    """
    name = operator_name(node)
    operator = operators.get(name)
    if operator is None:
        reason = REASONS.get(name)
        if reason is not None:
            return Untraceable(f"{name} {reason}")
        return Untraceable(f"no rule for operator {name}", unknown_operator=name)
    sizes = shape_of(node.inputs[index])
    with_batch = sizes is not None and any(sizes[axis] is None for axis in layout.axes)
    if with_batch and not operator.beside_batch:
        return Untraceable(f"{node.op_type} of an axis on which both examples and units lie")
    result = operator.propagate(node, index, layout)
    if not all(_fits(value, each) for value, each in _reached(node, result)):
        return Untraceable(f"{node.op_type} whose output has another shape than follows from it")
    return result


def _reached(node: ir.Node, result: Effect) -> Iterator[tuple[ir.Value, Layout]]:
    """Yield the outputs that units reach, and their layouts there."""
    match result:
        case Split():
            pairs = zip(node.outputs, result.layouts, strict=False)
            yield from ((value, each) for value, each in pairs if each is not None)
        case Stacked():
            yield from ((node.outputs[0], each) for each in result.layouts)
        case Kept():
            yield node.outputs[0], result.layout
        case Coupled() if result.kind != "inner":
            yield node.outputs[0], result.layout


def _fits(value: ir.Value, layout: Layout) -> bool:
    """Whether a layout may lie in a tensor: its axes are there, and as long as it says."""
    sizes = shape_of(value)
    if sizes is None:
        return True
    return all(
        0 <= axis < len(sizes) and sizes[axis] in (None, length)
        for axis, length in zip(layout.axes, layout.units.shape, strict=True)
    )


def edits(
    node: ir.Node, located: Callable[[ir.Value | None], GroupIds], model: Model
) -> list[Edit]:
    """Return the edits of a node for units in its operands and outputs.

    Args:
        node: The node.
        located: A function from a tensor to the groups of units on its axes.
        model: The model of the node.

    Returns:
        The edits; one that cannot be made is replaced by locking its units.
    """
    inputs, outputs = ([*map(located, values)] for values in (node.inputs, node.outputs))
    context = NodeContext(node, tuple(inputs), tuple(outputs))
    if not any(outputs) and not any(inputs):
        return []
    operator = operators_of(model).get(operator_name(node))
    if operator is None or operator.narrow is None:
        return context.locked(f"no rule for slicing operator {operator_name(node)}")
    opset = model.ir.opset_imports.get("", 1)
    if opset < OLDEST:
        return context.locked(f"operators of opset {opset} align axes by number")
    if not _ids_fit(context):
        return context.locked(f"{node.op_type} of an axis on which both examples and units lie")
    further = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    if context.output and further and node.op_type not in SPLITTING:
        return context.locked(f"{node.op_type} has further outputs, which are read")
    return [_checked(context, edit, model) for edit in operator.narrow(context)]


def _ids_fit(context: NodeContext) -> bool:
    """Whether every axis of units has one group id for each position."""
    for values, group_ids in (
        (context.node.inputs, context.inputs),
        (context.node.outputs, context.outputs),
    ):
        for value, by_axis in zip(values, group_ids, strict=True):
            shape = shape_of(value)
            if shape is not None and any(shape[a] != len(ids) for a, ids in by_axis.items()):
                return False
    return True


def _checked(context: NodeContext, edit: Edit, model: Model) -> Edit:
    if isinstance(edit, SliceOperand):
        value = context.operand(edit.index)
        if value is not None and not context.constant(edit.index):
            return Locked(f"{value.name!r} is computed", edit.group_ids)
        reason = why_not_sliceable(value, edit.axis, len(edit.group_ids))
        return edit if reason is None else Locked(reason, edit.group_ids)
    if isinstance(edit, UpdateShape) and constant_tensor(context.operand(edit.index)) is None:
        early = model.ir.opset_imports.get("", 1) < OLDEST_MIN
        if early and reshape_target(context.node, model) is None:
            return Locked("a length is computed, before opset 12", edit.group_ids)
    return edit


def reshape_target(node: ir.Node, model: Model) -> list[int] | None:
    """Return the target shape of a Reshape, with -1 for the one size that is open.

    Returns:
        None for another operator, if more sizes are open, or if inputs of the model have open
        sizes besides the batch.
    """
    sizes = shape_of(node.outputs[0])
    if node.op_type != "Reshape" or sizes is None or model.has_open_sizes or sizes.count(None) > 1:
        return None
    return [-1 if size is None else size for size in sizes]
