"""What tests of attention in compress share: its data, its outputs, its queries and keys."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, apply_plan
from tests.nets import opened
from tests.planning import calibrated
from tests.surgery import run

TOKENS, READS = 8, 6
"""Tokens of an example, and numbers of a token."""
WIDE = 16
"""Units of the stream that attention reads."""


def query_and_key_weights(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield the weights of the layers ``q`` and ``k``, shape (WIDE, dimensions of all heads)."""
    weights = {each.name: each for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.name in {"/q/MatMul", "/k/MatMul"}:
            yield weights[node.input[1]]


def set_weight(weight: onnx.TensorProto, array: NDArray[np.floating]) -> None:
    """Set a weight to an array of its shape."""
    values = array.astype(np.float32).reshape(tuple(weight.dims))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def attended_calibration(proto: onnx.ModelProto, folder: Path) -> Calibration:
    """Return the calibration of a network on 60 drawn examples; files go into a folder."""
    x = np.random.default_rng(3).normal(size=(60, TOKENS, READS)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return calibrated(opened(proto, folder / "net.onnx"), f"npz:{folder / 'x.npz'}")


def outputs(calibration: Calibration, plan: Plan | None = None) -> NDArray[np.float32]:
    """Return the outputs of the original, or of it under a plan, for 20 other examples."""
    graph = calibration.model.ir if plan is None else apply_plan(calibration, plan)
    x = np.random.default_rng(5).normal(size=(20, TOKENS, READS)).astype(np.float32)
    return run(graph, {"x": x})[0]
