"""What a quantised file computes, by ONNX's reference evaluator: no processor's kernels take part.

The evaluator knows ONNX's own operators on whole numbers.  Those that ONNX Runtime's quantiser adds
are written here by their definition: real numbers in, the real operator, rounded numbers out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


def real(x: Array, scale: Array, zero: Array, axis: int = 1) -> Array:
    """Return the numbers that whole ones stand for; scales may be one for each channel."""
    if scale.size > 1:
        shape = [1] * x.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (x.astype(np.float64) - zero) * scale


def whole(x: Array, scale: Array, zero: Array) -> Array:
    """Round to the numbers of a scale, half to even, and keep to the range of their type."""
    limits = np.iinfo(zero.dtype)
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(zero.dtype)


def operator(
    name: str, compute: Callable[..., Array], domain: str = "com.microsoft"
) -> type[OpRun]:
    """Define an operator for the evaluator."""

    def run(self: Any, *inputs: Array, **attributes: Any) -> tuple[Array]:
        return (compute(*inputs, **attributes),)

    return type(name, (OpRun,), {"op_domain": domain, "_run": run})


def dequantize(x: Array, scale: Array, zero: Array, *, axis: int | None = 1, **later: Any) -> Array:
    return real(x, scale, zero, axis or 0).astype(np.float32)


def quantize(x: Array, scale: Array, zero: Array, *, axis: int | None = 1, **later: Any) -> Array:
    assert scale.size == 1, f"scales along axis {axis}"
    return whole(x.astype(np.float64), scale, zero)


def qgemm(*inputs: Array, alpha: float = 1.0, transA: int = 0, transB: int = 0) -> Array:
    a, a_scale, a_zero, b, b_scale, b_zero, *more = inputs
    bias, scale, zero = (*more, None, None, None)[:3]
    first, second = real(a, a_scale, a_zero), real(b, b_scale, b_zero, 0 if transB else 1)
    made = alpha * (first.T if transA else first) @ (second.T if transB else second)
    if bias is not None:
        made = made + bias * (a_scale.astype(np.float64) * b_scale)
    return made.astype(np.float32) if zero is None else whole(made, scale, zero)


def of_two(compute: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def run(*inputs: Array) -> Array:
        return whole(compute(real(*inputs[:3]), real(*inputs[3:6])), *inputs[6:])

    return run


def of_one(compute: Callable[..., Array]) -> Callable[..., Array]:
    def run(*inputs: Array, **attributes: Any) -> Array:
        return whole(compute(real(*inputs[:3]), **attributes), *inputs[3:])

    return run


def concat(scale: Array, zero: Array, *parts: Array, axis: int) -> Array:
    reals = [real(*parts[i : i + 3]) for i in range(0, len(parts), 3)]
    return whole(np.concatenate(reals, axis), scale, zero)


def pool(op: str) -> Callable[..., Array]:
    """Pool real numbers by the evaluator, which pads whole ones with NaN and fails."""

    def run(x: Array, **attributes: Any) -> Array:
        given = {name: value for name, value in attributes.items() if value}
        given.pop("channels_last", None)
        node = onnx.helper.make_node(op, ["x"], ["y"], **given)
        kinds = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "xy"]
        graph = onnx.helper.make_graph([node], "g", kinds[:1], kinds[1:])
        (made,) = ReferenceEvaluator(onnx.helper.make_model(graph)).run(
            None, {"x": x.astype(np.float32)}
        )
        return made.astype(x.dtype)

    return run


OPERATORS = [
    operator("DequantizeLinear", dequantize, ""),  # of opsets whose version the evaluator lacks
    operator("QuantizeLinear", quantize, ""),
    operator("MaxPool", pool("MaxPool"), ""),
    operator("QGemm", qgemm),
    operator("QLinearAdd", of_two(np.add)),
    operator("QLinearMul", of_two(np.multiply)),
    operator("QLinearConcat", concat),
    operator("QLinearSigmoid", of_one(lambda x: 1 / (1 + np.exp(-x)))),
    operator("QLinearAveragePool", of_one(pool("AveragePool"))),
    operator(
        "QLinearGlobalAveragePool",
        of_one(lambda x, channels_last=0: x.mean(tuple(range(2, x.ndim)), keepdims=True)),
    ),
]


def reference(proto: onnx.ModelProto, inputs: Mapping[str, Array], output: str) -> Array:
    """Return an output of a quantised file, as the definitions of its operators have it."""
    return ReferenceEvaluator(proto, new_ops=OPERATORS).run([output], dict(inputs))[0]
