"""Affine maps of the channels of a tensor, moved into the weights that read it.

Where each consumer of a tensor is a weighted node with constant weights, possibly behind pooling
and flattening, y = a x + b in each channel need not be computed: W y + c = (W a) x + (W b + c).
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from frivkit.data.source import Array
from frivkit.graph.model import constant_tensor
from frivkit.graph.surgery.constant_edits import NewConstants

HOMOGENEOUS = frozenset(["Relu", "LeakyRelu"])
"""Activations f for which f(s x) = s f(x) if s > 0."""


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale * x + shift in each channel of a tensor.

    Attributes:
        scale: Shape (channels,).
        shift: Shape (channels,).
    """

    scale: Array
    shift: Array


@dataclass(slots=True)
class AffineConsumers:
    """The weighted nodes that read a tensor with an affine map on it.

    Attributes:
        nodes: Each node, with the number of its columns for each channel.
        pooled: Whether the largest of several numbers is taken on the way to one of them, so that
            no scale may be negative.
        reshaped: Whether a size that counts the channels is a constant on the way to one of them.
        borders: Whether one of them pads with zeros, so that a shift of its input is none at the
            border.
    """

    nodes: list[tuple[ir.Node, int]] = field(default_factory=list)
    pooled: bool = False
    reshaped: bool = False
    borders: bool = False


@dataclass(frozen=True, slots=True)
class ConstantChannels:
    """Channels behind those of a tensor, all of them the same number.

    Attributes:
        count: How many.
        number: The number, not 0.
    """

    count: int = 0
    number: float = 1.0


def find_affine_consumers(
    value: ir.Value, channels: int, *, shifted: bool, homogeneous: bool = False
) -> AffineConsumers | None:
    """Return the consumers of a tensor, None if one of its uses cannot take an affine map.

    Args:
        value: The tensor, channels on its second axis.
        channels: The number of channels.
        shifted: Whether b is not 0 in all channels.
        homogeneous: Pass activations of :data:`HOMOGENEOUS`, too, which is right if b is 0 and a
            is positive.
    """
    consumers = AffineConsumers()
    if not _collect(value, channels, 1, consumers, shifted=shifted, homogeneous=homogeneous):
        return None
    return consumers if consumers.nodes else None


def _collect(
    value: ir.Value,
    channels: int,
    columns: int,
    consumers: AffineConsumers,
    *,
    shifted: bool,
    homogeneous: bool,
) -> bool:
    if value.is_graph_output():
        return False
    for use in value.uses():
        node = use.node
        if node.domain not in ("", "ai.onnx") or use.idx != 0:
            return False
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            if not _takes(node, channels * columns, consumers, shifted=shifted):
                return False
            consumers.nodes.append((node, columns))
            continue
        behind = columns if homogeneous and node.op_type in HOMOGENEOUS else None
        behind = behind or _columns_behind(node, channels, columns, consumers, shifted=shifted)
        if behind is None:
            return False
        after, kind = node.outputs[0], {"shifted": shifted, "homogeneous": homogeneous}
        if not _collect(after, channels, behind, consumers, **kind):
            return False
    return True


def _takes(node: ir.Node, wanted: int, consumers: AffineConsumers, *, shifted: bool) -> bool:
    """Whether a weighted node has constant weights for the columns, and may have another bias."""
    weights, *biases = (constant_tensor(value) for value in node.inputs[1:])
    if weights is None or None in biases:
        return False
    sizes = weights.shape.numpy()
    if node.op_type == "Conv":
        group = int(number(node, "group", 1))
        if padded(node) and shifted:
            consumers.borders = True
            return group == 1 and sizes[1] == wanted
        return bool(sizes[1] * group == wanted)
    if node.op_type == "Gemm":
        wide = sizes[1 if number(node, "transB", 0) else 0]
        scaled = bool(biases) and number(node, "beta", 1.0) != 1
        return wide == wanted and not scaled and not number(node, "transA", 0)
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    rows = shape is not None and len(shape) == 2  # channels are on the second axis, the last one
    return rows and len(sizes) == 2 and sizes[0] == wanted


def _columns_behind(
    node: ir.Node, channels: int, columns: int, consumers: AffineConsumers, *, shifted: bool
) -> int | None:
    """Return the columns of a channel behind a node; None if an affine map cannot pass it."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    if node.op_type in ("Identity", "GlobalAveragePool"):
        return columns
    if node.op_type == "MaxPool":
        consumers.pooled = True
        return columns
    if node.op_type == "AveragePool":
        zeros = padded(node) and number(node, "count_include_pad", 0)
        return None if zeros and shifted else columns
    if node.op_type in ("Flatten", "Reshape") and columns == 1:
        consumers.reshaped = consumers.reshaped or node.op_type == "Reshape"
        return _flattened(node.inputs[0], node.outputs[0], channels)
    return None


def _flattened(before: ir.Value | None, after: ir.Value, channels: int) -> int | None:
    """Return the positions of a channel if all of an example is in one row behind a node."""
    if before is None or before.shape is None or after.shape is None:
        return None
    sizes = [size for size in before.shape[1:] if isinstance(size, int)]
    rows, *flat = after.shape
    if len(sizes) != len(before.shape) - 1 or rows != before.shape[0] or flat != [prod(sizes)]:
        return None
    return prod(sizes[1:]) if sizes and sizes[0] == channels else None


def fold_into(
    constants: NewConstants,
    node: ir.Node,
    affine: Affine,
    columns: int = 1,
    added: ConstantChannels | None = None,
) -> None:
    """Give a consumer of y the weights that read x instead.

    Args:
        constants: The constants of the graph.
        node: One of the nodes of :class:`AffineConsumers`.
        affine: The map from x to y.
        columns: The columns of the node for each channel.
        added: Channels that x has behind those of y.  A node that pads reads the shift from them;
            others ignore them.
    """
    added = added or ConstantChannels()
    matrix, dtype = weights_of(node)
    scale, shift = np.repeat(affine.scale, columns), np.repeat(affine.shift, columns)
    if node.op_type == "Conv":
        channels = _channels_of_groups(matrix, len(scale))
        spread = (..., *[None] * (matrix.ndim - 2))
        scaled, shifts = matrix * scale[channels][spread], matrix * shift[channels][spread]
        if padded(node) and added.count:
            more = shifts.sum(axis=1, keepdims=True) / (added.number * added.count)
            constant = np.zeros(len(matrix))
        else:
            more = np.zeros((len(matrix), 1, *matrix.shape[2:]))
            constant = shifts.reshape(len(matrix), -1).sum(axis=1)
        new = np.concatenate([scaled, *[more] * added.count], axis=1)
    else:
        axis = 1 if node.op_type == "Gemm" and number(node, "transB", 0) else 0
        alpha = number(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0
        constant = alpha * np.tensordot(shift, matrix, axes=([0], [axis]))
        sizes = list(matrix.shape)
        sizes[axis] = added.count * columns
        new = np.concatenate([matrix * along(scale, axis, 2), np.zeros(sizes)], axis=axis)
    constants.replace_operand(node, 1, new.astype(dtype), None)
    if not constant.any():
        return
    if node.op_type == "MatMul":
        name = f"{node.outputs[0].name}/bias"
        constants.add_bias_node(node, constants.new_constant(name, constant.astype(dtype)))
    else:
        bias = constant_tensor(node.inputs[2]) if len(node.inputs) > 2 else None
        old = 0.0 if bias is None else bias.numpy().astype(np.float64)
        set_bias(constants, node, np.asarray(old + constant, dtype))


def _channels_of_groups(matrix: Array, channels: int) -> Array:
    """Return the input channel of each weight of a convolution, shape (outputs, inputs)."""
    inner = matrix.shape[1]
    outputs = len(matrix) // (channels // inner)  # of each group
    return np.asarray(np.arange(len(matrix))[:, None] // outputs * inner + np.arange(inner))


def largest_weights(node: ir.Node, channels: int, columns: int) -> Array:
    """Return the largest weight that reads each channel, shape (channels,).

    A weight is given as a share of the largest one of its output, which has a scale of its own.
    """
    matrix = np.abs(weights_of(node)[0])
    if node.op_type == "Conv":
        matrix = matrix.reshape(*matrix.shape[:2], -1).max(axis=2)
        places = _channels_of_groups(matrix, channels)
    else:
        rows = node.op_type == "Gemm" and number(node, "transB", 0)
        matrix = matrix if rows else matrix.T
        matrix = matrix.reshape(len(matrix), channels, columns).max(axis=2)
        places = np.broadcast_to(np.arange(channels), matrix.shape)
    largest = np.zeros(channels)
    shares = matrix / np.maximum(matrix.max(axis=1, keepdims=True), np.finfo(float).tiny)
    np.maximum.at(largest, places, shares)
    return largest


def set_bias(constants: NewConstants, node: ir.Node, bias: Array) -> None:
    """Give a convolution or a Gemm a bias in place of the one that it may have."""
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    constants.replace_operand(node, 2, bias, None)


def weights_of(node: ir.Node) -> tuple[Array, Any]:
    """Return the constant weights of a node in float64, and their number type.

    Raises:
        ValueError: the weights are computed in the graph.
    """
    tensor = constant_tensor(node.inputs[1])
    if tensor is None:
        raise ValueError(f"the weights of {node.name} are computed in the graph")
    array = tensor.numpy()
    return array.astype(np.float64), array.dtype


def along(vector: Array, axis: int, axes: int) -> Array:
    """Return a vector that is broadcast along one axis of several.

    Example:
        >>> along(np.ones(3), 1, 4).shape
        (1, 3, 1, 1)
    """
    shape = [-1 if each == axis else 1 for each in range(axes)]
    return np.asarray(vector.reshape(shape))


def padded(node: ir.Node) -> bool:
    """Whether a node pads its input."""
    pads = node.attributes.get("pads")
    return pads_by_itself(node) or (pads is not None and any(pads.as_ints()))


def pads_by_itself(node: ir.Node) -> bool:
    """Whether a node pads its input by what its size is."""
    kind = node.attributes.get("auto_pad")
    return kind is not None and kind.as_string() in ("SAME_UPPER", "SAME_LOWER")


def number(node: ir.Node, name: str, default: float) -> float:
    """Return a number among a node's attributes, ``default`` if the file leaves it out."""
    value = node.attributes.get(name)
    return default if value is None else float(value.value)
