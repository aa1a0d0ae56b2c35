"""Rewrite quantized operators as the same computation in real numbers.

Masks, hook points and Gram matrices cannot be put inside a QLinearConv.  They can be put between a
DequantizeLinear, a Conv and a QuantizeLinear, which compute the same up to one rounding step of the
output.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute
from frivkit.graph.model import constant_tensor

OLDEST = 13
"""The first opset in which a scale may be given for each channel."""


def dequantize(model: ir.Model) -> str | None:
    """Rewrite every quantized operator of :data:`REWRITES`.

    Args:
        model: The model; it is changed.

    Returns:
        A sentence about the change, None if there was nothing to change.
    """
    rewritten: dict[str, int] = {}
    for node in list(model.graph):
        rewrite = REWRITES.get(node.op_type)
        if attribute(node, "channels_last", 0):
            continue  # the real operators have channels in front
        if rewrite is not None and model.opset_imports.get("", 1) >= OLDEST:
            rewrite(_Rewriting(model, node))
            rewritten[node.op_type] = rewritten.get(node.op_type, 0) + 1
    if not rewritten:
        return None
    counted = ", ".join(f"{count} {op}" for op, count in rewritten.items())
    return f"it computes in whole numbers ({counted}), read as real ones that are rounded"


class _Rewriting:
    """A node that is being rewritten."""

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        self.node, self.graph = node, model.graph
        name = node.name or node.outputs[0].name or node.op_type
        self.build = Builder(model.graph, OLDEST, f"{name}/real", before=node)

    def operand(self, index: int) -> ir.Value | None:
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def real(self, index: int, scale: int, zero: int, *, axis: int = 1) -> ir.Value:
        """Return a quantized operand as real numbers."""
        return self.dequantized(self.operand(index), self.operand(scale), self.operand(zero), axis)

    def dequantized(
        self, value: ir.Value | None, scale: ir.Value | None, zero: ir.Value | None, axis: int = 1
    ) -> ir.Value:
        inputs = [each for each in (value, scale, zero) if each is not None]
        return self.build.add("DequantizeLinear", *inputs, axis=axis)

    def bias(self, index: int, first: int, second: int) -> list[ir.Value]:
        """Return a 32-bit bias as real numbers: its scale is the product of two others."""
        value = self.operand(index)
        scales = [constant_tensor(self.operand(i)) for i in (first, second)]
        if value is None:
            return []
        numbers = [np.ones(1) if each is None else each.numpy() for each in scales]
        product = self.constant(
            np.asarray(numbers[0] * numbers[1], np.float32).reshape(-1), "scale"
        )
        return [self.build.add("Mul", self.build.add("Cast", value, to=1), product)]

    def constant(self, array: np.ndarray, suffix: str) -> ir.Value:
        """Register an array as an initializer of the graph."""
        name = f"{self.node.name or self.node.outputs[0].name}/real/{suffix}"
        tensor = ir.tensor(array)
        kind = ir.TensorType(tensor.dtype)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=kind)
        self.graph.register_initializer(value)
        return value

    def main(self, op: str, *inputs: ir.Value) -> ir.Value:
        """Add the operator on real numbers, with the node's name and attributes."""
        result = self.build.add(op, *inputs)
        node = result.producer()
        if node is not None:
            node.name = self.node.name or node.name
            attributes = {k: v for k, v in self.node.attributes.items() if k not in _ONLY_QUANTIZED}
            node.attributes.update(attributes)
        return result

    def finish(self, result: ir.Value, scale: int | None = None, zero: int | None = None) -> None:
        """Quantize the result, and put it in place of the node's output."""
        step = None if scale is None else self.operand(scale)
        if step is not None and zero is not None:
            inputs = [each for each in (result, step, self.operand(zero)) if each is not None]
            result = self.build.add("QuantizeLinear", *inputs)
        elif self.node.outputs[0].dtype == ir.DataType.INT32:
            result = self.build.add("Cast", self.build.add("Round", result), to=6)
        old = self.node.outputs[0]
        result.shape, result.type, name = old.shape, old.type, old.name
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self.graph.remove(self.node, safe=True)
        old.name, result.name = f"{name}/whole", name


def _conv(rewriting: _Rewriting) -> None:
    result = rewriting.main(
        "Conv", rewriting.real(0, 1, 2), rewriting.real(3, 4, 5, axis=0), *rewriting.bias(8, 1, 4)
    )
    rewriting.finish(result, 6, 7)


def _matmul(rewriting: _Rewriting) -> None:
    rewriting.finish(
        rewriting.main("MatMul", rewriting.real(0, 1, 2), rewriting.real(3, 4, 5)), 6, 7
    )


def _gemm(rewriting: _Rewriting) -> None:
    transposed = rewriting.node.attributes.get("transB")
    axis = 0 if transposed is not None and transposed.as_int() else 1
    result = rewriting.main(
        "Gemm",
        rewriting.real(0, 1, 2),
        rewriting.real(3, 4, 5, axis=axis),
        *rewriting.bias(6, 1, 4),
    )
    rewriting.finish(result, 7, 8)


def _conv_integer(rewriting: _Rewriting) -> None:
    one = rewriting.constant(np.ones((), np.float32), "one")
    left = rewriting.dequantized(rewriting.operand(0), one, rewriting.operand(2))
    rewriting.finish(
        rewriting.main(
            "Conv", left, rewriting.dequantized(rewriting.operand(1), one, _scalar(rewriting, 3))
        )
    )


def _matmul_integer(rewriting: _Rewriting) -> None:
    one = rewriting.constant(np.ones((), np.float32), "one")
    left = rewriting.dequantized(rewriting.operand(0), one, rewriting.operand(2))
    rewriting.finish(
        rewriting.main(
            "MatMul", left, rewriting.dequantized(rewriting.operand(1), one, _scalar(rewriting, 3))
        )
    )


def _scalar(rewriting: _Rewriting, index: int) -> ir.Value | None:
    """Return the zero point of all channels, None if each channel has one and all are 0."""
    value = rewriting.operand(index)
    tensor = constant_tensor(value)
    if tensor is None or tensor.size == 1:
        return value
    return None if not tensor.numpy().any() else value


def _binary(op: str) -> Callable[[_Rewriting], None]:
    def rewrite(rewriting: _Rewriting) -> None:
        rewriting.finish(rewriting.main(op, rewriting.real(0, 1, 2), rewriting.real(3, 4, 5)), 6, 7)

    return rewrite


def _unary(op: str) -> Callable[[_Rewriting], None]:
    def rewrite(rewriting: _Rewriting) -> None:
        rewriting.finish(rewriting.main(op, rewriting.real(0, 1, 2)), 3, 4)

    return rewrite


def _concat(rewriting: _Rewriting) -> None:
    parts = [rewriting.real(i, i + 1, i + 2) for i in range(2, len(rewriting.node.inputs), 3)]
    rewriting.finish(rewriting.main("Concat", *parts), 0, 1)


_ONLY_QUANTIZED = ("channels_last",)
REWRITES: dict[str, Callable[[_Rewriting], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearAveragePool": _unary("AveragePool"),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearSoftmax": _unary("Softmax"),
    "QLinearConcat": _concat,
}
"""The rewrite of each operator: those of ONNX, and those that ONNX Runtime's quantizer writes."""
