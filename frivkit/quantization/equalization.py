"""Equalisation between layers: channels of a tensor are scaled so that 8 bits fit all of them.

One scale serves all channels of an activation, and one serves all weights of an output.  For
positive s and an activation f with f(s x) = s f(x), such as ReLU, the layer before may give x / s
and the layer behind may read it with weights W s: the function is the same.

Source:
    M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV
    2019, section 4.1, for the rewrite.  Weights here have a scale for each output, so that nothing
    is gained from equal rows; s balances the channels of the activation against the columns that
    read them, as in G. Xiao et al., SmoothQuant, ICML 2023, equation 4, at a strength of one half.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from frivkit.data.source import Array
from frivkit.graph.model import constant_tensor
from frivkit.graph.surgery.constant_edits import NewConstants
from frivkit.quantization.affine import (
    HOMOGENEOUS,
    Affine,
    along,
    find_affine_consumers,
    fold_into,
    largest_weights,
    number,
    set_bias,
    weights_of,
)

MOST = 64.0
"""The largest factor by which a channel is scaled, up or down."""
NEGLIGIBLE = 1e-6
"""Channels and columns below this share of the largest are left as they are."""


def equalize(model: ir.Model, largest: Mapping[str, Array]) -> int:
    """Scale the channels between weighted nodes; what the model computes is the same to rounding.

    Args:
        model: The model, its shapes known; it is changed.
        largest: The largest magnitude in each channel of each tensor, shape (channels,).

    Returns:
        The number of tensors whose channels were scaled.
    """
    constants = NewConstants(model.graph, model.ir_version)
    count = 0
    for node in model.graph:
        if node.op_type not in ("Conv", "Gemm") or node.domain not in ("", "ai.onnx"):
            continue
        if None in [constant_tensor(value) for value in node.inputs[1:]]:
            continue
        matrix, dtype = weights_of(node)
        axis = 0 if node.op_type == "Conv" or number(node, "transB", 0) else 1
        channels = matrix.shape[axis]
        bias = constant_tensor(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None and bias.shape.numpy() != (channels,):
            continue
        consumers = find_affine_consumers(
            node.outputs[0], channels, shifted=False, homogeneous=True
        )
        magnitude = largest.get(_after_activation(node).name or "")
        if consumers is None or magnitude is None or len(magnitude) != channels:
            continue
        scale = _scale(
            magnitude,
            np.max(
                [largest_weights(n, channels, columns) for n, columns in consumers.nodes], axis=0
            ),
        )
        for consumer, columns in consumers.nodes:
            fold_into(constants, consumer, Affine(scale, np.zeros(channels)), columns)
        smaller = matrix / along(scale, axis, matrix.ndim)
        constants.replace_operand(node, 1, smaller.astype(dtype), None)
        if bias is not None:
            set_bias(constants, node, (bias.numpy() / scale).astype(dtype))
        count += 1
    return count


def _after_activation(node: ir.Node) -> ir.Value:
    """Return the output of a node, or of the activation that alone reads it."""
    value = node.outputs[0]
    uses = list(value.uses())
    if len(uses) == 1 and uses[0].node.op_type in HOMOGENEOUS:
        return uses[0].node.outputs[0]
    return value


def _scale(magnitude: Array, weights: Array) -> Array:
    """Return s for each channel: (largest number / largest weight)^(1/2), 1 on average."""
    magnitude = magnitude.astype(np.float64)
    used = (magnitude > NEGLIGIBLE * magnitude.max()) & (weights > NEGLIGIBLE * weights.max())
    logarithm = np.zeros(len(magnitude))
    logarithm[used] = np.log(magnitude[used] / weights[used]) / 2
    if used.any():
        logarithm[used] -= logarithm[used].mean()
    return np.exp(np.clip(logarithm, -np.log(MOST), np.log(MOST)))
