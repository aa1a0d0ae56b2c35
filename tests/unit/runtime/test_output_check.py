"""Outputs whose rows depend on what the examples hold are refused before any work."""

import numpy as np
import onnx
import pytest

import frivkit
from frivkit.compression import compress as compression
from frivkit.errors import ModelError
from tests.handmade import written

RECORD = """g (float[{batch}, 3, 8, 8] x) => (int64[K, 3] picked, float[{batch}, 4] y) {{
  a = Conv <pads = [1, 1, 1, 1]> (x, wa)
  r = Relu (a)
  h = Conv (r, wb)
  f = Reshape (h, shape)
  t = Transpose <perm = [0, 2, 1]> (f)
  boxes = Slice (t, zero, four, last)
  logits = Slice (f, four, six, one)
  scores = Sigmoid (logits)
  picked = NonMaxSuppression (boxes, scores, most, half, half)
  m = ReduceMean <axes = [2, 3], keepdims = 0> (r)
  y = Gemm (m, wy)
}}"""


def write(folder, batch):
    numbers = {"zero": 0, "one": 1, "last": 2, "four": 4, "six": 6, "most": 20}
    arrays = {name: np.array([number]) for name, number in numbers.items()}
    made = written(
        RECORD.format(batch=batch), wa=(8, 3, 3, 3), wb=(6, 8, 1, 1), wy=(8, 4),
        shape=np.array([0, 6, 64]), half=np.array([0.5], np.float32), **arrays,
    )  # fmt: skip
    onnx.save(made, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("batch", ["N", "1"])
def test_rows_that_vary_are_refused_before_calibration(batch, tmp_path, monkeypatch):
    path = write(tmp_path, batch)
    x = np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)
    monkeypatch.setattr(compression, "calibrate", lambda *_, **__: pytest.fail("it went on"))
    for work in (
        lambda: frivkit.compress(path, tmp_path / "t.onnx", data=x, macs=0.6),
        lambda: frivkit.frontier(path, data=x),
        lambda: frivkit.verify(path, path, data=x),
        lambda: frivkit.analyze(path, data=x),
    ):
        with pytest.raises(ModelError) as refused:
            work()
        said = str(refused.value)
        assert "cut the file before picked/NonMaxSuppression, so that it gives boxes, sc" in said
        assert said.endswith("choose another by --output-name: y")
    monkeypatch.undo()
    made = frivkit.compress(path, tmp_path / "t.onnx", data=x, macs=0.6, output_name="y")
    assert made.document["budget"]["left"]["macs"] <= 0.6
