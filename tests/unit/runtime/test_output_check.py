"""Outputs whose rows depend on what the examples hold are seen before any work."""

import numpy as np
import onnx
import pytest

import frivkit
from frivkit.compression import compress as compression
from frivkit.data import as_dataset
from frivkit.errors import UsageError
from frivkit.runtime.free_batch import free_batch_size
from frivkit.runtime.session import Device
from tests.handmade import written
from tests.nets import opened

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
def test_another_task_than_that_of_boxes_is_refused_before_calibration(
    batch, tmp_path, monkeypatch
):
    path = write(tmp_path, batch)
    x = np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)
    monkeypatch.setattr(compression, "calibrate", lambda *_, **__: pytest.fail("it went on"))
    for work in (
        lambda: frivkit.compress(path, tmp_path / "t.onnx", data=x, macs=0.6, task="classify"),
        lambda: frivkit.frontier(path, data=x, task="regress"),
        lambda: frivkit.verify(path, path, data=x, task="multilabel"),
        lambda: frivkit.analyze(path, data=x, task="embed"),
    ):
        with pytest.raises(UsageError, match="does not fit output 'picked'"):
            work()
    monkeypatch.undo()
    made = frivkit.compress(path, tmp_path / "t.onnx", data=x, macs=0.6, output_name="y")
    assert made.document["budget"]["left"]["macs"] <= 0.6


def test_a_batch_size_is_freed_only_if_every_output_is_the_same(tmp_path):
    """The second output of an example says how many run beside it."""
    made = written(
        """g (float[1, 4] x) => (float[1, 3] y, float[1, 4] z) {
          y = MatMul (x, w)
          total = ReduceSum <keepdims = 1> (x, axis)
          z = Mul (x, total)
        }""",
        w=(4, 3),
        axis=np.array([0]),
    )
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    model = opened(made, tmp_path / "m.onnx")
    data = as_dataset(x, model.inputs)
    assert free_batch_size(model, "y", Device(), data, 1 << 26).batch == 1
    alone = onnx.ModelProto()
    alone.CopyFrom(made)
    del alone.graph.output[1]
    model = opened(alone, tmp_path / "alone.onnx")
    assert free_batch_size(model, "y", Device(), data, 1 << 26).batch is None
