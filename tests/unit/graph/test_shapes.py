"""Shapes that are inferred, and those that a run must tell."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.shapes import batch_first, example_sizes, infer_shapes
from frivkit.runtime import shape_probe as probe
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit_onnx.provider import load
from tests.handmade import written
from tests.nets import network, opened

# The sizes of z come through a cast, which inference does not follow.
OPEN = """g (float[{batch}, 6] x) => (float[{batch}, 2] y) {{
  t = Cast <to = 7> (sizes)
  z = Reshape (x, t)
  r = Relu (z)
  m = ReduceMean <axes = [2], keepdims = 0> (r)
  y = Gemm (m, w)
}}"""


def open_net(batch: str) -> onnx.ModelProto:
    return written(OPEN.format(batch=batch), sizes=np.float32([-1, 3, 2]), w=(3, 2))


def read(proto: onnx.ModelProto, folder) -> Model:
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return load(path, {})


def shapes(model: Model | ir.Model) -> dict[str, list[object] | None]:
    values = (value for node in model.graph for value in node.outputs)
    return {
        value.name: None
        if value.shape is None
        else [size if isinstance(size, int) else size.value for size in value.shape]
        for value in values
    }


class Rows:
    """Data with examples of six numbers."""

    def __init__(self, examples: int, width: int = 6) -> None:
        self.examples, self._width = examples, width

    def read(self, start: int, stop: int) -> SimpleNamespace:
        assert stop <= self.examples
        return SimpleNamespace(inputs={"x": np.ones((stop - start, self._width), np.float32)})


def test_a_free_batch_is_followed_wherever_it_goes(tmp_path):
    found = shapes(read(network("attention"), tmp_path))
    assert found["/attend/Add_output_0"] == [5, "N", 12]
    assert found["/attend/Reshape_10_output_0"] == [5, "N", 4]
    assert found["/attend/Transpose_7_output_0"] == ["N", 5, 4]
    assert found["y"] == ["N", 3]


def test_sizes_computed_from_the_batch_are_inferred(tmp_path):
    found = shapes(read(network("windows"), tmp_path))
    assert found["/Reshape_1_output_0"] == ["4*N", 16, 4]
    assert found["/Reshape_2_output_0"] == ["N", 4, 5]


def test_a_sum_of_the_batch_and_a_number_is_not_taken_for_a_size():
    model = ir.from_proto(
        written(
            """g (float[N, 6] x) => (float[M, 6] y) {
              p = Pad (x, pads)
              y = Relu (p)
            }""",
            pads=np.array([1, 0, 0, 0]),
        )
    )
    infer_shapes(model)
    assert shapes(model)["p"] == [None, 6]


def test_a_fixed_batch_keeps_its_number(tmp_path):
    assert shapes(read(network("cnn of four"), tmp_path))["/1/Relu_output_0"] == [4, 4, 8, 8]


def test_an_axis_has_the_name_that_the_file_gives_it():
    model = ir.from_proto(written("g (float[rows, 6] x) => (float[rows, 6] y) { y = Relu (x) }"))
    infer_shapes(model)
    assert shapes(model) == {"y": ["rows", 6]}


def test_an_axis_without_a_name_gets_one():
    proto = written("g (float[rows, 6] x) => (float[rows, 6] y) { y = Relu (x) }")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
    model = ir.from_proto(proto)
    infer_shapes(model)
    assert shapes(model) == {"y": ["N", 6]}


def test_what_a_file_says_wrongly_is_inferred_anew(tmp_path):
    proto = onnx.shape_inference.infer_shapes(network("cnn of one"))
    assert len(proto.graph.value_info) > 4
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    found = shapes(read(proto, tmp_path))
    assert found["/1/Relu_output_0"] == ["N", 4, 8, 8]
    assert found["/5/Flatten_output_0"] == ["N", 80]


def test_what_a_file_says_stands_where_nothing_is_inferred(tmp_path):
    proto = onnx.ModelProto()
    proto.CopyFrom(network("foreign"))
    info = helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", 4])
    proto.graph.value_info.append(info)
    assert shapes(read(proto, tmp_path))["c"] == ["N", 4]
    assert shapes(read(network("foreign"), tmp_path))["c"] is None


def test_inference_leaves_inputs_and_weights_as_they_were_and_says_nothing(caplog, capfd):
    model = ir.from_proto(network("cnn with weights as inputs"))
    inputs = [(value.name, value.shape) for value in model.graph.inputs]
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    infer_shapes(model)
    assert [(value.name, value.shape) for value in model.graph.inputs] == inputs
    assert {name: value.const_value for name, value in model.graph.initializers.items()} == weights
    contradictory = written(
        "g (float[N, 6] x) => (float[N, 3] y) { a = Gemm (x, w) y = Relu (a) }", w=(5, 3)
    )
    infer_shapes(ir.from_proto(contradictory))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_no_stand_in_is_left_inside_a_branch():
    model = ir.from_proto(network("branching"))
    infer_shapes(model)
    inner = [value.shape for graph in model.graphs() for node in graph for value in node.outputs]
    numbers = {size for shape in inner if shape for size in shape if isinstance(size, int)}
    assert numbers <= {3, 4, 5}


@pytest.mark.parametrize(
    ("shape", "batch", "first"),
    [
        (["N", 3], None, True),
        (["unk__3", 3], None, True),
        (None, None, True),
        (["4*N", 3], None, False),
        ([5, "N"], None, False),
        ([], None, False),
        ([4, 3], 4, True),
        ([8, 3], 4, False),
    ],
)
def test_batch_first(shape, batch, first):
    value = ir.Value(name="v", shape=None if shape is None else ir.Shape(shape))
    assert batch_first(value, batch) is first


def test_sizes_of_one_example():
    def sizes(*shape):
        return example_sizes(ir.Value(name="v", shape=ir.Shape(shape)))

    assert sizes("N", 3, 5) == (1, 3, 5)
    assert sizes(4, 3, 5) == (1, 3, 5)
    assert sizes("unk__0", 3) == (None, 3)
    assert sizes(None, 3) == (None, 3)
    assert sizes("N", 3, "H") == (1, 3, None)
    assert sizes(5, "2*N", 3) == (5, 2, 3)
    assert sizes() == ()
    assert example_sizes(None) is None


def test_nothing_is_run_where_all_is_inferred(tmp_path, monkeypatch):
    model = read(network("attention"), tmp_path)
    infer_shapes_by_running(model, Device())  # attention's own sizes are open
    monkeypatch.setattr(probe, "Session", None)
    model = read(network("sizes first"), tmp_path)
    assert infer_shapes_by_running(model, Device()) is model


@pytest.mark.parametrize("data", [None, Rows(1), Rows(9)])
def test_a_run_tells_what_inference_leaves_open(tmp_path, data):
    model = read(open_net("N"), tmp_path)
    before = shapes(model)
    assert before["z"] == ["unk__0", "unk__1", "unk__2"]
    found = infer_shapes_by_running(model, Device(), data)
    assert shapes(found)["z"] == ["N", 3, 2]
    assert shapes(found)["m"] == ["N", 3]
    assert shapes(model) == before


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("data", [None, Rows(1), Rows(9)])
def test_a_run_takes_as_many_examples_as_the_file_insists_on(tmp_path, data, batch):
    found = infer_shapes_by_running(read(open_net(str(batch)), tmp_path), Device(), data)
    assert shapes(found)["z"] == [batch, 3, 2]


def test_tokens_are_no_examples_however_many(tmp_path):
    """A run of two examples alone would take an axis of two tokens for the batch."""
    proto = written(
        """g (float[N, 2, 3] x) => (float[N, 3] y) {
          t = Cast <to = 7> (sizes)
          s = Transpose <perm = [1, 0, 2]> (x)
          z = Reshape (s, t)
          u = Transpose <perm = [1, 0, 2]> (z)
          y = ReduceMean <axes = [1], keepdims = 0> (u)
        }""",
        sizes=np.float32([2, -1, 3]),
    )
    found = infer_shapes_by_running(read(proto, tmp_path), Device())
    assert shapes(found)["z"] == [2, "N", 3]
    assert shapes(found)["u"] == ["N", 2, 3]


def test_noise_that_cannot_be_run_leaves_shapes_open(tmp_path):
    model = read(network("foreign"), tmp_path)
    assert infer_shapes_by_running(model, Device()) is model


def test_data_that_cannot_be_run_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="ONNX Runtime cannot load"):
        infer_shapes_by_running(read(network("foreign"), tmp_path), Device(), Rows(2))
    with pytest.raises(ModelError, match="ONNX Runtime cannot run"):
        infer_shapes_by_running(read(open_net("N"), tmp_path), Device(), Rows(2, width=7))


def test_no_noise_is_drawn_of_any_size_that_a_file_may_declare(tmp_path):
    text = OPEN.format(batch="N").replace("N, 6", f"N, {6 << 50}")
    model = read(written(text, sizes=np.float32([-1, 3, 2]), w=(3, 2)), tmp_path)
    assert infer_shapes_by_running(model, Device()) is model


def test_a_list_of_tensors_has_no_shape(tmp_path):
    proto = written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          parts = SplitToSequence <axis = 1, keepdims = 1> (x, three)
          y = SequenceAt (parts, zero)
        }""",
        three=np.array(3), zero=np.array(0),
    )  # fmt: skip
    found = opened(proto, tmp_path / "m.onnx")
    assert shapes(found)["y"] == ["N", 3]
