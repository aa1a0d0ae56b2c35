"""Run one tiny model on a device, to know that it works rather than that it is listed."""

import numpy as np
import onnx_ir as ir

from frivkit.errors import FrivkitError
from frivkit.runtime.session import Device, Session


def run_once(device: str) -> str | None:
    """Run ``y = relu(x)`` and compare.

    Returns:
        None when the device works, else what is wrong with it, in one line.
    """
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Relu", [x], num_outputs=1)
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], opset_imports={"": 17}, name="relu")
    try:
        (y,) = Session(ir.Model(graph, ir_version=8), Device(device)).run(
            {"x": np.array([-1.0, 2.0], np.float32)}, ["y"]
        )
    except FrivkitError as error:
        return str(error)
    return None if y.tolist() == [0.0, 2.0] else f"relu([-1, 2]) came out as {y.tolist()}"
