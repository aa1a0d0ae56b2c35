"""Write operators that ONNX Runtime's optimizer fused as the operators of ONNX that they were.

A session that opens the model fuses them again.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute, rank_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.onnx_io.unfuse_attention import attention, attention_of_rows, multi_head
from frivkit.graph.onnx_io.unfuse_grouped import grouped_queries
from frivkit.graph.onnx_io.unfuse_norms import skip_layer_norm, skip_simplified_norm
from frivkit.graph.onnx_io.unfuse_rotary import rotary, rotary_of_runtime

OLDEST = 13
"""The first opset for which nodes are written."""


def unfuse(model: ir.Model) -> bool:
    """Replace fused convolutions, products, norms, attentions and rotations; return whether any.

    A FusedMatMul stays as it is if it transposes a tensor of unknown rank, or more than matrices;
    a norm if its statistics are read; an attention if it keeps keys and values.

    Args:
        model: The model; it is changed, and its outputs are not.
    """
    written = False
    opset = model.opset_imports.get("", 1)
    for node in list(model.graph):
        write = WRITINGS.get((node.domain, node.op_type))
        if write is not None and opset >= OLDEST:
            name = node.name or node.outputs[0].name or node.op_type
            build = Builder(model.graph, opset, f"{name}/part", before=node)
            result = write(node, build)
            if result is not None:
                _replace(model.graph, node, result)
                written = True
    return written


def _fused_conv(node: ir.Node, build: Builder) -> ir.Value:
    operands = [value for value in node.inputs[:3] if value is not None]
    result = _main(node, build, "Conv", operands, ("activation", "activation_params"))
    summand = node.inputs[3] if len(node.inputs) > 3 else None
    if summand is not None:
        result = build.add("Add", result, summand)
    given = node.attributes.get("activation_params")
    return _activated(node, build, result, [] if given is None else list(given.as_floats()))


def _fused_gemm(node: ir.Node, build: Builder) -> ir.Value:
    names = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
    operands = [value for value in node.inputs if value is not None]
    result = _main(node, build, "Gemm", operands, names)
    given = [node.attributes.get(name) for name in names[1:3]]
    return _activated(node, build, result, [each.as_float() for each in given if each is not None])


def _fused_matmul(node: ir.Node, build: Builder) -> ir.Value | None:
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None or any(attribute(node, f"transBatch{each}", 0) for each in "AB"):
        return None
    factors = []
    for value, flag in ((a, "transA"), (b, "transB")):
        rank = _rank(value)
        transposed = attribute(node, flag, 0)
        if transposed and rank is None:
            return None
        if transposed and rank is not None and rank > 1:
            perm = [*range(rank - 2), rank - 1, rank - 2]
            value = build.add("Transpose", value, perm=perm)  # noqa: PLW2901
        factors.append(value)
    names = ("transA", "transB", "transBatchA", "transBatchB", "alpha")
    result = _main(node, build, "MatMul", factors, names)
    alpha = node.attributes.get("alpha")
    if alpha is None or alpha.as_float() == 1:
        return result
    dtype = (a.dtype or ir.DataType.FLOAT).numpy()
    return build.add("Mul", result, _scalar(build, np.array(alpha.as_float(), dtype)))


def _rank(value: ir.Value) -> int | None:
    """Return the rank of a tensor, also of one whose shape is not inferred yet."""
    if rank_of(value) is not None:
        return rank_of(value)
    tensor, node = constant_tensor(value), value.producer()
    if tensor is not None:
        return len(tensor.shape)
    if node is not None and node.op_type == "Transpose" and "perm" in node.attributes:
        return len(node.attributes["perm"].as_ints())
    if node is not None and node.op_type == "Reshape":
        shape = constant_tensor(node.inputs[1])
        return None if shape is None else int(shape.size)
    return None


def _main(
    node: ir.Node, build: Builder, op: str, operands: list[ir.Value], own: tuple[str, ...]
) -> ir.Value:
    """Add the operator itself, with the name of the fused one and its attributes of ONNX."""
    result = build.add(op, *operands)
    made = result.producer()
    if made is not None:
        made.name = node.name or made.name
        made.attributes.update({k: v for k, v in node.attributes.items() if k not in own})
    return result


def _activated(node: ir.Node, build: Builder, value: ir.Value, numbers: list[float]) -> ir.Value:
    kind = node.attributes.get("activation")
    if kind is None:
        return value
    op = kind.as_string()
    if op == "Clip":
        bounds = (_scalar(build, np.array(number, np.float32)) for number in numbers)
        return build.add("Clip", value, *bounds)
    names = _PARAMETERS.get(op, ())
    return build.add(op, value, **dict(zip(names, numbers, strict=False)))


def _scalar(build: Builder, array: np.ndarray) -> ir.Value:
    value = build.add("Constant", value=ir.tensor(array))
    value.shape, value.type = ir.Shape([]), ir.TensorType(ir.DataType.from_numpy(array.dtype))
    return value


def _replace(graph: ir.Graph, node: ir.Node, result: ir.Value) -> None:
    old = node.outputs[0]
    result.shape, result.type, name = old.shape, old.type, old.name
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    old.name, result.name = f"{name}/fused", name


_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}
_MICROSOFT = "com.microsoft"
WRITINGS: dict[tuple[str, str], Callable[[ir.Node, Builder], ir.Value | None]] = {
    (_MICROSOFT, "Attention"): attention,
    (_MICROSOFT, "FusedConv"): _fused_conv,
    (_MICROSOFT, "FusedGemm"): _fused_gemm,
    (_MICROSOFT, "FusedMatMul"): _fused_matmul,
    (_MICROSOFT, "GroupQueryAttention"): grouped_queries,
    (_MICROSOFT, "MultiHeadAttention"): multi_head,
    (_MICROSOFT, "RotaryEmbedding"): rotary_of_runtime,
    (_MICROSOFT, "SkipLayerNormalization"): skip_layer_norm,
    (_MICROSOFT, "SkipSimplifiedLayerNormalization"): skip_simplified_norm,
    ("", "Attention"): attention_of_rows,
    ("", "RotaryEmbedding"): rotary,
}
"""By the domain and the name of a fused operator, what writes it."""
