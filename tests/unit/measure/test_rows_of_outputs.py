"""Outputs whose number of rows depends on the input, as that of a detector's boxes does."""

import numpy as np
import onnx
import pytest

from frivkit.errors import ModelError
from frivkit.measure.pipeline import Request, analyze
from tests.handmade import written


def test_other_rows_for_other_examples_are_named(tmp_path):
    proto = written(
        """g (float[1, 4] x) => (int64[2, k] found) {
          a = Gemm (x, w)
          r = Relu (a)
          b = Gemm (r, v)
          found = NonZero (b)
        }""",
        w=np.eye(4, dtype=np.float32), v=np.eye(4, dtype=np.float32),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.tile(np.eye(4, dtype=np.float32), (3, 1))
    x[7:] += 1
    with pytest.raises(ModelError, match=r"output 'found' of m\.onnx has shape|other rows"):
        analyze(Request(tmp_path / "m.onnx", data={"x": x}))
