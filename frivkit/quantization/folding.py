"""Fold BatchNormalization behind an activation into the layers that read it.

ONNX Runtime has no int8 kernel for BatchNormalization.  Behind a convolution it becomes part of the
convolution; behind an activation it stays in float32, between a DequantizeLinear and a
QuantizeLinear, unless it is folded forward, as :mod:`frivkit.quantization.affine` does it.

A convolution that pads with zeros pads y = a x + b and not x, so W b is not the same at the border.
There the convolution before gets more channels, which are the same number k everywhere, and W b / k
are the weights that read them: padding leaves these channels out where it leaves b out, and the
result is exact.
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
import onnx_ir as ir

from frivkit.data.source import Array
from frivkit.graph.model import constant_tensor
from frivkit.graph.shapes import infer_shapes
from frivkit.graph.surgery.constant_edits import NewConstants
from frivkit.quantization.affine import (
    Affine,
    AffineConsumers,
    ConstantChannels,
    along,
    find_affine_consumers,
    fold_into,
    number,
    set_bias,
    weights_of,
)

MOST_CHANNELS = 8
"""Channels that are added, at most, so that their weights are no larger than the others."""


def fold_normalizations(model: ir.Model, largest: Mapping[str, Array]) -> int:
    """Fold each BatchNormalization into its consumers where that is exact.

    Args:
        model: The model, its shapes known; it is changed.
        largest: The largest magnitude in each channel of each tensor, shape (channels,); a constant
            channel gets the largest number of its tensor.

    Returns:
        The number of normalisations that are gone.
    """
    constants = NewConstants(model.graph, model.ir_version)
    count = 0
    for node in list(model.graph):
        x, affine = node.inputs[0] if node.inputs else None, _affine(node)
        if x is None or affine is None:
            continue
        channels, shifted = len(affine.scale), bool(affine.shift.any())
        consumers = find_affine_consumers(node.outputs[0], channels, shifted=shifted)
        if consumers is None or (consumers.pooled and (affine.scale < 0).any()):
            continue
        added: ConstantChannels | None = None
        if consumers.borders:
            added = _add_channels(constants, x, affine, consumers, largest)
            if added is None:
                continue
        for consumer, columns in consumers.nodes:
            fold_into(constants, consumer, affine, columns, added)
        ir.convenience.replace_all_uses_with(node.outputs[0], x)
        model.graph.remove(node, safe=True)
        count += 1
    if count:
        infer_shapes(model)
    return count


def _affine(node: ir.Node) -> Affine | None:
    """Return what a normalisation with constant statistics computes, None for other nodes."""
    if node.op_type != "BatchNormalization" or number(node, "training_mode", 0):
        return None
    tensors = [constant_tensor(value) for value in node.inputs[1:5]]
    known = [each.numpy().astype(np.float64) for each in tensors if each is not None]
    if len(known) < 4:
        return None
    gamma, beta, mean, variance = known
    scale = gamma / np.sqrt(variance + number(node, "epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def _add_channels(
    constants: NewConstants,
    x: ir.Value,
    affine: Affine,
    consumers: AffineConsumers,
    largest: Mapping[str, Array],
) -> ConstantChannels | None:
    """Add constant channels to the convolution that computes x, None if that cannot be."""
    relu = x.producer()
    before = relu.inputs[0] if relu is not None and relu.op_type == "Relu" else None
    conv = None if before is None else before.producer()
    if before is None or conv is None or conv.op_type != "Conv" or consumers.reshaped:
        return None
    if any(len(value.uses()) != 1 or value.is_graph_output() for value in (x, before)):
        return None
    operands = [constant_tensor(value) for value in conv.inputs[1:]]
    if number(conv, "group", 1) != 1 or None in operands:
        return None
    weights, *biases = (each.numpy() for each in operands if each is not None)

    constant = float(np.max(largest.get(x.name or "", np.ones(1)), initial=0.0)) or 1.0
    ratios = [1.0]
    for consumer, _ in consumers.nodes:
        if consumer.op_type == "Conv":
            matrix, _ = weights_of(consumer)
            rows = (len(matrix), -1)
            sums = np.tensordot(matrix, affine.shift, axes=([1], [0])).reshape(rows) / constant
            others = (matrix * along(affine.scale, 1, matrix.ndim)).reshape(rows)
            wide, most = np.abs(sums).max(axis=1), np.abs(others).max(axis=1)
            ratios += (wide[most > 0] / most[most > 0]).tolist()
    added = ConstantChannels(min(MOST_CHANNELS, ceil(max(ratios))), constant)

    bias = biases[0] if biases else np.zeros(len(weights), weights.dtype)
    zeros = np.zeros((added.count, *weights.shape[1:]), weights.dtype)
    constants.replace_operand(conv, 1, np.concatenate([weights, zeros]), None)
    set_bias(constants, conv, np.concatenate([bias, np.full(added.count, constant, bias.dtype)]))
    return added
