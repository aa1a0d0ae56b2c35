"""Write norms that ONNX Runtime's optimizer fused with the sum before them as operators of ONNX."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder

EPSILON = 1e-12
"""The epsilon of a fused norm that names none."""
LAYER_NORM, ROOT_MEAN_SQUARE = 17, 23
"""The first opsets with LayerNormalization and RMSNormalization."""


def skip_layer_norm(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add the sum and the norm of a SkipLayerNormalization; return the norm, None if it stays.

    It stays if its mean or deviation is read, or before opset 17.
    """
    total = None if build.opset < LAYER_NORM else _total(node, build, bias=4)
    if total is None:
        return None
    parameters = [value for value in node.inputs[2:4] if value is not None]
    return build.add("LayerNormalization", total, *parameters, axis=-1, epsilon=_epsilon(node))


def skip_simplified_norm(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add the sum and the norm of a SkipSimplifiedLayerNormalization; return the norm, None if not.

    It stays if its mean or deviation is read.
    """
    total, scale = _total(node, build, bias=3), node.inputs[2]
    if total is None or scale is None:
        return None
    if build.opset >= ROOT_MEAN_SQUARE:
        return build.add("RMSNormalization", total, scale, axis=-1, epsilon=_epsilon(node))
    dtype = (total.dtype or ir.DataType.FLOAT).numpy()
    two, epsilon = (
        build.add("Constant", value=ir.tensor(np.array(number, dtype)))
        for number in (2.0, _epsilon(node))
    )
    mean = build.reduce("ReduceMean", build.add("Pow", total, two), [-1], keepdims=True)
    root = build.add("Sqrt", build.add("Add", mean, epsilon))
    return build.add("Mul", build.add("Div", total, root), scale)


def _total(node: ir.Node, build: Builder, *, bias: int) -> ir.Value | None:
    """Add the sum that is normed, for all that read it; return None if statistics are read."""
    first, second = node.inputs[0], node.inputs[1]
    if first is None or second is None or any(value.uses() for value in node.outputs[1:3]):
        return None
    total = build.add("Add", first, second)
    more = node.inputs[bias] if len(node.inputs) > bias else None
    if more is not None:
        total = build.add("Add", total, more)
    total.type = first.type
    if len(node.outputs) > 3:
        ir.convenience.replace_all_uses_with(node.outputs[3], total, replace_graph_outputs=True)
    return total


def _epsilon(node: ir.Node) -> float:
    known = node.attributes.get("epsilon")
    return EPSILON if known is None else known.as_float()
