"""The weights that make the queries of an attention, and what lies between.

Between them may lie moves, a constant factor, and a rotation of positions.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_UNIT, IntArray, attribute, rank_of
from frivkit.graph.model import Model, constant_tensor, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import added_bias
from frivkit.graph.sites.scores import HeadOperand, scalar
from frivkit.graph.sites.site_map import SiteMap

_MOVING = (
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Split", "Slice", "Gather"),
    *("Identity", "Cast", "Dropout"),
)
_TURNED = 2  # units of which one is made by a rotation


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A node that makes the units of an operand, in which a linear map of them can be put.

    Attributes:
        node: Its label.
        outputs: The output of the node at each dimension of each head, shape (heads, dimensions).
        factor: What its outputs are multiplied by on the way.
        pairs: The dimensions that are made of the same two outputs, as by a rotation, shape (pairs,
            2); None if each is made of one.
        tensor: The tensor of the outputs in front of that.
    """

    node: str
    outputs: IntArray
    factor: float
    pairs: IntArray | None = None
    tensor: str = ""


def find_projection(model: Model, site_map: SiteMap, operand: HeadOperand) -> Projection | None:
    """Return the node whose outputs are the units of an operand, moved, scaled and turned alike.

    A norm or a constant for each dimension in between does not commute with a map of dimensions.
    Whether pairs are rotated, and in no other way mixed, only numbers can tell.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.
        operand: An operand with heads.

    Returns:
        The node; None if it is not the only one, or if anything else lies in between.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    found = _source(model, values.get(operand.tensor))
    if found is not None:
        node, factor = found
        outputs = _outputs(site_map, operand, node)
        return None if outputs is None else Projection(node_label(node), outputs, factor)
    sites = {site for site, _ in site_map.layouts.get(operand.tensor, ())}
    tensor = next(iter(sites), "")
    found = _source(model, values.get(tensor)) if len(sites) == 1 else None
    rotated = None if found is None else _rotated(site_map, operand, found[0])
    if found is None or found[1] != 1 or rotated is None:
        return None
    return Projection(node_label(found[0]), rotated[0], 1.0, rotated[1], tensor)


def _source(model: Model, value: ir.Value | None) -> tuple[ir.Node, float] | None:
    """Return the weighted node behind moves and constant factors, and their product."""
    factor = 1.0
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in _MOVING:
            value = node.inputs[0]
        elif node.op_type in ("Mul", "Div"):
            numbers = [scalar(each, model.ir.opset_imports.get("", 1)) for each in node.inputs]
            index = 1 if numbers[1] is not None else 0
            number = numbers[index]
            if number is None or (node.op_type == "Div" and index == 0):
                return None
            factor = factor * number if node.op_type == "Mul" else factor / number
            value = node.inputs[1 - index]
        elif node.op_type == "Add":
            made = [v.producer() for v in node.inputs if v is not None and not is_constant(v)]
            if len(made) != 1 or made[0] is None or made[0].op_type != "MatMul":
                return None
            added = added_bias(made[0])
            if added is None or added[0] is not node:
                return None
            value = made[0].outputs[0]
        else:
            return (node, factor) if factor and _has_map(node) else None
    return None


def _has_map(node: ir.Node) -> bool:
    """Whether a node is linear with constant weights."""
    grouped = attribute(node, "group", 1) > 1
    return (
        node.op_type in ("MatMul", "Gemm", "Conv")
        and not grouped
        and (constant_tensor(node.inputs[1]) is not None)
    )


def _outputs(site_map: SiteMap, operand: HeadOperand, node: ir.Node) -> IntArray | None:
    """Return the output of a node at each dimension of each head, None if others are there."""
    parts = site_map.layouts.get(operand.tensor, ())
    made = dict(site_map.layouts.get(node.outputs[0].name or "", ()))
    axes = [a for a in (operand.heads, operand.dimensions) if a is not None]
    if len(parts) != 1 or parts[0][0] not in made or parts[0][1].axes != tuple(sorted(axes)):
        return None
    site, layout = parts[0]
    units = made[site].units
    if len(made) != 1 or units.ndim != 1 or (np.sort(units) != np.arange(len(units))).any():
        return None
    here = layout.units if axes == sorted(axes) else layout.units.T
    here = here.reshape(-1, here.shape[-1])
    if (here == NO_UNIT).any() or len(np.unique(here)) < here.size:
        return None
    outputs: IntArray = np.argsort(units)[here]
    return outputs


def _rotated(
    site_map: SiteMap, operand: HeadOperand, node: ir.Node
) -> tuple[IntArray, IntArray] | None:
    """Return the outputs of a node at each dimension, and which dimensions share two of them.

    Each of the two dimensions of a pair stands for one of their outputs, in the order of both.
    """
    parts = [layout for _, layout in site_map.layouts.get(operand.tensor, ())]
    made = [layout for _, layout in site_map.layouts.get(node.outputs[0].name or "", ())]
    axes = [a for a in (operand.heads, operand.dimensions) if a is not None]
    last = (rank_of(node.outputs[0]) or 0) - 1
    if (
        len(made) != 1
        or made[0].axes != (last,)
        or any(layout.axes != tuple(sorted(axes)) for layout in parts)
    ):
        return None
    units = made[0].units
    if units.ndim != 1 or (np.sort(units) != np.arange(len(units))).any():
        return None
    stacked = np.stack([each.units if axes == sorted(axes) else each.units.T for each in parts])
    stacked = stacked.reshape(len(parts), -1, stacked.shape[-1])
    heads, dimensions = stacked.shape[1:]
    outputs, pairs = np.zeros((heads, dimensions), np.intp), None
    for head in range(heads):
        of = [tuple(np.setdiff1d(stacked[:, head, d], [NO_UNIT])) for d in range(dimensions)]
        by_units: dict[tuple[int, ...], list[int]] = {}
        for dimension, its in enumerate(of):
            by_units.setdefault(its, []).append(dimension)
        if any(len(its) != len(where) or len(its) > _TURNED for its, where in by_units.items()):
            return None
        for its, where in by_units.items():
            outputs[head, where] = np.argsort(units)[list(its)]
        mine = np.array([where for where in by_units.values() if len(where) == _TURNED], np.intp)
        if not len(mine) or (pairs is not None and not np.array_equal(mine, pairs)):
            return None
        pairs = mine
    if pairs is None or len(np.unique(outputs)) < outputs.size:
        return None
    return outputs, pairs
