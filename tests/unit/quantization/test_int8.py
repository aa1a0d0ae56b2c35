"""Int8 files: what is in them, and that the proof is of the file itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from frivkit.data import as_dataset
from frivkit.errors import ModelError
from frivkit.graph.onnx_io.load import read
from frivkit.latency import timing as latency
from frivkit.quantization import Int8Options, quantize, saturation, write_int8
from frivkit.runtime import perturbed_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.session import Device, Session
from tests.handmade import written
from tests.quantised import reference

EXECUTION = Execution(threads=1)
NET = """g (float[N, 4, 8, 8] x) => (float[N, 5] y) {
  z = Conv <pads = [1, 1, 1, 1]> (x, wz, bz)
  r = Relu (z)
  n = BatchNormalization (r, gamma, beta, mean, var)
  c = Conv <pads = [1, 1, 1, 1], group = 1> (n, wc, bc)
  s = Relu (c)
  d = Conv <group = 8> (s, wd, bd)
  t = Relu (d)
  p = AveragePool <kernel_shape = [3, 3], strides = [3, 3]> (t)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, wy, by)
}"""


def net(opset: int = 17, **more: object) -> onnx.ModelProto:
    weights: dict[str, object] = {
        "wz": (6, 4, 3, 3),
        "bz": (6,),
        "wc": (8, 6, 3, 3),
        "bc": (8,),
        "wd": (8, 1, 3, 3),
        "bd": (8,),
        "wy": (5, 32),
        "by": (5,),
        "beta": (6,),
        "mean": (6,),
        "gamma": np.arange(1, 7, dtype=np.float32),
        "var": np.full(6, 2, np.float32),
    }
    proto = written(NET, opset=opset, **{**weights, **more})
    entry = proto.metadata_props.add()
    entry.key, entry.value = "made.by", "hand"
    return proto


def examples(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4, 8, 8)).astype(np.float32)


@pytest.fixture
def opened(tmp_path: Path):
    """Return a function that writes a network and opens it with 60 examples."""

    def run(proto: onnx.ModelProto):
        onnx.save(proto, tmp_path / "net.onnx")
        model = read(tmp_path / "net.onnx")
        data = as_dataset(examples(60), model.inputs)
        return prepare_model(model, Opening(EXECUTION, data), keep_file=True), data

    return run


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.01)
    monkeypatch.setattr(latency, "TURN", 0.0001)


def weights_of(model: ir.Model) -> list[np.ndarray]:
    arrays = [value.const_value.numpy() for value in model.graph.initializers.values()]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]


@pytest.mark.parametrize(("reduce", "most"), [(False, 127), (True, 64)])
def test_all_layers_compute_in_8_bits(reduce, most, opened):
    model, data = opened(net())
    made = quantize(model, data, EXECUTION, Int8Options(reduce_range=reduce))
    assert (made.reduce_range, made.folded, made.refined) == (reduce, 1, 4)
    assert made.equalized == 3
    assert made.float_nodes == {}
    weights = weights_of(made.ir)
    assert len(weights) == 4
    assert max(np.abs(array.astype(int)).max() for array in weights) == most
    assert made.ir.metadata_props["made.by"] == "hand"
    assert not [key for key in made.ir.metadata_props if key.startswith("onnx.")]

    x = examples(40, seed=1)
    proto = ir.to_proto(made.ir)
    exact = reference(proto, {"x": x}, "y")
    real = ort.InferenceSession(ir.to_proto(model.ir).SerializeToString()).run(None, {"x": x})[0]
    assert np.linalg.norm(exact - real) < (0.03 if reduce else 0.02) * np.linalg.norm(real)
    assert np.unique(exact).size > 150  # the output is not rounded to 8 bits


def test_each_step_makes_outputs_more_exact(opened):
    model, data = opened(net())
    x = examples(200, seed=1)
    real = Session(model.ir, Device(threads=1)).run({"x": x}, ["y"])[0]

    def error(**options: object) -> float:
        made = quantize(model, data, EXECUTION, Int8Options(reduce_range=True, **options))
        found = Session(made.ir, Device(threads=1)).run({"x": x}, ["y"])[0]
        return float(np.linalg.norm(found - real))

    plain, rewritten = error(fold=True, equalize=False, refine=False), error(refine=False)
    assert rewritten < plain
    assert error() < 0.9 * rewritten


def test_little_memory_changes_nothing_but_what_is_refined(opened):
    model, data = opened(net())
    small = replace(EXECUTION, memory=1 << 14)
    made = quantize(model, data, small, Int8Options(reduce_range=False))
    assert made.refined < 4
    wide = quantize(model, data, EXECUTION, Int8Options(reduce_range=False, refine=False))
    narrow = quantize(model, data, small, Int8Options(reduce_range=False, refine=False))
    assert [a.tolist() for a in weights_of(wide.ir)] == [a.tolist() for a in weights_of(narrow.ir)]


def test_old_opsets_are_converted(opened):
    model, data = opened(net(opset=11))
    made = quantize(model, data, EXECUTION)
    assert made.ir.opset_imports[""] >= 13
    assert made.folded == 1


def test_what_int8_is_not_for_is_refused(opened):
    model, data = opened(net())
    made = quantize(model, data, EXECUTION)
    with pytest.raises(ModelError, match="give that"):
        quantize(replace(model, ir=made.ir), data, EXECUTION)
    relu, more = opened(
        written("g (float[N, 4, 8, 8] x) => (float[N, 4, 8, 8] y) { y = Relu (x) }")
    )
    with pytest.raises(ModelError, match="no Conv, Gemm or MatMul"):
        quantize(relu, more, EXECUTION)
    wrong, more = opened(net(bz=np.array([np.inf] * 6, np.float32)))
    with pytest.raises(ModelError, match=r"the weight 'bz' of net.onnx is not finite"):
        quantize(wrong, more, EXECUTION)


@pytest.mark.usefixtures("quick")
def test_the_proof_is_of_the_file(tmp_path, opened, monkeypatch):
    model, data = opened(net())
    held_out = as_dataset(examples(300, seed=2), model.inputs)
    ran = []

    class Watched(Session):
        def __init__(self, source, device):
            ran.append(source)
            super().__init__(source, device)

    monkeypatch.setattr(perturbed_model, "Session", Watched)
    path = tmp_path / "int8.onnx"
    result = write_int8(model, model.path, path, data=data, held_out=held_out, execution=EXECUTION)
    ran = [source for source in ran if getattr(source, "name", "") == path.name]
    assert len(ran) == 2  # against the original, and against the compressed file

    x = examples(300, seed=2)
    outputs = [
        ort.InferenceSession(str(each)).run(None, {"x": x})[0] for each in (model.path, path)
    ]
    same = int((outputs[0].argmax(axis=1) == outputs[1].argmax(axis=1)).sum())
    assert result.verification.comparison.agreement.same == same
    assert result.verification.comparison.agreement.examples == 300
    assert result.verification.compressed.bytes == path.stat().st_size
    stored = onnx.load(path)
    assert {p.key for p in stored.metadata_props} == {"made.by", "frivkit.int8"}
    integers = [t for t in stored.graph.initializer if numpy_helper.to_array(t).dtype == np.int8]
    assert len([t for t in integers if len(t.dims) > 1]) == 4
    with pytest.raises(ModelError, match="give another name"):
        write_int8(model, model.path, model.path, data=data, held_out=held_out, execution=EXECUTION)


def test_saturation_is_told_by_the_kernels(monkeypatch):
    for op, shape in (("QLinearConv", (16, 64, 1, 1)), ("QLinearMatMul", (64, 16))):
        proto = ir.to_proto(saturation._one_node(op, shape))
        x = np.full((4, 64, 4, 4)[: len(shape)], 255, np.uint8)
        assert (reference(proto, {"x": x}, "y") == 255).all()
    assert saturation.products_saturate(Device(threads=1)) in (True, False)

    class Saturated(Session):
        def run(self, feeds, outputs):
            return [np.minimum(array, 129) for array in super().run(feeds, outputs)]

    monkeypatch.setattr(saturation, "Session", Saturated)
    assert saturation.products_saturate(Device(threads=1))
