"""Distances from constant centres, one new unit for each centre."""

import onnx_ir as ir

from frivkit.plugin import (
    Consumed,
    Edit,
    Effect,
    Layout,
    Locked,
    NodeContext,
    Operator,
    SliceOperand,
    Untraceable,
    Weights,
    is_constant,
    shape_of,
)


def propagate(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Return that the units are mixed into distances."""
    if index != 0 or layout.axes != (1,) or not is_constant(node.inputs[1]):
        return Untraceable("a distance between computed points")
    return Consumed()


def narrow(given: NodeContext) -> list[Edit]:
    """Return the slice of the centres that stay; the units read are locked.

    A unit at 0 adds the square of the centre's coordinate, which no weight can stand for.
    """
    edits: list[Edit] = [
        Locked("a coordinate of a distance", ids) for ids in given.inputs[0].values()
    ]
    if 1 in given.output:
        edits.append(SliceOperand(1, 0, given.output[1]))
    return edits


def produced(node: ir.Node) -> Layout | str:
    """Return one unit for each centre."""
    shape = shape_of(node.inputs[1])
    if not is_constant(node.inputs[1]) or shape is None or shape[0] is None:
        return "its centres are computed"
    return Layout.of(axis=1, width=shape[0])


def macs(node: ir.Node) -> int | None:
    """Return one multiply-accumulate for each coordinate of each centre."""
    centres, coordinates = shape_of(node.inputs[1]) or (None, None)
    return None if centres is None or coordinates is None else centres * coordinates


OPERATORS = {"CDist": Operator(propagate, narrow, mixes=True, weights=Weights(produced, macs))}
