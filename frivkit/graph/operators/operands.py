"""Operands of a node that are numbers: axes, sizes, bounds."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.edits import (
    Edit,
    NodeContext,
    UpdateShape,
)


def has_input(node: ir.Node, index: int) -> bool:
    """Whether an optional input is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


def integers(node: ir.Node, index: int, name: str) -> list[int] | None:
    """Read axes-like numbers: an attribute in old opsets, a constant input in new ones."""
    if name in node.attributes:
        return [int(number) for number in node.attributes[name].as_ints()]
    tensor = constant_tensor(node.inputs[index]) if index < len(node.inputs) else None
    return None if tensor is None else [int(n) for n in np.atleast_1d(tensor.numpy())]


def update_lengths(given: NodeContext, index: int, entries: dict[int, int]) -> list[Edit]:
    """Return the edits that rename lengths of output axes in an operand, but not 1, meaning any.

    Args:
        given: The node.
        index: The operand, a vector of lengths.
        entries: Its entry for each axis of the output.
    """
    known = constant_numbers(given, index)
    return [
        UpdateShape(index, entry, group_ids)
        for axis, entry in entries.items()
        if entry >= 0 and (group_ids := given.output.get(axis)) is not None
        if known is None or known[entry] != 1
    ]


def constant_numbers(given: NodeContext, index: int) -> list[int] | None:
    """Return the numbers of an operand in order, None if it is not a constant."""
    tensor = constant_tensor(given.operand(index))
    return None if tensor is None else [int(number) for number in tensor.numpy().ravel()]
