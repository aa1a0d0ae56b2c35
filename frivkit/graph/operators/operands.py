"""Operands of a node that are lists of integers: axes, sizes, bounds."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.edits import (
    Edit,
    NodeContext,
    UpdateShape,
)


def has_input(node: ir.Node, index: int) -> bool:
    """Whether a node has an optional input."""
    return index < len(node.inputs) and node.inputs[index] is not None


def integers(node: ir.Node, index: int, name: str) -> list[int] | None:
    """Return integers that are an attribute in old opsets and a constant input in new ones.

    Args:
        node: The node.
        index: The input.
        name: The attribute.

    Returns:
        The integers, None if they are computed or left out.
    """
    if name in node.attributes:
        return [int(number) for number in node.attributes[name].as_ints()]
    tensor = constant_tensor(node.inputs[index]) if index < len(node.inputs) else None
    return None if tensor is None else [int(n) for n in np.atleast_1d(tensor.numpy())]


def update_lengths(context: NodeContext, index: int, entries: dict[int, int]) -> list[Edit]:
    """Return the edits of an operand that holds lengths of output axes; a 1 in it is not changed.

    Args:
        context: The node.
        index: The operand, a vector of lengths.
        entries: By axis of the output its entry of the vector, below 0 for none.
    """
    known = constant_numbers(context, index)
    return [
        UpdateShape(index, entry, group_ids)
        for axis, entry in entries.items()
        if entry >= 0 and (group_ids := context.output.get(axis)) is not None
        if known is None or known[entry] != 1
    ]


def constant_numbers(context: NodeContext, index: int) -> list[int] | None:
    """Return the entries of an operand in order, None if it is not a constant."""
    tensor = constant_tensor(context.operand(index))
    return None if tensor is None else [int(number) for number in tensor.numpy().ravel()]
