"""Quantised files that compute otherwise where they are run than they are written."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from frivkit.errors import ModelError
from frivkit.measure.pipeline import Request, load_model, open_study
from frivkit.runtime import file_check, perturbed_model, session
from frivkit.runtime.file_check import compare_with_file
from frivkit.runtime.session import Device, Session
from frivkit.verification import verify
from tests.handmade import written
from tests.program import write_mlp, write_rows

DEVICE = Device(threads=1)


def write_quantised(path: Path, batch: int | None = None) -> Path:
    """Write a net of whole numbers: rounded inputs, an integer product, scales, and a layer."""
    model = written(
        f"""g (float[{batch or "N"}, 8] x) => (float[{batch or "N"}, 5] y) {{
          q = QuantizeLinear (x, s, z)
          p = MatMulInteger (q, w, z)
          f = Cast <to = 1> (p)
          a = Mul (f, s)
          h = Relu (a)
          y = MatMul (h, v)
        }}""",
        v=(6, 5),
    )
    random = np.random.default_rng(0)
    for name, array in {
        "s": np.float32(0.05),
        "z": np.uint8(128),
        "w": random.integers(-90, 90, (8, 6)).astype(np.int8),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    onnx.save(model, path)
    return path


@pytest.fixture
def saturated(monkeypatch):
    """Let files compute what they do not say, as on processors whose products saturate."""

    class Saturated(Session):
        def __init__(self, model, device):
            super().__init__(model, device)
            self.share = 1.0 if isinstance(model, ir.Model) else 0.8

        def run(self, feeds, outputs):
            return [self.share * array for array in super().run(feeds, outputs)]

    monkeypatch.setattr(file_check, "Session", Saturated)


@pytest.mark.parametrize("batch", [None, 1, 64])
def test_file_that_computes_otherwise_is_told_of(batch, saturated, tmp_path):
    path = write_quantised(tmp_path / "q.onnx", batch)
    data = f"npz:{write_rows(tmp_path / 'x.npz', n=40)}"
    study, warnings = open_study(Request(path, data=data))
    (warning,) = (line for line in warnings if "processor" in line)
    assert f"outputs of {batch or 16} examples are up to 20% of the largest away" in warning
    assert warning.startswith("q.onnx: ")
    assert "x64quantprecision=1" in warning
    assert "reduce_range" in warning
    assert study.outputs().shape == (40, 5)


def test_file_that_computes_as_written_is_not(tmp_path):
    data = f"npz:{write_rows(tmp_path / 'x.npz', n=40)}"
    _, warnings = open_study(Request(write_quantised(tmp_path / "q.onnx"), data=data))
    assert not [line for line in warnings if "processor" in line]


def test_a_comparison_of_files_tells_of_it_too(saturated, tmp_path):
    path = write_quantised(tmp_path / "q.onnx")
    data = f"npz:{write_rows(tmp_path / 'x.npz', n=40)}"
    found = verify(Request(write_mlp(tmp_path / "m.onnx"), data=data), path)
    (line,) = (line for line in found.warnings if line.startswith("q.onnx: on this proc"))
    assert "and what the file computes is compared here" in line


def test_a_comparison_is_of_the_file_itself(tmp_path, monkeypatch):
    path = write_quantised(tmp_path / "q.onnx")
    data = f"npz:{write_rows(tmp_path / 'x.npz', n=40)}"
    run = []

    class Otherwise(Session):
        def __init__(self, model, device):
            super().__init__(model, device)
            run.append(model)
            self.sign = -1 if model == path else 1  # as on a processor that computes otherwise

        def run(self, feeds, outputs):
            return [self.sign * array for array in super().run(feeds, outputs)]

    monkeypatch.setattr(perturbed_model, "Session", Otherwise)
    found = verify(Request(path, data=data), write_mlp(tmp_path / "m.onnx"))
    assert run[0] == path
    assert isinstance(run[1], ir.Model)  # a float file computes what its graph does
    x = np.load(tmp_path / "x.npz")["x"]
    outputs = []
    for each in (path, tmp_path / "m.onnx"):
        model = load_model(Request(each))
        outputs.append(Session(model.ir, DEVICE).run({"x": x}, [model.output()])[0])
    labels = [(-outputs[0]).argmax(axis=1), outputs[1].argmax(axis=1)]
    same = int((labels[0] == labels[1]).sum())
    assert found.comparison.agreement.same == same


@pytest.mark.usefixtures("saturated")
def test_only_quantised_files_that_can_be_run_are_tried(tmp_path, monkeypatch):
    write_mlp(tmp_path / "m.onnx")
    data = f"npz:{write_rows(tmp_path / 'x.npz', n=40)}"
    study, _ = open_study(Request(tmp_path / "m.onnx", data=data))
    assert compare_with_file(study.model, study.data, DEVICE) is None
    model = load_model(Request(write_quantised(tmp_path / "q.onnx")))
    assert "20%" in compare_with_file(model, study.data, DEVICE)

    def broken(model, device):
        raise ModelError("cannot be loaded")

    monkeypatch.setattr(file_check, "Session", broken)
    assert compare_with_file(model, study.data, DEVICE) is None
    (tmp_path / "q.onnx").unlink()
    monkeypatch.undo()
    assert compare_with_file(model, study.data, DEVICE) is None


def test_graphs_are_run_by_exact_kernels_where_the_runtime_has_them(tmp_path, monkeypatch):
    requested = []

    class Options(session.ort.SessionOptions):
        def add_session_config_entry(self, key, value):
            requested.append((key, value))
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(session.ort, "SessionOptions", Options)
    path = write_quantised(tmp_path / "q.onnx")
    feeds = {"x": np.ones((2, 8), np.float32)}
    model = load_model(Request(path)).ir
    exact = Session(model, DEVICE).run(feeds, ["y"])
    assert requested == [("session.x64quantprecision", "1")]
    Session(path, DEVICE)
    assert len(requested) == 1

    opened = Session._open

    def refusing(model, options, provider):
        if requested[-1][1] == "1":
            raise RuntimeError("no kernel")
        return opened(model, options, provider)

    monkeypatch.setattr(Session, "_open", staticmethod(refusing))
    np.testing.assert_allclose(Session(model, DEVICE).run(feeds, ["y"])[0], exact[0], rtol=0.5)
    assert requested[-1] == ("session.x64quantprecision", "0")
    monkeypatch.setattr(Session, "_open", staticmethod(lambda *_: refusing(None, None, None)))
    requested[:] = []
    with pytest.raises(ModelError, match="cannot load the model"):
        Session(model, DEVICE)
