"""The weights that make the queries of an attention, if nothing but a factor lies between."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_UNIT, IntArray, attribute
from frivkit.graph.model import Model, constant_tensor, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import added_bias
from frivkit.graph.sites.scores import HeadOperand, scalar
from frivkit.graph.sites.site_map import SiteMap

_MOVING = (
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Split", "Slice", "Gather"),
    *("Identity", "Cast", "Dropout"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A node that makes the units of an operand, in which a linear map of them can be put.

    Attributes:
        node: Its label.
        outputs: The output of the node at each dimension of each head, shape (heads, dimensions).
        factor: What its outputs are multiplied by on the way.
    """

    node: str
    outputs: IntArray
    factor: float


def find_projection(model: Model, site_map: SiteMap, operand: HeadOperand) -> Projection | None:
    """Return the node whose outputs are the units of an operand, moved and scaled alike.

    A rotation of positions, a norm or a constant for each dimension in between does not commute
    with a map of dimensions.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.
        operand: An operand with heads.

    Returns:
        The node; None if it is not the only one, or if anything else lies in between.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    value, factor = values.get(operand.tensor), 1.0
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
            outputs = _outputs(site_map, operand, node)
            if outputs is None or not factor or not _has_map(node):
                return None
            return Projection(node_label(node), outputs, factor)
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
