"""Operators that compute in whole numbers, written as the same computation in real ones.

A mask, a tap or a Gram has nowhere to stand inside a QLinearConv.  Between a DequantizeLinear, a
Conv and a QuantizeLinear it has.  Both compute the same up to a step of rounding of the output.
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
    """Rewrite every operator on whole numbers that has such a form; the model is changed.

    Returns:
        What was done, None where there was nothing to do.
    """
    done: dict[str, int] = {}
    for node in list(model.graph):
        rewrite = REWRITES.get(node.op_type)
        if attribute(node, "channels_last", 0):
            continue  # the real operators have channels in front
        if rewrite is not None and model.opset_imports.get("", 1) >= OLDEST:
            rewrite(_Rewriting(model, node))
            done[node.op_type] = done.get(node.op_type, 0) + 1
    if not done:
        return None
    found = ", ".join(f"{count} {op}" for op, count in done.items())
    return f"it computes in whole numbers ({found}), read as real ones that are rounded"


class _Rewriting:
    """A node that is being rewritten."""

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        self.node, self.graph = node, model.graph
        name = node.name or node.outputs[0].name or node.op_type
        self.build = Builder(model.graph, OLDEST, f"{name}/real", before=node)

    def operand(self, index: int) -> ir.Value | None:
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def real(self, index: int, scale: int, zero: int, *, axis: int = 1) -> ir.Value:
        """Return a quantised operand as real numbers."""
        return self.scaled(self.operand(index), self.operand(scale), self.operand(zero), axis)

    def scaled(
        self, value: ir.Value | None, scale: ir.Value | None, zero: ir.Value | None, axis: int = 1
    ) -> ir.Value:
        inputs = [each for each in (value, scale, zero) if each is not None]
        return self.build.add("DequantizeLinear", *inputs, axis=axis)

    def bias(self, index: int, first: int, second: int) -> list[ir.Value]:
        """Return a bias of 32 bits as real numbers: its scale is the product of two others."""
        value = self.operand(index)
        scales = [constant_tensor(self.operand(i)) for i in (first, second)]
        if value is None:
            return []
        numbers = [np.ones(1) if each is None else each.numpy() for each in scales]
        product = self.held(np.asarray(numbers[0] * numbers[1], np.float32).reshape(-1), "scale")
        return [self.build.add("Mul", self.build.add("Cast", value, to=1), product)]

    def held(self, array: np.ndarray, what: str) -> ir.Value:
        """Register an array of the graph's own."""
        name = f"{self.node.name or self.node.outputs[0].name}/real/{what}"
        tensor = ir.tensor(array)
        kind = ir.TensorType(tensor.dtype)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=kind)
        self.graph.register_initializer(value)
        return value

    def main(self, op: str, *inputs: ir.Value) -> ir.Value:
        """Add the operator itself, under the node's own name and with its attributes."""
        made = self.build.add(op, *inputs)
        node = made.producer()
        if node is not None:
            node.name = self.node.name or node.name
            kept = {k: v for k, v in self.node.attributes.items() if k not in _OWN}
            node.attributes.update(kept)
        return made

    def finish(self, made: ir.Value, scale: int | None = None, zero: int | None = None) -> None:
        """Round to the output's numbers, and let all readers read the result."""
        step = None if scale is None else self.operand(scale)
        if step is not None and zero is not None:
            inputs = [each for each in (made, step, self.operand(zero)) if each is not None]
            made = self.build.add("QuantizeLinear", *inputs)
        elif self.node.outputs[0].dtype == ir.DataType.INT32:
            made = self.build.add("Cast", self.build.add("Round", made), to=6)
        old = self.node.outputs[0]
        made.shape, made.type, name = old.shape, old.type, old.name
        ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
        self.graph.remove(self.node, safe=True)
        old.name, made.name = f"{name}/whole", name


def _conv(at: _Rewriting) -> None:
    made = at.main("Conv", at.real(0, 1, 2), at.real(3, 4, 5, axis=0), *at.bias(8, 1, 4))
    at.finish(made, 6, 7)


def _matmul(at: _Rewriting) -> None:
    at.finish(at.main("MatMul", at.real(0, 1, 2), at.real(3, 4, 5)), 6, 7)


def _gemm(at: _Rewriting) -> None:
    transposed = at.node.attributes.get("transB")
    axis = 0 if transposed is not None and transposed.as_int() else 1
    made = at.main("Gemm", at.real(0, 1, 2), at.real(3, 4, 5, axis=axis), *at.bias(6, 1, 4))
    at.finish(made, 7, 8)


def _conv_integer(at: _Rewriting) -> None:
    one = at.held(np.ones((), np.float32), "one")
    left = at.scaled(at.operand(0), one, at.operand(2))
    at.finish(at.main("Conv", left, at.scaled(at.operand(1), one, _scalar(at, 3))))


def _matmul_integer(at: _Rewriting) -> None:
    one = at.held(np.ones((), np.float32), "one")
    left = at.scaled(at.operand(0), one, at.operand(2))
    at.finish(at.main("MatMul", left, at.scaled(at.operand(1), one, _scalar(at, 3))))


def _scalar(at: _Rewriting, index: int) -> ir.Value | None:
    """Return a zero point that stands for all channels; one for each that are all 0 is none."""
    value = at.operand(index)
    tensor = constant_tensor(value)
    if tensor is None or tensor.size == 1:
        return value
    return None if not tensor.numpy().any() else value


def _binary(op: str) -> Callable[[_Rewriting], None]:
    def rewrite(at: _Rewriting) -> None:
        at.finish(at.main(op, at.real(0, 1, 2), at.real(3, 4, 5)), 6, 7)

    return rewrite


def _unary(op: str) -> Callable[[_Rewriting], None]:
    def rewrite(at: _Rewriting) -> None:
        at.finish(at.main(op, at.real(0, 1, 2)), 3, 4)

    return rewrite


def _concat(at: _Rewriting) -> None:
    parts = [at.real(i, i + 1, i + 2) for i in range(2, len(at.node.inputs), 3)]
    at.finish(at.main("Concat", *parts), 0, 1)


_OWN = ("channels_last",)
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
"""How each operator is rewritten: those of ONNX, and those that ONNX Runtime's quantiser writes."""
