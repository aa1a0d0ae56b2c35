"""What must change in a node when units leave: the words of :mod:`frivkit.graph.cuts`.

Edits are found once for a model and name groups of units, not units that leave; which leave is
filled in when the model is narrowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_GROUP, GroupIds, Numbers, shape_of
from frivkit.graph.model import is_constant


@dataclass(frozen=True, slots=True)
class SliceOperand:
    """A constant operand loses the entries along ``axis`` whose group leaves."""

    index: int
    axis: int
    group_ids: Numbers


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """Entry ``entry`` of an operand names the length of an axis, which becomes what stays."""

    index: int
    entry: int
    group_ids: Numbers


@dataclass(frozen=True, slots=True)
class UpdateGroupCount:
    """The attribute ``group`` counts the groups of a convolution that stay, one mark each."""

    group_ids: Numbers


@dataclass(frozen=True, slots=True)
class UpdateSplit:
    """Output ``output`` of a Split becomes as long as what stays of it."""

    output: int
    group_ids: Numbers


@dataclass(frozen=True, slots=True)
class CompensateShape:
    """Entry ``entry`` of the node's output, a shape, goes on saying what it said."""

    entry: int
    group_ids: Numbers


@dataclass(frozen=True, slots=True)
class Locked:
    """The groups of ``group_ids`` cannot leave, for ``reason``."""

    reason: str
    group_ids: Numbers


Edit = SliceOperand | UpdateShape | UpdateGroupCount | UpdateSplit | CompensateShape | Locked


@dataclass(frozen=True, slots=True)
class NodeContext:
    """A node, and where units lie in what it reads and writes."""

    node: ir.Node
    inputs: tuple[GroupIds, ...]
    outputs: tuple[GroupIds, ...]

    @property
    def output(self) -> GroupIds:
        """Where they lie in the first output."""
        return self.outputs[0] if self.outputs else {}

    def located(self, index: int, axis: int) -> Numbers | None:
        """Return the marks of an axis of an operand, None where no units lie on it."""
        return self.inputs[index].get(axis) if index < len(self.inputs) else None

    def locked(self, reason: str) -> list[Edit]:
        """Hold all units that the node reads or writes."""
        every = [
            group_ids for there in (*self.inputs, *self.outputs) for group_ids in there.values()
        ]
        return [Locked(reason, group_ids) for group_ids in every]

    def constant(self, index: int) -> bool:
        """Whether an operand is there and is the same in every run."""
        value = self.operand(index)
        return value is not None and is_constant(value)

    def computed(self, index: int) -> bool:
        """Whether an operand is there and is not the same in every run."""
        value = self.operand(index)
        return value is not None and not is_constant(value)

    def operand(self, index: int) -> ir.Value | None:
        """Return an operand, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None


NarrowingRule = Callable[[NodeContext], Sequence[Edit]]
"""A rule: from a node and where units lie to what must change, or which units cannot leave."""


def unchanged(given: NodeContext) -> list[Edit]:
    """Leave the node as it is: its units go through, and nothing in it counts them."""
    del given
    return []


def broadcast(given: NodeContext, indices: Sequence[int] | None = None) -> list[Edit]:
    """Cut the constants that are spread over the output, and hold what meets no units.

    Args:
        given: The node.
        indices: The operands that are spread as numpy does, aligned at the back; None for all.
    """
    edits: list[Edit] = []
    for index in range(len(given.node.inputs)) if indices is None else indices:
        value, shape = given.operand(index), shape_of(given.node.outputs[0])
        if value is None:
            continue
        mine = shape_of(value)
        if mine is None or shape is None:
            return given.locked(f"{value.name!r} has no known shape")
        for axis, group_ids in given.output.items():
            there = axis - (len(shape) - len(mine))
            if there < 0 or mine[there] == 1:
                continue
            if is_constant(value):
                edits.append(SliceOperand(index, there, group_ids))
                continue
            beside = given.inputs[index].get(there, np.full(len(group_ids), NO_GROUP))
            edits += require_same_groups(group_ids, beside, value)
    return edits


def require_same_groups(group_ids: Numbers, beside: Numbers, value: ir.Value) -> list[Edit]:
    """Hold the units that lie where others, or none, lie in a computed operand."""
    differ = group_ids != beside
    if not differ.any():
        return []
    reason = f"met by {value.name!r}, where other units or none lie"
    return [Locked(reason, np.concatenate([group_ids[differ], beside[differ]]))]
