"""Replace weights and biases of nodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import LINEAR_CONSUMERS, added_bias
from frivkit.graph.surgery.constant_edits import NewConstants, drop_unused

NewWeights = tuple[NDArray[Any], NDArray[Any] | None]
"""A weight in the shape of the old one, and a bias, shape (outputs,) (None keeps the old one)."""


def set_weights(model: ir.Model, new_weights: Mapping[str, NewWeights]) -> ir.Model:
    """Return a model in which some nodes have new weights.

    A node that shares its weight with another gets one of its own.  A node without a bias gets one:
    Conv, ConvTranspose and Gemm as an operand, MatMul as an Add behind it.  The attributes of a
    Gemm, ``alpha`` of its weight and ``beta`` of its bias, become 1 if these are replaced.

    Args:
        model: The model, narrowed or not; unchanged weights are shared with it.
        new_weights: By the labels of nodes, the weight in the shape of the node's own, and the
            bias, shape (outputs,).  Numbers are rounded to the type of the weight.

    Raises:
        ModelError: there is no such node, a shape differs, a number is not finite, or a Gemm
            whose bias is computed is given one.
    """
    copy = model.clone()
    nodes = {node_label(node): node for node in copy.graph if node.op_type in LINEAR_CONSUMERS}
    constants = NewConstants(copy.graph, copy.ir_version)
    for label, (weight, bias) in new_weights.items():
        node = nodes.get(label)
        if node is None:
            raise ModelError(f"no weighted node is called {label!r}; see 'frivkit inspect'")
        _set_weight(constants, node, weight, bias)
        if bias is not None:
            set_bias(constants, node, bias)
    drop_unused(copy.graph)
    return copy


def _set_weight(
    constants: NewConstants, node: ir.Node, weight: NDArray[Any], bias: NDArray[Any] | None
) -> None:
    old, label = node.inputs[1], node_label(node)
    if old is None or not is_constant(old):
        raise ModelError(f"the weight of {label} is computed; give weights of other nodes")
    if shape_of(old) != np.shape(weight):
        raise ModelError(
            f"the weight of {label} has shape {shape_of(old)}, not {np.shape(weight)}; give one "
            "in the shape that the node holds"
        )
    outputs = _outputs(node, np.shape(weight))
    if bias is not None and np.shape(bias) != (outputs,):
        raise ModelError(f"the bias of {label} has shape {np.shape(bias)}; give {outputs} numbers")
    constants.replace_operand(node, 1, _rounded(label, weight, old), old.dtype)
    node.attributes.pop("alpha", None)


def _outputs(node: ir.Node, shape: tuple[int, ...]) -> int:
    if node.op_type == "ConvTranspose":
        return shape[1] * attribute(node, "group", 1)
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return shape[0]
    return shape[-1]


def set_bias(constants: NewConstants, node: ir.Node, bias: NDArray[Any]) -> None:
    """Set the bias of a node.

    Args:
        constants: The constants of its graph.
        node: The node.
        bias: The bias, shape (outputs,).

    Raises:
        ModelError: a number is not finite, or the node's bias is computed.
    """
    weight, label = node.inputs[1], node_label(node)
    if weight is None:
        return
    array = _rounded(label, bias, weight)
    if node.op_type == "MatMul":
        _set_added_bias(constants, node, array)
        return
    old = node.inputs[2] if len(node.inputs) > 2 else None
    if old is not None and not is_constant(old):
        raise ModelError(f"the bias of {label} is computed; give it a weight alone")
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    constants.replace_operand(node, 2, array, weight.dtype)
    node.attributes.pop("beta", None)


def _set_added_bias(constants: NewConstants, node: ir.Node, bias: NDArray[Any]) -> None:
    weight, added = node.inputs[1], added_bias(node)
    if added is not None:
        old = shape_of(added[0].inputs[added[1]]) or ()
        sizes = [size or 1 for size in old[:-1]]
        dtype = None if weight is None else weight.dtype
        constants.replace_operand(*added, bias.reshape(*sizes, -1), dtype)
        return
    constants.add_bias_node(node, bias, None if weight is None else weight.dtype)


def _rounded(label: str, array: NDArray[Any], like: ir.Value) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise ModelError(f"a number to be put into {label} is not finite; fit it otherwise")
    dtype = np.asarray(array).dtype if like.dtype is None else like.dtype.numpy()
    with np.errstate(over="ignore"):
        rounded = np.asarray(array).astype(dtype)
    if not np.isfinite(rounded.astype(np.float64)).all():
        raise ModelError(
            f"the new weights of {label} reach {np.abs(array).max():.3g}, too large for {dtype}: "
            "remove fewer units, give --refit none, or compress a float32 copy of the model"
        )
    return rounded
