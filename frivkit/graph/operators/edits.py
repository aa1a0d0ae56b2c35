"""Edits of a node when units are removed: the results of narrowing rules.

Edits are computed once for a model and refer to pruning groups; which of these are removed is
decided when the model is narrowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_GROUP, GroupIds, IntArray, shape_of
from frivkit.graph.model import is_constant


@dataclass(frozen=True, slots=True)
class SliceOperand:
    """A constant operand loses the entries along an axis whose group is removed.

    Attributes:
        index: The operand.
        axis: The axis.
        group_ids: The group of each entry, shape (entries,).
    """

    index: int
    axis: int
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class SelectOperand:
    """A computed operand without units loses the entries along an axis whose group is removed.

    Attributes:
        index: The operand.
        axis: The axis.
        group_ids: The group of each entry, shape (entries,).
    """

    index: int
    axis: int
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class SetAttribute:
    """An attribute that was left out gets the number that it had before groups were removed.

    Attributes:
        name: The attribute.
        number: The number.
        group_ids: The groups on which its default depends, shape (entries,).
    """

    name: str
    number: float
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """An entry of an operand is the length of an axis, and becomes the number of groups that stay.

    Attributes:
        index: The operand, a vector of lengths.
        entry: The entry of it.
        group_ids: The group at each position of the axis, shape (positions,).
    """

    index: int
    entry: int
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class UpdateGroupCount:
    """The attribute ``group`` of a convolution becomes the number of its groups that stay.

    Attributes:
        group_ids: The pruning group of each group of the convolution, shape (groups,).
    """

    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class UpdateSplit:
    """An output of a Split becomes as long as the number of its positions that stay.

    Attributes:
        output: The output.
        group_ids: The group at each of its positions, shape (positions,).
    """

    output: int
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class CompensateShape:
    """An entry of the node's output, a shape, keeps its value although the axis gets shorter.

    Attributes:
        entry: The entry.
        group_ids: The group at each position of the axis, shape (positions,).
    """

    entry: int
    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class KeepStatistics:
    """A norm over the last axis takes its statistics as if the removed entries were zeros.

    Attributes:
        group_ids: The group at each position of that axis, shape (positions,).
    """

    group_ids: IntArray


@dataclass(frozen=True, slots=True)
class KeepMean:
    """A mean over the last axis, part of a norm in pieces, counts the removed entries as zeros.

    Attributes:
        group_ids: The group at each position of that axis, shape (positions,).
        centred: Whether it is the mean of squares of entries from which their mean was subtracted,
            so that what is zero before that is the square of the mean.
    """

    group_ids: IntArray
    centred: bool


@dataclass(frozen=True, slots=True)
class Locked:
    """Groups that cannot be removed.

    Attributes:
        reason: The reason, for messages.
        group_ids: The groups, ``NO_GROUP`` among them ignored.
    """

    reason: str
    group_ids: IntArray


Edit = (
    SliceOperand
    | SelectOperand
    | SetAttribute
    | UpdateShape
    | UpdateGroupCount
    | UpdateSplit
    | CompensateShape
    | KeepStatistics
    | KeepMean
    | Locked
)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """A node, and the groups of units on the axes of its operands and outputs.

    Attributes:
        node: The node.
        inputs: The groups by axis, for each operand.
        outputs: The groups by axis, for each output.
    """

    node: ir.Node
    inputs: tuple[GroupIds, ...]
    outputs: tuple[GroupIds, ...]

    @property
    def opset(self) -> int:
        """The version of the standard operators that the node is of."""
        graph = self.node.graph
        return 1 if graph is None else graph.opset_imports.get("", 1)

    @property
    def output(self) -> GroupIds:
        """The groups by axis of the first output."""
        return self.outputs[0] if self.outputs else {}

    def located(self, index: int, axis: int) -> IntArray | None:
        """Return the groups along an axis of an operand, None if no units lie on it."""
        return self.inputs[index].get(axis) if index < len(self.inputs) else None

    def locked(self, reason: str) -> list[Edit]:
        """Return edits that lock all units that the node reads or writes."""
        return [
            Locked(reason, group_ids)
            for by_axis in (*self.inputs, *self.outputs)
            for group_ids in by_axis.values()
        ]

    def constant(self, index: int) -> bool:
        """Whether an operand exists and is a constant."""
        value = self.operand(index)
        return value is not None and is_constant(value)

    def computed(self, index: int) -> bool:
        """Whether an operand exists and is computed from the model's inputs."""
        value = self.operand(index)
        return value is not None and not is_constant(value)

    def operand(self, index: int) -> ir.Value | None:
        """Return an operand, None if it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None


NarrowingRule = Callable[[NodeContext], Sequence[Edit]]
"""A rule: from a node and the groups in its tensors to its edits, and to groups that are locked."""


def unchanged(context: NodeContext) -> list[Edit]:
    """Return no edits: nothing in the node depends on the number of units."""
    del context
    return []


def broadcast(context: NodeContext, indices: Sequence[int] | None = None) -> list[Edit]:
    """Return the edits of operands that are broadcast over the output.

    Constants are sliced, and so are computed operands in which no units lie.  Units are locked if
    a computed operand has other units at their positions.

    Args:
        context: The node.
        indices: The operands that are broadcast as in numpy, aligned at the last axis; None for
            all.
    """
    edits: list[Edit] = []
    for index in range(len(context.node.inputs)) if indices is None else indices:
        value, shape = context.operand(index), shape_of(context.node.outputs[0])
        if value is None:
            continue
        sizes = shape_of(value)
        if sizes is None or shape is None:
            return context.locked(f"{value.name!r} has no known shape")
        for axis, group_ids in context.output.items():
            its_axis = axis - (len(shape) - len(sizes))
            if its_axis < 0 or sizes[its_axis] == 1:
                continue
            if is_constant(value):
                edits.append(SliceOperand(index, its_axis, group_ids))
                continue
            others = context.inputs[index].get(its_axis)
            if others is None or (others == NO_GROUP).all():
                edits.append(SelectOperand(index, its_axis, group_ids))
            else:
                edits += require_same_groups(group_ids, others, value)
    return edits


def require_same_groups(group_ids: IntArray, others: IntArray, value: ir.Value) -> list[Edit]:
    """Return edits that lock the units at whose positions a computed operand has other groups.

    Args:
        group_ids: The groups along an axis, shape (positions,).
        others: The groups at the same positions of the operand, shape (positions,).
        value: The operand.
    """
    differ = group_ids != others
    if not differ.any():
        return []
    reason = f"met by {value.name!r}, where other units or none lie"
    return [Locked(reason, np.concatenate([group_ids[differ], others[differ]]))]
