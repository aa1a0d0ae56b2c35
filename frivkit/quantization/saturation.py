"""Whether sums of 8-bit products saturate on this processor.

x86 processors without VNNI multiply unsigned by signed bytes with ``vpmaddubsw``, which adds two
products in 16 bits: 255 * 127 + 255 * 127 does not fit.  With weights of 7 bits it does.  The
kernels of ONNX Runtime are asked, not the flags of the processor.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.runtime.session import Device, Session

TERMS, OUTPUTS = 64, 16
"""Products in a sum, and the number of sums at a place."""
LARGEST = 255 * 127
"""The largest product of an unsigned and a signed byte."""


def products_saturate(device: Device) -> bool:
    """Whether a convolution or a matrix product of bytes gives too little on a device.

    Two models of one node are run, on the largest bytes, with ONNX Runtime's default options.
    """
    x = np.full((1, TERMS, 4, 4), 255, np.uint8)
    (conv,) = Session(_one_node("QLinearConv", (OUTPUTS, TERMS, 1, 1)), device).run({"x": x}, ["y"])
    (product,) = Session(_one_node("QLinearMatMul", (TERMS, OUTPUTS)), device).run(
        {"x": x[..., 0, 0].repeat(4, 0)}, ["y"]
    )
    return bool((conv < 255).any() or (product < 255).any())


def _one_node(op: str, weights: tuple[int, ...]) -> ir.Model:
    """Return a model whose outputs are all 255 unless sums saturate."""
    places = (4, 4) if op == "QLinearConv" else ()
    byte = ir.TensorType(ir.DataType.UINT8)
    x, y = (
        ir.Value(name=name, shape=ir.Shape(["N", channels, *places]), type=byte)
        for name, channels in (("x", TERMS), ("y", OUTPUTS))
    )
    constants: dict[str, NDArray[Any]] = {
        "one": np.ones((), np.float32),
        "zero": np.zeros((), np.uint8),
        "w": np.full(weights, 127, np.int8),
        "w_zero": np.zeros((), np.int8),
        "step": np.array(TERMS * LARGEST / 255, np.float32),
    }
    values = {
        name: ir.Value(
            name=name,
            const_value=(tensor := ir.tensor(array, name=name)),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
        )
        for name, array in constants.items()
    }
    operands = [x, *(values[n] for n in ("one", "zero", "w", "one", "w_zero", "step", "zero"))]
    node = ir.Node("", op, operands, outputs=[y], name=op)
    graph = ir.Graph([x], [y], nodes=[node], initializers=list(values.values()), name=op)
    graph.opset_imports[""] = 13
    return ir.Model(graph, ir_version=8)
