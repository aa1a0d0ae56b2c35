"""Factorize weighted nodes: a product of two weights of lower rank in place of one weight."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import LINEAR_CONSUMERS
from frivkit.graph.surgery.constant_edits import NewConstants, drop_unused
from frivkit.graph.surgery.set_weights import set_bias

FactorWeights = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]
"""Matrices of shape (columns, rank) and (rank, outputs), and a bias (None keeps the old one)."""


def factorize(model: ir.Model, factors: Mapping[str, FactorWeights]) -> ir.Model:
    """Return a model in which some nodes are replaced by two, the second with the node's name.

    Columns are input channels and, for each of them, the positions of the kernel; outputs of a
    transposed convolution are output channels and the positions of its kernel.  The second node of
    a convolution, and the first one of a transposed convolution, has a kernel of size 1.

    Args:
        model: The model; unchanged weights are shared with it.
        factors: By the labels of nodes, their factors.

    Raises:
        ModelError: there is no such node, it convolves in groups, a shape does not fit, a number
            is not finite, or a bias is given for a node whose bias is computed.

    Source: X. Zhang, J. Zou, K. He, J. Sun, Accelerating Very Deep Convolutional Networks for
    Classification and Detection, TPAMI 2016.
    """
    copy = model.clone()
    nodes = {node_label(node): node for node in copy.graph if node.op_type in LINEAR_CONSUMERS}
    constants = NewConstants(copy.graph, copy.ir_version)
    for label, (first, second, bias) in factors.items():
        node = nodes.get(label)
        if node is None:
            raise ModelError(f"no weighted node is called {label!r}; see 'frivkit inspect'")
        _check(node, first, second, bias)
        split = {"Conv": _convolution, "ConvTranspose": _transposed}.get(node.op_type, _dense)
        split(constants, node, first, second)
        if bias is not None:
            set_bias(constants, node, bias)
    drop_unused(copy.graph)
    return copy


def _check(
    node: ir.Node, first: NDArray[Any], second: NDArray[Any], bias: NDArray[Any] | None
) -> None:
    label, old = node_label(node), node.inputs[1]
    if old is None or not is_constant(old) or attribute(node, "group", 1) > 1:
        raise ModelError(f"{label} cannot be split: its weight is computed or in groups")
    columns, outputs = _matrix_shape(node)
    if first.shape[1:] != second.shape[:1] or first.shape[:1] + second.shape[1:] != (
        columns,
        outputs,
    ):
        raise ModelError(
            f"{label} has a weight of shape {shape_of(old)}; it cannot be split into "
            f"{first.shape} and {second.shape}"
        )
    channels = outputs // (prod(_kernel(node)) if node.op_type == "ConvTranspose" else 1)
    if bias is not None and bias.shape != (channels,):
        raise ModelError(f"the bias of {label} has shape {bias.shape}; give {channels} numbers")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ModelError(f"a number to be put into {label} is not finite; split it otherwise")


def _matrix_shape(node: ir.Node) -> tuple[int, int]:
    """Return the numbers of columns and of outputs of a node's weight as a matrix."""
    sizes = [size or 0 for size in shape_of(node.inputs[1]) or (0,)]
    if node.op_type == "ConvTranspose":
        return sizes[0], prod(sizes[1:])
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return prod(sizes[1:]), sizes[0]
    return prod(sizes[:-1]), sizes[-1]


def _dense(
    constants: NewConstants, node: ir.Node, first: NDArray[Any], second: NDArray[Any]
) -> None:
    shape = _resized(node.inputs[0], -1, first.shape[1])
    _insert_before(constants, node, "MatMul", first, attributes={}, shape=shape)
    transposed_weight = bool(attribute(node, "transB", 0))
    _replace_weight(constants, node, second.T if transposed_weight else second)
    node.attributes.pop("alpha", None)


def _convolution(
    constants: NewConstants, node: ir.Node, first: NDArray[Any], second: NDArray[Any]
) -> None:
    rank, outputs = second.shape
    kernel = _kernel(node)
    weight = first.T.reshape(rank, -1, *kernel)
    attributes = {name: value for name, value in node.attributes.items() if name != "group"}
    shape = _resized(node.outputs[0], 1, rank)
    _insert_before(constants, node, "Conv", weight, attributes=attributes, shape=shape)
    for name in ("strides", "pads", "dilations", "auto_pad"):
        node.attributes.pop(name, None)
    ones = [1] * len(kernel)
    if "kernel_shape" in node.attributes:
        node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", ones)
    _replace_weight(constants, node, second.T.reshape(outputs, rank, *ones))


def _transposed(
    constants: NewConstants, node: ir.Node, first: NDArray[Any], second: NDArray[Any]
) -> None:
    rank, kernel = second.shape[0], _kernel(node)
    weight = first.T.reshape(rank, -1, *[1] * len(kernel))
    shape = _resized(node.inputs[0], 1, rank)
    _insert_before(constants, node, "Conv", weight, attributes={}, shape=shape)
    _replace_weight(constants, node, second.reshape(rank, -1, *kernel))


def _kernel(node: ir.Node) -> tuple[int, ...]:
    return tuple(size or 1 for size in (shape_of(node.inputs[1]) or ())[2:])


def _insert_before(
    constants: NewConstants,
    node: ir.Node,
    op: str,
    weight: NDArray[Any],
    *,
    attributes: Mapping[str, ir.Attr],
    shape: ir.Shape | None,
) -> None:
    """Insert a node with a weight between a node and its first operand."""
    old, base = node.inputs[1], node.name or node.op_type
    dtype = None if old is None else old.dtype
    numbers = weight if dtype is None else weight.astype(dtype.numpy())
    constant = constants.new_constant(f"{base}/factor", np.ascontiguousarray(numbers), dtype)
    name = constants.unused_name(f"{base}/factor_output")
    output = ir.Value(name=name, shape=shape, type=node.outputs[0].type)
    new = ir.Node(
        "",
        op,
        [node.inputs[0], constant],
        list(attributes.values()),
        outputs=[output],
        name=constants.unused_name(f"{base}/factor_{op}"),
    )
    constants.graph.insert_before(node, new)
    node.replace_input_with(0, output)


def _resized(value: ir.Value | None, axis: int, size: int) -> ir.Shape | None:
    if value is None or value.shape is None:
        return None
    dims = list(value.shape)
    dims[axis] = size
    return ir.Shape(dims)


def _replace_weight(constants: NewConstants, node: ir.Node, array: NDArray[Any]) -> None:
    old = node.inputs[1]
    dtype = None if old is None else old.dtype
    numbers = array if dtype is None else array.astype(dtype.numpy())
    constants.replace_operand(node, 1, np.ascontiguousarray(numbers), dtype)
