"""Replace weights and biases of nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import added_bias
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS
from frivkit.graph.surgery.constant_edits import NewConstants, Operand, drop_unused

NewWeights = tuple[NDArray[Any], NDArray[Any] | None]
"""A weight in the shape of the old one, and a bias, shape (outputs,) (None keeps the old one)."""


def set_weights(model: ir.Model, new_weights: Mapping[str, NewWeights]) -> ir.Model:
    """Return a model in which some nodes have new weights.

    A weight or a bias that several nodes read, each in its own orientation perhaps, stays one if
    all of them get the same numbers; otherwise each node gets one of its own.  A node without a
    bias gets one: Conv, ConvTranspose and Gemm as an operand, MatMul as an Add behind it.  The
    attributes of a Gemm, ``alpha`` of its weight and ``beta`` of its bias, become 1 if these are
    replaced.

    Args:
        model: The model, narrowed or not; unchanged weights are shared with it.
        new_weights: By the labels of nodes, the weight in the shape of the node's own, and the
            bias, shape (outputs,).  Numbers are rounded to the type of the weight.

    Raises:
        ModelError: there is no such node, a shape differs, a number is not finite, or a Gemm
            whose bias is computed is given one.
    """
    copy = model.clone()
    put_weights(copy, new_weights)
    return copy


def put_weights(model: ir.Model, new_weights: Mapping[str, NewWeights]) -> None:
    """Give some nodes of a model new weights, as :func:`set_weights` does with a copy.

    Raises:
        ModelError: as there; then the model may have some of them.
    """
    nodes = {node_label(node): node for node in model.graph if node.op_type in LINEAR_CONSUMERS}
    constants = NewConstants(model.graph, model.ir_version)
    weights: list[Operand] = []
    biases: list[tuple[ir.Node, NDArray[Any]]] = []
    for label, (weight, bias) in new_weights.items():
        node = nodes.get(label)
        if node is None:
            raise ModelError(f"no weighted node is called {label!r}; see 'frivkit inspect'")
        weights.append(_new_weight(node, weight, bias))
        if bias is not None:
            biases.append((node, bias))
    constants.replace_operands(weights)
    set_biases(constants, biases)
    drop_unused(model.graph)


def _new_weight(node: ir.Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> Operand:
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
    node.attributes.pop("alpha", None)
    cast = old.producer()
    stored = None if cast is None or cast.op_type != "Cast" else cast.inputs[0]
    if cast is not None and stored is not None and len(old.uses()) == 1:
        return Operand(cast, 0, _rounded(label, weight, stored), stored.dtype)  # in as few bits
    return Operand(node, 1, _rounded(label, weight, old), old.dtype)


def _outputs(node: ir.Node, shape: tuple[int, ...]) -> int:
    if node.op_type == "ConvTranspose":
        return shape[1] * attribute(node, "group", 1)
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return shape[0]
    return shape[-1]


def set_bias(constants: NewConstants, node: ir.Node, bias: NDArray[Any]) -> None:
    """Set the bias of one node (see :func:`set_biases`)."""
    set_biases(constants, [(node, bias)])


def set_biases(constants: NewConstants, biases: Sequence[tuple[ir.Node, NDArray[Any]]]) -> None:
    """Set the biases of nodes; nodes that read one weight and get the same new bias share it.

    Args:
        constants: The constants of their graph.
        biases: Nodes and their biases, shape (outputs,).

    Raises:
        ModelError: a number is not finite, or a node's bias is computed.
    """
    operands: list[Operand] = []
    added: dict[tuple[int, bytes], ir.Value] = {}
    for node, bias in biases:
        weight, label = node.inputs[1], node_label(node)
        if weight is None:
            continue
        array = _rounded(label, bias, weight)
        place = _bias_place(node)
        old = None if place is None else place[0].inputs[place[1]]
        if place is not None and old is not None:
            if not is_constant(old):
                raise ModelError(f"the bias of {label} is computed; give it a weight alone")
            if node.op_type == "MatMul":  # as many axes as before, for an Add
                array = array.reshape(*[1] * (len(shape_of(old) or (0,)) - 1), -1)
            operands.append(Operand(*place, array, weight.dtype))
        else:
            key = (id(weight), array.tobytes())
            if key not in added:
                name = f"{node.outputs[0].name}/bias"
                added[key] = constants.new_constant(name, array, weight.dtype)
            _add_bias(constants, node, added[key])
        node.attributes.pop("beta", None)
    constants.replace_operands(operands)


def _bias_place(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Return the node and the operand that hold the bias of a node, None if there is none."""
    if node.op_type == "MatMul":
        return added_bias(node)
    return (node, 2) if len(node.inputs) > 2 else None


def _add_bias(constants: NewConstants, node: ir.Node, bias: ir.Value) -> None:
    if node.op_type == "MatMul":
        constants.add_bias_node(node, bias)
        return
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)


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
