"""Files in training mode are read in inference mode, and that is said."""

import numpy as np
import onnx
import pytest

from frivkit.graph.onnx_io.load import read
from tests.handmade import written
from tests.surgery import close, run

TEXT = """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {{
  a = Conv (x, w)
  n{more} = BatchNormalization {norm} (a, scale, shift, mean, var)
  r = Relu (n)
  d = Dropout {drop}
  f = Flatten (d)
  y = Gemm (f, v)
}}"""


@pytest.mark.parametrize(
    ("opset", "more", "norm", "drop"),
    [
        (17, ", m, s", "<training_mode = 1>", "(r, ratio, on)"),
        (11, ", m, s, p, q", "", "<ratio = 0.5> (r)"),
    ],
)
def test_training_mode_is_said_and_left(opset, more, norm, drop, tmp_path):
    weights = {
        "w": (4, 3, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,),
        "var": np.full(4, 2, np.float32), "v": (16, 2), "ratio": np.float32(0.5),
        "on": np.bool_(True),
    }  # fmt: skip
    text = TEXT.format(more=more, norm=norm, drop=drop)
    plain = TEXT.format(more="", norm="", drop="<ratio = 0.5> (r)" if opset < 12 else "(r, ratio)")
    for name, each in (("m", text), ("plain", plain)):
        onnx.save(written(each, opset=opset, **weights), tmp_path / f"{name}.onnx")
    model, wanted = read(tmp_path / "m.onnx"), read(tmp_path / "plain.onnx")
    (note,) = model.notes
    assert "training mode (BatchNormalization" in note
    assert not model.changes
    assert not wanted.notes
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32)}
    close(run(model.ir, feeds), run(wanted.ir, feeds))


def test_statistics_that_are_read_stay_those_of_the_batch(tmp_path):
    text = TEXT.format(more=", m, s", norm="<training_mode = 1>", drop="(r)")
    text = text.replace("float[N, 2] y)", "float[N, 2] y, float[4] m)")
    weights = {
        "w": (4, 3, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,), "v": (16, 2),
    }  # fmt: skip
    onnx.save(written(text, **weights), tmp_path / "m.onnx")
    (note,) = read(tmp_path / "m.onnx").notes
    assert "stays so" in note
