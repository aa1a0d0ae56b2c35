"""The machine for which a model is made thinner: at which widths its kernels are fast."""

import platform
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir

from frivkit.errors import unknown_name
from frivkit.latency.fast_path import BLOCKED
from frivkit.runtime.optimized import optimized_graph
from frivkit.runtime.session import Device


@dataclass(frozen=True, slots=True)
class TargetMachine:
    """A machine, as far as widths matter to its kernels.

    Attributes:
        name: Its name, for the command line and for reports.
        block: The channels that its convolutions take together; 1 if any width is as good.
        filters: Output channels for which its convolutions keep sums in registers at once.  One
            block more than a multiple of it takes about as long as two; 0 if it makes no
            difference.
        runtime: ``"onnxruntime"``, whose rules hold for the nodes that it runs in its blocked
            layout, or ``"tensorrt"``, whose convolutions and dense layers take blocks alike.
    """

    name: str
    block: int
    filters: int = 0
    runtime: str = "onnxruntime"


TARGETS = (
    TargetMachine("avx2", 8, filters=32),
    TargetMachine("avx512", 16),
    TargetMachine("neon", 16),
    TargetMachine("tensorrt-fp16", 8, runtime="tensorrt"),
)
"""The targets that have names.

Sources: the blocks and the number of filters are those of ONNX Runtime's ``core/mlas/lib``
(``platform.cpp``, ``snchwc.cpp``); it is built without the kernels for NEON by default.  TensorRT's
guide on performance asks for multiples of 8 channels in half precision; this was not tried.
"""


def target_named(name: str) -> TargetMachine:
    """Return the target of a name.

    Raises:
        UsageError: no target has that name.

    Example:
        >>> target_named("avx2").block
        8
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise unknown_name("target", name, [target.name for target in TARGETS])


@cache
def this_machine() -> TargetMachine:
    """Return the target that is this machine, as ONNX Runtime sees it.

    A convolution of 20 outputs is optimised and not run, which takes some milliseconds once in a
    process: its outputs are padded to a multiple of the block.  The name is that of the instruction
    set whose block it is, or ``"unblocked"`` if ONNX Runtime has no blocked layout here.
    """
    block = _probed_block()
    if block == 1:
        return TargetMachine("unblocked", 1)
    is_arm = platform.machine().lower() in ("arm64", "aarch64")
    name = "neon" if is_arm else {8: "avx2", 16: "avx512"}.get(block, f"blocks of {block}")
    return next(
        (t for t in TARGETS if (t.name, t.block) == (name, block)), TargetMachine(name, block)
    )


def _probed_block() -> int:
    """Return the channels in a block of ONNX Runtime's blocked layout, 1 if it has none here."""
    wanted = 20  # a multiple of neither 8 nor 16, and padded to different ones
    node = next(n for n in optimized_graph(_convolution(wanted), Device()).graph if _is_conv(n))
    weight = node.inputs[1]
    shape = None if weight is None or node.domain != BLOCKED else weight.shape
    padded = None if shape is None else shape[0]
    return {24: 8, 32: 16}.get(padded, 1) if isinstance(padded, int) else 1


def _is_conv(node: ir.Node) -> bool:
    return node.op_type in ("Conv", "FusedConv")


def _convolution(outputs: int) -> ir.Model:
    """Return a model of one convolution."""
    kind = ir.TensorType(ir.DataType.FLOAT)
    image, maps = (
        ir.Value(name=name, type=kind, shape=ir.Shape(["N", channels, 4, 4]))
        for name, channels in (("x", 3), ("y", outputs))
    )
    sizes = (outputs, 3, 1, 1)
    tensor = ir.tensor(np.zeros(sizes, np.float32), name="w")
    weight = ir.Value(name="w", type=kind, shape=ir.Shape(sizes), const_value=tensor)
    node = ir.Node("", "Conv", [image, weight], outputs=[maps], name="conv")
    graph = ir.Graph(
        [image], [maps], nodes=[node], initializers=[weight], opset_imports={"": 17}, name="probe"
    )
    return ir.Model(graph, ir_version=8)
