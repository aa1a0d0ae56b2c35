"""Constants with fewer entries: weights, and what is computed from weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.elementwise import ELEMENTWISE
from frivkit.graph.operators.operator import STANDARD

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a constant.

    Attributes:
        cuts: For axes of it, which entries stay.
        entries: For entries of a vector, the number that they become.
    """

    cuts: Mapping[int, Flags]
    entries: Mapping[int, int]

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for changes that give equal constants."""
        cuts = sorted((axis, stays.tobytes()) for axis, stays in self.cuts.items())
        return (*cuts, *sorted(self.entries.items()))

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the constant that an array becomes, which is a copy."""
        for axis, stays in self.cuts.items():
            array = np.compress(stays, array, axis=axis)
        if self.entries:
            array = array.copy()
            for entry, number in self.entries.items():
                array[entry] = number
        return array

    def of_shape(self, shape: ir.Shape | None) -> ir.Shape | None:
        """Return the shape that a constant of a shape becomes."""
        if shape is None:
            return None
        sizes = list(shape)
        for axis, stays in self.cuts.items():
            sizes[axis] = int(stays.sum())
        return ir.Shape(sizes)


def sources(value: ir.Value, axis: int) -> list[tuple[int, int]] | str:
    """Return from which axes of which operands a computed constant has one of its axes.

    Args:
        value: The output of a node whose operands are constants.
        axis: The axis that is to be cut.

    Returns:
        Pairs of operand and axis, all of which are to be cut alike; or why that cannot be told.
    """
    node = value.producer()
    if node is None or node.domain not in STANDARD:
        return f"{value.name!r} is made in a way that no rule tells"
    if node.op_type == "Transpose":
        shape = shape_of(value) or ()
        found = node.attributes.get("perm")
        order = list(reversed(range(len(shape)))) if found is None else list(found.as_ints())
        return [(0, order[axis])]
    if node.op_type == "DequantizeLinear":
        return _quantised(node, axis)
    if node.op_type in ELEMENTWISE and node.op_type != "CastLike":
        return _aligned(node, value, axis)
    return f"{value.name!r} is computed by {node.op_type}"


def uncut(value: ir.Value | None, axis: int, length: int) -> str | None:
    """Return why a constant cannot be cut along an axis of ``length``, None where it can."""
    sizes = shape_of(value)
    if value is None or sizes is None or axis >= len(sizes) or sizes[axis] != length:
        return f"{'an operand' if value is None else repr(value.name)} does not count its units"
    if constant_tensor(value) is not None:
        return None
    found = sources(value, axis)
    if isinstance(found, str):
        return found
    node = value.producer()
    inputs = () if node is None else node.inputs
    reasons = (uncut(inputs[index], there, length) for index, there in found)
    return next((reason for reason in reasons if reason is not None), None)


def _quantised(node: ir.Node, axis: int) -> list[tuple[int, int]] | str:
    rank = len(shape_of(node.inputs[0]) or ())
    found = [(0, axis)]
    for index, value in enumerate(node.inputs[1:], start=1):
        sizes = shape_of(value)
        if value is not None and (sizes is None or len(sizes) > 1):
            return f"{node.outputs[0].name!r} has a scale for each block of its entries"
        if sizes and sizes[0] != 1 and attribute(node, "axis", 1) % rank == axis:
            found.append((index, 0))
    return found


def _aligned(node: ir.Node, value: ir.Value, axis: int) -> list[tuple[int, int]] | str:
    """Find an axis in operands that are spread as numpy does, aligned at the back."""
    whole, found = shape_of(value), []
    for index, operand in enumerate(node.inputs):
        sizes = shape_of(operand)
        if operand is None:
            continue
        if sizes is None or whole is None:
            return f"{operand.name!r} has no known shape"
        there = axis - (len(whole) - len(sizes))
        if there >= 0 and sizes[there] != 1:
            found.append((index, there))
    return found
