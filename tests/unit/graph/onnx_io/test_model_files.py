"""Files as people have them: old and new formats, number types, fixed batches, kinds of outputs."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.errors import ModelError
from frivkit.graph.onnx_io.dequantize import dequantize
from frivkit.measure.pipeline import Request, analyze, inspect_model, open_study
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import LabelOptions
from tests.handmade import written
from tests.nets import exported, network
from tests.quantised import reference
from tests.zoo.files import ZOO

NOISE = "gaussian?n=48"
REFERRED = 4
"""Examples that the reference evaluator, which is slow, is asked for."""


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "m.onnx"
    onnx.save(proto, path)
    return path


def dense(opset: int = 17, ir: int = 8, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Return two layers without biases, in any number type, opset and version of the format."""
    generator = np.random.default_rng(0)
    weights = {"w1": (6, 5), "w2": (5, 3)}
    tensors = [
        helper.make_tensor(name, kind, shape, generator.standard_normal(shape).ravel().tolist())
        for name, shape in weights.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("MatMul", ["h", "w2"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", kind, ["N", 6])]
    if ir < 4:  # initializers were inputs then
        inputs += [helper.make_tensor_value_info(n, kind, s) for n, s in weights.items()]
    outputs = [helper.make_tensor_value_info("y", kind, ["N", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def test_every_version_of_the_format_with_every_opset(tmp_path):
    for ir, opset in itertools.product(range(3, 14), range(7, 27)):
        study, _ = open_study(Request(saved(dense(opset, ir), tmp_path), data=NOISE))
        assert [site.width for site in study.sites] == [5], (ir, opset)
        assert study.outputs().shape == (48, 3)


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_number_types_change_no_more_than_they_round(kind, tmp_path):
    exact = open_study(Request(saved(dense(), tmp_path), data=NOISE))[0].outputs()
    path = saved(dense(kind=TensorProto.DataType.Value(kind)), tmp_path)
    study, said = open_study(Request(path, data=NOISE))
    assert abs(study.outputs() - exact).max() < {"FLOAT16": 0.02, "BFLOAT16": 0.1}.get(kind, 1e-5)
    assert any("bfloat16" in line for line in said) is (kind == "BFLOAT16")
    assert len(analyze(Request(path, data=NOISE), ("prunability", "redundancy")).measurements) == 4


def test_weights_alone_in_bfloat16(tmp_path):
    """As files save room: the weights are cast to float32 before they are used."""
    proto = dense()
    for index, old in enumerate(list(proto.graph.initializer)):
        array, name = onnx.numpy_helper.to_array(old), old.name
        narrow = helper.make_tensor(
            f"{name}_narrow", TensorProto.BFLOAT16, array.shape, array.ravel().tolist()
        )
        proto.graph.initializer[index].CopyFrom(narrow)
        cast = helper.make_node("Cast", [narrow.name], [name], to=TensorProto.FLOAT)
        proto.graph.node.insert(0, cast)
    study, _ = open_study(Request(saved(proto, tmp_path), data=NOISE))
    assert [site.width for site in study.sites] == [5]


def test_bfloat16_is_not_compressed(tmp_path):
    path = saved(dense(kind=TensorProto.BFLOAT16), tmp_path)
    with pytest.raises(ModelError, match="compress the float32 model"):
        compress(Request(path, data=NOISE), tmp_path / "t.onnx", Budget("units", 0.5))


@pytest.mark.parametrize("way", ["QOperator", "QDQ", "dynamic"])
@pytest.mark.parametrize("name", ["VGG-BN", "ResNet basic", "Inception", "MobileNet v3", "MLP"])
def test_quantised_files_have_the_sites_of_the_originals(name, way, zoo_file, tmp_path):
    data = ZOO[name].examples(32)[0].numpy()
    path, original = tmp_path / "q.onnx", zoo_file(name, "legacy 17")
    quantise(original, path, way, data)
    np.savez(tmp_path / "x.npz", x=data)
    request = Request(path, data=f"npz:{tmp_path / 'x.npz'}")
    study, said = open_study(request)
    few = {"x": data[:REFERRED]}
    wanted = reference(onnx.load(path), few, "y")
    assert abs(study.outputs()[:REFERRED] - wanted).max() <= 0.02 * abs(wanted).max()
    widths = sorted(s.width for s in inspect_model(Request(original))[1].sites)
    found = sorted(site.width for site in study.sites)
    assert found == widths or (way == "dynamic" and set(found) == set(widths))
    assert any("whole numbers" in line for line in said) is (way != "QDQ")
    network_wide = analyze(request, ("redundancy",)).measurements[0].value
    assert 0 < (network_wide or 0) < 1


def quantise(original: Path, path: Path, way: str, data: np.ndarray) -> None:
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        left = [{"x": data}]  # noqa: RUF012  # read once

        def get_next(self):
            return self.left.pop() if self.left else None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "dynamic":
            q.quantize_dynamic(original, path)
        else:
            Reader.left = [{"x": data}]
            kind = q.QuantFormat[way]
            q.quantize_static(original, path, Reader(), quant_format=kind, per_channel=True)


def test_whole_numbers_with_channels_behind_places_stay_as_they_are():
    """The real operators have channels in front, so that such a node has no form in them."""
    proto = written(
        """g (uint8[N, 4, 4, 3] x, float s, uint8 z) => (uint8[N, 1, 1, 3] y) {
          y = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (x, s, z, s, z)
        }""",
        domains=("com.microsoft",),
    )
    model = onnx_ir.from_proto(proto)
    assert dequantize(model) is None
    assert [node.op_type for node in model.graph] == ["QLinearGlobalAveragePool"]


def test_whole_numbers_are_not_compressed_and_rounded_ones_are(zoo_file, tmp_path):
    original, path = zoo_file("MLP", "legacy 17"), tmp_path / "q.onnx"
    data = ZOO["MLP"].examples(64)[0].numpy()
    np.savez(tmp_path / "x.npz", x=data)
    request = Request(path, data=f"npz:{tmp_path / 'x.npz'}")
    quantise(original, path, "QOperator", data)
    with pytest.raises(ModelError, match="whole numbers"):
        compress(request, tmp_path / "t.onnx", Budget("units", 0.5))
    quantise(original, path, "QDQ", data)
    with pytest.raises(ModelError, match=r"not refitted|no unit|computed"):
        compress(request, tmp_path / "t.onnx", Budget("units", 0.5))
    assert not (tmp_path / "t.onnx").exists()


def test_a_file_for_one_example_is_run_on_many_where_that_is_the_same(tmp_path):
    path = saved(exported(ZOO["VGG"].make(), ZOO["VGG"].inputs[0], batch=1), tmp_path)
    study, said = open_study(Request(path, data="gaussian?n=12"))
    assert study.model.batch is None
    assert not any("insists" in line for line in said)
    alone = ort.InferenceSession(str(path))
    inputs = study.data.read(0, 12).inputs["x"]
    wanted = np.concatenate([alone.run(None, {"x": inputs[i : i + 1]})[0] for i in range(12)])
    assert abs(study.outputs() - wanted).max() < 1e-5


def test_a_file_that_mixes_examples_is_run_one_by_one_and_says_so(tmp_path):
    """The mean over all examples is that of the one in a run of one."""
    proto = written(
        """g (float[1, 6] x) => (float[1, 3] y) {
          m = ReduceMean <axes = [0], keepdims = 1> (x)
          d = Add (x, m)
          a = Gemm (d, wa)
          r = Relu (a)
          y = Gemm (r, wb)
        }""",
        wa=(6, 5), wb=(5, 3),
    )  # fmt: skip
    study, said = open_study(Request(saved(proto, tmp_path), data="gaussian?n=12"))
    assert study.model.batch == 1
    assert any("insists on 1" in line for line in said)
    assert study.outputs().shape == (12, 3)


def test_an_operator_that_the_runtime_lacks_is_named(tmp_path):
    path = saved(network("foreign"), tmp_path)
    with pytest.raises(ModelError, match=r"org\.example\.Blend, which ONNX Runtime does not have"):
        open_study(Request(path, data=NOISE))


def test_channels_behind_places_are_followed_to_the_front(tmp_path):
    """An input as other frameworks write it: N, height, width, channels."""
    proto = written(
        """g (float[N, 8, 8, 3] x) => (float[N, 4] y) {
          t = Transpose <perm = [0, 3, 1, 2]> (x)
          a = Conv <pads = [1, 1, 1, 1]> (t, wa)
          r = Relu (a)
          b = Transpose <perm = [0, 2, 3, 1]> (r)
          m = ReduceMean <axes = [1, 2], keepdims = 0> (b)
          y = MatMul (m, wb)
        }""",
        wa=(5, 3, 3, 3), wb=(5, 4),
    )  # fmt: skip
    study, _ = open_study(Request(saved(proto, tmp_path), data=NOISE))
    assert [(site.width, site.spatial, site.consumers) for site in study.sites] == [
        (5, (8, 8), ("y/MatMul",))
    ]


def test_labels_of_tokens_lie_on_the_axis_that_is_asked_for(tmp_path):
    """A label for each of 4 tokens: 7 classes on the last axis."""
    proto = written(
        """g (float[N, 4, 6] x) => (float[N, 4, 7] y) {
          a = MatMul (x, wa)
          r = Relu (a)
          y = MatMul (r, wb)
        }""",
        wa=(6, 5), wb=(5, 7),
    )  # fmt: skip
    path = saved(proto, tmp_path)
    for axis in (2, -1):
        study, _ = open_study(
            Request(path, data=NOISE, execution=Execution(labels=LabelOptions(axis)))
        )
        assert np.array_equal(study.labels(), study.outputs().argmax(axis=2))
    plain, _ = open_study(Request(path, data=NOISE))
    assert np.array_equal(plain.labels(), plain.outputs().argmax(axis=1))
    with pytest.raises(ModelError, match="no axis 3 for classes"):
        open_study(Request(path, data=NOISE, execution=Execution(labels=LabelOptions(3))))[
            0
        ].labels()


def test_numbers_count_as_changed_by_more_than_a_share_of_their_spread(tmp_path):
    """Without unit 1 the output falls by relu(x1), without unit 2 by a hundredth of relu(x2)."""
    proto = written(
        """g (float[N, 3] x) => (float[N, 1] y) {
          a = MatMul (x, wa)
          r = Relu (a)
          y = MatMul (r, wb)
        }""",
        wa=np.eye(3, dtype=np.float32), wb=np.array([[1], [1], [0.01]], np.float32),
    )  # fmt: skip
    path = saved(proto, tmp_path)
    study, said = open_study(
        Request(
            path, data="gaussian?n=500", execution=Execution(labels=LabelOptions(tolerance=0.1))
        )
    )
    from frivkit.units.masks import Mask
    from frivkit_unit_selectors.selectors import MAP

    (site,) = study.sites
    masks = [Mask({site.name: np.arange(3) != unit}) for unit in range(3)]
    shares = study.unchanged(masks, MAP).shares
    rows = np.maximum(study.data.read(0, 500).inputs["x"], 0)
    limit = 0.1 * study.outputs().std()
    assert np.array_equal(shares[0] == 0, rows[:, 0] > limit)
    assert shares[2].all()
    with pytest.raises(ModelError, match="compared by the task regress, which has no labels"):
        study.labels()
    assert not any("class" in line for line in said)
    found = analyze(
        Request(
            path, data="gaussian?n=500", execution=Execution(labels=LabelOptions(tolerance=0.1))
        )
    )
    assert found.accuracy is None
