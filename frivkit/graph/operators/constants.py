"""Slices of constants: of weights, and of tensors that are computed from weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import GivenTensor, constant_tensor
from frivkit.graph.operators.elementwise import ELEMENTWISE
from frivkit.graph.operators.operator import STANDARD

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConstantChange:
    """A change to a constant.

    Attributes:
        slices: By axis, whether each entry along it stays.
        entries: By entry of a vector, its new number.

    Example:
        >>> change = ConstantChange({1: np.array([True, False])}, {})
        >>> change.apply(np.array([[1, 2], [3, 4]])).tolist()
        [[1], [3]]
    """

    slices: Mapping[int, BoolArray]
    entries: Mapping[int, int]

    @property
    def key(self) -> tuple[object, ...]:
        """A key that is equal for equal changes."""
        slices = sorted((axis, stays.tobytes()) for axis, stays in self.slices.items())
        return (*slices, *sorted(self.entries.items()))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a changed copy of an array."""
        for axis, stays in self.slices.items():
            array = np.compress(stays, array, axis=axis)
        if self.entries:
            array = array.copy()
            for entry, number in self.entries.items():
                array[entry] = number
        return array

    def apply_to_shape(self, shape: ir.Shape | None) -> ir.Shape | None:
        """Return the shape of a changed constant, from the shape of the constant."""
        if shape is None:
            return None
        sizes = list(shape)
        for axis, stays in self.slices.items():
            sizes[axis] = int(stays.sum())
        return ir.Shape(sizes)


def operand_axes(value: ir.Value, axis: int) -> list[tuple[int, int]] | str:
    """Return the axes of operands from which a computed constant takes one of its axes.

    Args:
        value: The output of a node whose operands are constants.
        axis: The axis that is to be sliced.

    Returns:
        Pairs of an operand's index and its axis, all of which must be sliced alike; or the reason
        why they are not known.
    """
    node = value.producer()
    if node is None or node.domain not in STANDARD:
        return f"{value.name!r} is made in a way that no rule tells"
    if node.op_type == "Transpose":
        shape = shape_of(value) or ()
        perm = node.attributes.get("perm")
        order = list(reversed(range(len(shape)))) if perm is None else list(perm.as_ints())
        return [(0, order[axis])]
    if node.op_type in ("Slice", "Gather"):
        return _of_rows(node, value, axis)
    if node.op_type == "DequantizeLinear":
        return _of_quantizer(node, axis)
    if node.op_type in ELEMENTWISE and node.op_type != "CastLike":
        return _of_broadcast(node, value, axis)
    return f"{value.name!r} is computed by {node.op_type}"


def _of_rows(node: ir.Node, value: ir.Value, axis: int) -> list[tuple[int, int]] | str:
    """Return the axis of a table of which some rows are taken, such as angles of positions."""
    rank = len(shape_of(node.inputs[0]) or ())
    if node.op_type == "Gather":
        at = attribute(node, "axis", 0) % max(rank, 1)
        more = len(shape_of(value) or ()) - rank  # axes of the indices, less the one they replace
        if axis < at or axis > at + more:
            return [(0, axis if axis < at else axis - more)]
    else:
        axes = constant_tensor(node.inputs[3]) if len(node.inputs) > 3 else None
        cut = [] if axes is None else [int(each) % max(rank, 1) for each in axes.numpy().ravel()]
        if axes is not None and axis not in cut:
            return [(0, axis)]
    return f"{value.name!r} takes some of its entries by {node.op_type}"


def why_not_sliceable(value: ir.Value | None, axis: int, length: int) -> str | None:
    """Return why a constant cannot be sliced along an axis of a length, None if it can be."""
    sizes = shape_of(value)
    if value is None or sizes is None or axis >= len(sizes) or sizes[axis] != length:
        return f"{'an operand' if value is None else repr(value.name)} does not count its units"
    if isinstance(value.const_value, GivenTensor):
        return f"{value.name!r} is an input of the model"
    if constant_tensor(value) is not None:
        return None
    operands = operand_axes(value, axis)
    if isinstance(operands, str):
        return operands
    node = value.producer()
    inputs = () if node is None else node.inputs
    reasons = (why_not_sliceable(inputs[index], its_axis, length) for index, its_axis in operands)
    return next((reason for reason in reasons if reason is not None), None)


def _of_quantizer(node: ir.Node, axis: int) -> list[tuple[int, int]] | str:
    rank = len(shape_of(node.inputs[0]) or ())
    operands = [(0, axis)]
    for index, value in enumerate(node.inputs[1:], start=1):
        sizes = shape_of(value)
        if value is not None and (sizes is None or len(sizes) > 1):
            return f"{node.outputs[0].name!r} has a scale for each block of its entries"
        if sizes and sizes[0] != 1 and attribute(node, "axis", 1) % rank == axis:
            operands.append((index, 0))
    return operands


def _of_broadcast(node: ir.Node, value: ir.Value, axis: int) -> list[tuple[int, int]] | str:
    """Return the axes of operands that are broadcast as in numpy, aligned at the last axis."""
    shape, operands = shape_of(value), []
    for index, operand in enumerate(node.inputs):
        sizes = shape_of(operand)
        if operand is None:
            continue
        if sizes is None or shape is None:
            return f"{operand.name!r} has no known shape"
        its_axis = axis - (len(shape) - len(sizes))
        if its_axis >= 0 and sizes[its_axis] != 1:
            operands.append((index, its_axis))
    return operands
