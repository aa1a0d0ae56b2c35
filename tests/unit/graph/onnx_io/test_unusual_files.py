"""Legal files that no exporter writes often: their units are found, and can be removed exactly."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import frivkit
from tests.handmade import written

DEAD = np.array([[1, 0, 0, 2], [3, 0, 0, 1], [2, 0, 0, 1]], np.float32)
"""A weight of four units, of which two are always zero."""
X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def sparse_constant():
    """A weight in a sparse Constant node, in the graph."""
    model = plain()
    flat = DEAD.ravel()
    at = np.flatnonzero(flat)
    values = numpy_helper.from_array(flat[at], "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(at, "at"), DEAD.shape)
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    model.graph.node.insert(0, node)
    del model.graph.initializer[0]
    return model


def texts():
    """A text in a weight and one in a node, for nobody."""
    model = plain()
    model.graph.initializer.append(numpy_helper.from_array(np.array(["a", "β"], object), "t"))
    model.graph.node.append(helper.make_node("Identity", ["t"], ["t2"]))
    return model


def sequence():
    """A Concat by way of a sequence, in front of the layer."""
    return written(
        """g (float[N, 3] x) => (float[N, 2] y) {
          s = SequenceConstruct (x, x) c = ConcatFromSequence <axis = 1> (s)
          h = MatMul (c, w) r = Relu (h) y = MatMul (r, v)
        }""",
        w=np.concatenate([DEAD, DEAD]), v=(4, 2),
    )  # fmt: skip


def input_is_output():
    """An input that is an output, too, where no sizes are declared."""
    model = plain()
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None]))
    return model


def weight_is_output():
    """A bias that is an output, too."""
    return written(
        """g (float[N, 3] x) => (float[N, 2] y, float[2] b) {
          h = MatMul (x, w) r = Relu (h) y0 = MatMul (r, v) y = Add (y0, b)
        }""",
        w=DEAD, v=(4, 2), b=(2,),
    )  # fmt: skip


def listed_and_folded():
    """Weights that are inputs as well, of which one is computed from another."""
    return written(
        """g (float[N, 3] x, float[4, 3] w) => (float[N, 2] y) {
          t = Transpose (w) h = MatMul (x, t) r = Relu (h) y = MatMul (r, v)
        }""",
        w=DEAD.T.copy(), v=(4, 2),
    )  # fmt: skip


def plain():
    text = """g (float[N, 3] x) => (float[N, 2] y) {
      h = MatMul (x, w) r = Relu (h) y = MatMul (r, v)
    }"""
    return written(text, w=DEAD, v=(4, 2))


def ran(path):
    session = ort.InferenceSession(str(path))
    assert [each.name for each in session.get_inputs()] == ["x"]
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": X}), strict=True))


@pytest.mark.parametrize(
    "make",
    [sparse_constant, texts, sequence, input_is_output, weight_is_output, listed_and_folded],
)
def test_dead_units_leave_unusual_files_and_change_no_output(make, tmp_path):
    onnx.save(make(), tmp_path / "net.onnx")
    frivkit.compress(
        tmp_path / "net.onnx",
        tmp_path / "thin.onnx",
        data=X,
        verify_data=X,
        tolerance=1e-9,
        basis="select",
        round_to="none",
    )
    before, after = ran(tmp_path / "net.onnx"), ran(tmp_path / "thin.onnx")
    assert before.keys() == after.keys()
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, atol=1e-4)
    (reader,) = (n for n in onnx.load(tmp_path / "thin.onnx").graph.node if n.input[:1] == ["r"])
    weights = {each.name: each for each in onnx.load(tmp_path / "thin.onnx").graph.initializer}
    assert weights[reader.input[1]].dims == [2, 2]
