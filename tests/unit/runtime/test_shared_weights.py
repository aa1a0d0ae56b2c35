"""Sessions of large weights: no copy of their own, and the same numbers."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from frivkit.graph.onnx_io.load import detach, read
from frivkit.mapped_pages import mapping_of
from frivkit.runtime import shared_weights
from frivkit.runtime.session import Device, Session
from frivkit.runtime.shared_weights import hand_over, held_bytes, inline_bytes

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
    given = hand_over(model.ir)
    assert set(given.copied) == {"conv", "product", "gemm"}
    assert inline_bytes(given.model) < 10_000
    x = np.random.default_rng(1).standard_normal((7, 64, 5, 5)).astype(np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    (wanted,) = ort.InferenceSession(str(large), options).run(["y"], {"x": x})
    (found,) = Session(model.ir, DEVICE).run({"x": x}, ["y"])
    assert found.tobytes() == wanted.tobytes()


def test_sessions_of_one_model_read_the_same_arrays(large):
    model = read(large)
    first, second = (hand_over(model.ir).copied for _ in range(2))
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
    found = hand_over(model)
    assert (found.model, found.copied, found.kept) == (model, {}, {})


@pytest.fixture
def beside(large, tmp_path, monkeypatch):
    """Return the same network with its weights in a file of their own, all of which are mapped."""
    monkeypatch.setattr(shared_weights, "MAPPED", 1)
    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(large), path, save_as_external_data=True, location="net.bin")
    return path


def test_large_weights_in_a_file_of_their_own_are_read_there(beside):
    model = read(beside)
    found = hand_over(model.ir)
    assert not found.copied
    assert found.folder == beside.parent
    assert set(found.kept) == {"conv", "product", "gemm"}
    assert all(mapping_of(array) is not None for array in found.kept.values())
    small = sum(
        v.const_value.nbytes for k, v in model.graph.initializers.items() if k not in found.kept
    )
    assert held_bytes([model.ir]) <= 2 * small


def test_outputs_are_those_of_the_file_when_weights_are_read_there(beside):
    x = np.random.default_rng(1).standard_normal((7, 64, 5, 5)).astype(np.float32)
    (wanted,) = ort.InferenceSession(str(beside)).run(["y"], {"x": x})
    model = read(beside)
    (found,) = Session(model.ir, DEVICE).run({"x": x}, ["y"])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    detach(model)
    beside.with_name("net.bin").unlink()
    assert set(hand_over(model.ir).copied) == {"conv", "product", "gemm"}
    (again,) = Session(model.ir, DEVICE).run({"x": x}, ["y"])
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-6)


def test_constants_that_the_runtime_may_rewrite_in_place_are_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_weights, "MAPPED", 1)
    random = np.random.default_rng(0)
    added = random.standard_normal((700, 500)).astype(np.float32)
    weight = random.standard_normal((700, 600)).astype(np.float32)
    nodes = [
        make_node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
        make_node("Add", ["a", "added"], ["b"]),
        make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        make_node("MatMul", ["c", "weight"], ["y"]),
    ]
    tensors = [
        onnx.numpy_helper.from_array(a, n) for n, a in (("added", added), ("weight", weight))
    ]
    sizes = [make_tensor_value_info(n, FLOAT, ["n", 500, k]) for n, k in (("x", 700), ("y", 600))]
    graph = make_graph(nodes, "g", sizes[:1], sizes[1:], tensors)
    model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.bin")
    x = random.standard_normal((2, 500, 700)).astype(np.float32)
    wanted = (x + added.T) @ weight
    opened = read(path)
    assert set(hand_over(opened.ir).kept) == {"weight"}
    (found,) = Session(opened.ir, DEVICE).run({"x": x}, ["y"])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
