"""Narrow norms: what leaves counts as zeros in their statistics, and operands are selected."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import IntArray
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.constants import BoolArray
from frivkit.graph.operators.edits import Edit, KeepMean, KeepStatistics, SelectOperand
from frivkit.graph.surgery.constant_edits import NewConstants

EPSILON = 1e-5
"""The epsilon of a norm that names none, in ONNX and in ONNX Runtime."""


class NarrowedNorms:
    """Norms whose statistics are to be kept, of one graph that is being narrowed.

    A root-mean-square norm of d entries, of which k stay, is one of k entries with a scale times
    the root of d / k and an epsilon times d / k.  A layer norm has no such form, since entries that
    are zeros move its mean: it still gets d entries, with zeros behind those that stay.
    """

    def __init__(self, constants: NewConstants, prefix: str) -> None:
        """Start without a norm.

        Args:
            constants: The constants of the graph.
            prefix: The prefix of the names of added nodes and constants.
        """
        self._constants, self._prefix = constants, prefix
        self._parameters: list[tuple[ir.Node, BoolArray]] = []
        self._selected: dict[tuple[int, int, bytes], ir.Value] = {}
        self.added: list[ir.Node] = []
        """Nodes that give the outputs of norms; their shapes are those before the removal."""

    def apply(
        self, node: ir.Node, edits: Sequence[Edit], stays_of: Callable[[IntArray], BoolArray]
    ) -> None:
        """Make those edits of a node that select operands or keep statistics.

        Args:
            node: The node.
            edits: Its edits; others than these are left out.
            stays_of: Whether each position stays, given the group at each.
        """
        for edit in edits:
            stays = stays_of(edit.group_ids)
            if stays.all():
                continue
            if isinstance(edit, SelectOperand):
                self._select(node, edit.index, edit.axis, stays)
            elif isinstance(edit, KeepStatistics):
                self._keep_statistics(node, stays)
            elif isinstance(edit, KeepMean):
                self._keep_mean(node, stays, centred=edit.centred)

    def _select(self, node: ir.Node, index: int, axis: int, stays: BoolArray) -> None:
        """Let an operand of a node be read at the positions of an axis that stay."""
        value = node.inputs[index]
        if value is None:
            return
        key = (id(value), axis, stays.tobytes())
        if key not in self._selected:
            kept = self._constant("kept", np.flatnonzero(stays))
            gather = self._node("Gather", [value, kept], value, [ir.AttrInt64("axis", axis)])
            _resize(gather.outputs[0], axis, int(stays.sum()))
            producer = value.producer()
            if producer is None:
                self._constants.graph.insert_before(self._constants.graph[0], gather)
            else:
                self._constants.graph.insert_after(producer, gather)
            self._selected[key] = gather.outputs[0]
        node.replace_input_with(index, self._selected[key])

    def _keep_statistics(self, node: ir.Node, stays: BoolArray) -> None:
        """Narrow a norm over the last axis."""
        self._parameters.append((node, stays))
        if node.op_type != "LayerNormalization":
            known = node.attributes.get("epsilon")
            epsilon = EPSILON if known is None else known.as_float()
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", epsilon / float(stays.mean()))
            return
        value, made = node.inputs[0], node.outputs[0]
        if value is None or value.shape is None:
            return
        axis, kept = len(value.shape) - 1, int(stays.sum())
        pads = np.zeros(2 * axis + 2, np.int64)
        pads[-1] = len(stays) - kept
        padded = self._node("Pad", [value, self._constant("pads", pads)], made)
        self._constants.graph.insert_before(node, padded)
        node.replace_input_with(0, padded.outputs[0])
        uses = [(use.node, use.idx) for use in made.uses()]
        name, made.name = made.name, self._constants.unused_name(f"{made.name}/wide")
        bounds = [self._constant("bound", np.array([n], np.int64)) for n in (0, kept, axis)]
        cut = self._node("Slice", [made, *bounds], made)
        cut.outputs[0].name = name
        self._constants.graph.insert_after(node, cut)
        for consumer, index in uses:
            consumer.replace_input_with(index, cut.outputs[0])
        self.added.append(cut)

    def _keep_mean(self, node: ir.Node, stays: BoolArray, *, centred: bool) -> None:
        """Let a mean over the last axis count what leaves as zeros, or as minus their mean."""
        value, share = node.outputs[0], float(stays.mean())
        uses = [(use.node, use.idx) for use in value.uses()]
        scaled = self._node("Mul", [value, self._like(value, share)], value)
        added = [scaled]
        mean = _mean_of_centred(node) if centred else None
        if mean is not None:
            square = self._node("Mul", [mean, mean], mean)
            rest = self._node("Mul", [square.outputs[0], self._like(mean, 1 - share)], mean)
            total = self._node("Add", [scaled.outputs[0], rest.outputs[0]], value)
            added += [square, rest, total]
        for each in reversed(added):
            self._constants.graph.insert_after(node, each)
        for consumer, index in uses:
            consumer.replace_input_with(index, added[-1].outputs[0])

    def finish(self) -> None:
        """Set the parameters of the norms, after all other constants were changed."""
        for node, stays in self._parameters:
            wide = node.op_type == "LayerNormalization"
            for index, value in enumerate(node.inputs[1:], start=1):
                tensor = None if value is None else constant_tensor(value)
                if tensor is None:
                    continue
                array = tensor.numpy()[stays]
                if wide:
                    rest = np.zeros(len(stays) - len(array), array.dtype)
                    array = np.concatenate([array, rest])
                else:
                    array = (array * sqrt(1 / float(stays.mean()))).astype(array.dtype)
                self._constants.replace_operand(node, index, array, tensor.dtype)

    def _node(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        like: ir.Value,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Node:
        """Return a node whose output has the shape and the type of a value."""
        name = self._constants.unused_name(f"{self._prefix}/{op}")
        output = ir.Value(name=name, shape=like.shape, type=like.type)
        return ir.Node("", op, inputs, list(attributes), outputs=[output], name=name)

    def _constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        return self._constants.new_constant(f"{self._prefix}/{name}", array.astype(np.int64))

    def _like(self, value: ir.Value, number: float) -> ir.Value:
        """Return a constant of the number type of a value."""
        dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        array = np.array(number).astype(dtype)
        return self._constants.new_constant(f"{self._prefix}/share", array, value.dtype)


def _mean_of_centred(node: ir.Node) -> ir.Value | None:
    """Return the mean that was subtracted from what a mean of squares is taken of."""
    value = node.inputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "Sub":
            return producer.inputs[1]
        value = producer.inputs[0]
    return None


def _resize(value: ir.Value, axis: int, size: int) -> None:
    if value.shape is not None:
        sizes = list(value.shape)
        sizes[axis] = size
        value.shape = ir.Shape(sizes)
