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
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS
from frivkit.graph.surgery.constant_edits import NewConstants, drop_unused
from frivkit.graph.surgery.set_weights import set_bias

FactorWeights = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]
"""The weights of both nodes, and a bias (None keeps the old one).

Weights are either matrices, shape (columns, rank) and (rank, outputs), or the kernels of a
separable pair, shape (rank, channels, kh) and (outputs, rank, kw).
"""
_SEPARABLE = 3
"""The number of axes of the kernels of a separable pair."""


def factorize(model: ir.Model, factors: Mapping[str, FactorWeights]) -> ir.Model:
    """Return a model in which some nodes are replaced by two, the second with the node's name.

    *Two matrices* replace any weighted node.  Columns are input channels and, for each of them, the
    positions of the kernel; outputs of a transposed convolution are output channels and the
    positions of its kernel.  The second node of a convolution, and the first one of a transposed
    convolution, has a kernel of size 1.

    *A separable pair* replaces a convolution in two dimensions by one with a kernel kh x 1 and one
    with a kernel 1 x kw.  The first has the vertical stride, dilation and padding, the second the
    horizontal ones.  Rows and columns of zeros stay zeros between them, since only the second has a
    bias; so padding is as it was.

    Args:
        model: The model; unchanged weights are shared with it.
        factors: By the labels of nodes, their factors.

    Raises:
        ModelError: there is no such node, it convolves in groups, a shape does not fit, a number
            is not finite, or a bias is given for a node whose bias is computed.

    Source: X. Zhang, J. Zou, K. He, J. Sun, Accelerating Very Deep Convolutional Networks for
    Classification and Detection, TPAMI 2016; M. Jaderberg, A. Vedaldi, A. Zisserman, Speeding up
    Convolutional Neural Networks with Low Rank Expansions, BMVC 2014.
    """
    copy = model.clone()
    nodes = {node_label(node): node for node in copy.graph if node.op_type in LINEAR_CONSUMERS}
    constants = NewConstants(copy.graph, copy.ir_version)
    for label, (first, second, bias) in factors.items():
        node = nodes.get(label)
        if node is None:
            raise ModelError(f"no weighted node is called {label!r}; see 'frivkit inspect'")
        _check(node, first, second, bias)
        if first.ndim == _SEPARABLE:
            _separable(constants, node, first, second)
        else:
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
    if not (_fit_kernels if first.ndim == _SEPARABLE else _fit_matrices)(node, first, second):
        raise ModelError(
            f"{label} is a {node.op_type} with a weight of shape {shape_of(old)}; it cannot be "
            f"split into {first.shape} and {second.shape}"
        )
    outputs = _matrix_shape(node)[1]
    channels = outputs // (prod(_kernel(node)) if node.op_type == "ConvTranspose" else 1)
    if bias is not None and bias.shape != (channels,):
        raise ModelError(f"the bias of {label} has shape {bias.shape}; give {channels} numbers")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ModelError(f"a number to be put into {label} is not finite; split it otherwise")


def _fit_matrices(node: ir.Node, first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether the product of two matrices has the shape of a node's weight as a matrix."""
    columns, outputs = _matrix_shape(node)
    ranks = {first.shape[-1], *second.shape[:1]}
    return first.shape[:-1] == (columns,) and second.shape[1:] == (outputs,) and len(ranks) == 1


def _fit_kernels(node: ir.Node, first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two kernels make a convolution of the shape of a node's weight."""
    if node.op_type != "Conv" or len(_kernel(node)) != 2:
        return False
    outputs, channels, height, width = shape_of(node.inputs[1]) or ()
    rank = len(first)
    return first.shape[1:] == (channels, height) and second.shape == (outputs, rank, width)


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


def _separable(
    constants: NewConstants, node: ir.Node, first: NDArray[Any], second: NDArray[Any]
) -> None:
    shape = _resized(node.outputs[0], 1, len(first))
    before = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is not None:
        shape = ir.Shape([*list(shape)[:3], None if before is None else before[3]])
    _insert_before(
        constants, node, "Conv", first[..., np.newaxis], attributes=_along(node, 0), shape=shape
    )
    rest = _along(node, 1)
    for name in (*_PER_AXIS, "kernel_shape", "pads"):
        node.attributes.pop(name, None)
    node.attributes.update(rest)
    _replace_weight(constants, node, second[:, :, np.newaxis])


_PER_AXIS = ("strides", "dilations")


def _along(node: ir.Node, axis: int) -> dict[str, ir.Attr]:
    """Return the attributes of a convolution in two dimensions along one of them.

    ``auto_pad`` stays: along the other axis kernel and stride are 1, so that it pads nothing there.
    """
    kernel, other = [1, 1], 1 - axis
    kernel[axis] = _kernel(node)[axis]
    along = {"kernel_shape": kernel}
    for name in _PER_AXIS:
        if name in node.attributes:
            along[name] = list(node.attributes[name].as_ints())
            along[name][other] = 1
    if "pads" in node.attributes:
        along["pads"] = list(node.attributes["pads"].as_ints())
        along["pads"][other] = along["pads"][2 + other] = 0
    attributes = {name: ir.AttrInt64s(name, numbers) for name, numbers in along.items()}
    if "auto_pad" in node.attributes:
        attributes["auto_pad"] = node.attributes["auto_pad"]
    return attributes


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
