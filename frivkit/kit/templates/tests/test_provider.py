"""The provider keeps the rules of model providers."""

import gzip

import numpy as np
from frivkit.testing.conformance import check_model_provider
from onnx import TensorProto, helper

from frivkit_mine.provider import load


def test_provider_conforms(tmp_path):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    path = tmp_path / "tiny.its-name"
    path.write_bytes(gzip.compress(content))
    inputs = np.array([[-1, 0, 2], [3, -4, 5]], np.float32)
    check_model_provider(load, path, {"x": inputs}, [np.maximum(inputs, 0)])
