"""Sessions of large weights: no copy of their own, and the same numbers."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from frivkit.graph.onnx_io.load import read
from frivkit.runtime.session import Device, Session
from frivkit.runtime.shared_weights import inline_bytes, without_large_weights

DEVICE = Device(threads=1)
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a file whose weights are large, and read by kernels of several kinds."""
    random = np.random.default_rng(0)
    shapes = {"conv": (512, 64, 3, 3), "scale": (512,), "product": (512, 600), "gemm": (500, 600)}
    weights = {
        name: (random.standard_normal(shape) / 20).astype(np.float32)
        for name, shape in shapes.items()
    }
    nodes = [
        make_node("Conv", ["x", "conv"], ["a"], pads=[1, 1, 1, 1]),
        make_node("BatchNormalization", ["a", "scale", "scale", "scale", "var"], ["b"]),
        make_node("Relu", ["b"], ["c"]),
        make_node("GlobalAveragePool", ["c"], ["d"]),
        make_node("Flatten", ["d"], ["e"]),
        make_node("MatMul", ["e", "product"], ["f"]),
        make_node("Gemm", ["f", "gemm"], ["y"], transB=1),
    ]
    weights |= {"var": np.ones(512, np.float32)}
    tensors = [onnx.numpy_helper.from_array(each, name) for name, each in weights.items()]
    graph = make_graph(
        nodes,
        "g",
        [make_tensor_value_info("x", FLOAT, ["n", 64, 5, 5])],
        [make_tensor_value_info("y", FLOAT, ["n", 500])],
        tensors,
    )
    path = tmp_path_factory.mktemp("large") / "net.onnx"
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), path)
    return path


def test_outputs_have_the_bits_of_the_file_itself(large):
    model = read(large)
    named, weights = without_large_weights(model.ir)
    assert set(weights) == {"conv", "product", "gemm"}
    assert inline_bytes(named) < 10_000
    x = np.random.default_rng(1).standard_normal((7, 64, 5, 5)).astype(np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    (wanted,) = ort.InferenceSession(str(large), options).run(["y"], {"x": x})
    (found,) = Session(model.ir, DEVICE).run({"x": x}, ["y"])
    assert found.tobytes() == wanted.tobytes()


def test_sessions_of_one_model_read_the_same_arrays(large):
    model = read(large)
    first, second = (without_large_weights(model.ir)[1] for _ in range(2))
    assert all(np.shares_memory(first[name], second[name]) for name in first)


def test_the_graph_that_is_handed_over_holds_no_large_weight(large, monkeypatch):
    given = []
    opened = ort.InferenceSession

    def opening(content, **arguments):
        given.append(len(content))
        return opened(content, **arguments)

    monkeypatch.setattr(ort, "InferenceSession", opening)
    Session(read(large).ir, DEVICE)
    assert large.stat().st_size > 3_000_000
    assert given[0] < 50_000


def test_a_graph_without_large_weights_is_given_back():
    graph = ir.Graph((), (), nodes=(), opset_imports={"": 18})
    model = ir.Model(graph, ir_version=9)
    assert without_large_weights(model) == (model, {})
