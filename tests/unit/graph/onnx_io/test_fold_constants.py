"""Weights that are computed from constants are constants; those of fewer bits stay so."""

import numpy as np
import onnx
import pytest

from frivkit.graph.model import parameters
from frivkit.graph.onnx_io.load import read
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from tests.handmade import written
from tests.surgery import agrees, close, run, shapes

NORMED = """g (float[N, 6] x) => (float[N, 3] y) {{
  {computed}
  a = Gemm <transB = 1> (x, w)
  r = Relu (a)
  y = Gemm (r, v)
}}"""


@pytest.mark.parametrize(
    "computed",
    [
        "n = ReduceL2 <axes = [1], keepdims = 1> (d) u = Div (d, n) w = Mul (u, g)",
        "s = Identity (d) w = Slice (s, zero, five, zero)",
        "p = Reshape (d, turned) t = Transpose (p) w = Reshape (t, whole)",
        "t = Transpose (d) q = MatMul (t, d) k = MatMul (d, q) w = Tanh (k)",
        "f = ConstantOfShape (whole) w = Add (f, d)",
        "h, i = Split <axis = 1> (d) w = Concat <axis = 1> (i, h)",
    ],
)
def test_weights_that_are_computed_from_constants_can_be_cut(computed, tmp_path):
    proto = written(
        NORMED.format(computed=computed), d=(5, 6), g=(5, 1), v=(5, 3), zero=np.array([0]),
        five=np.array([5]), turned=np.array([3, 10]), whole=np.array([5, 6]),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, r=[0, 3])
    assert shapes(compressed) == {"w": [3, 6], "v": [3, 3]}


def test_reading_does_not_change_what_is_computed(tmp_path):
    computed = "n = ReduceL2 <axes = [1], keepdims = 1> (d) u = Div (d, n) w = Mul (u, g)"
    proto = written(NORMED.format(computed=computed), d=(5, 6), g=(5, 1), v=(5, 3))
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    assert not model.changes
    assert parameters(model.graph) == 30 + 15
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)}
    import onnx_ir as ir

    close(run(model.ir, feeds), run(ir.from_proto(proto), feeds))


@pytest.mark.parametrize(
    "computed",
    [
        "w = RandomNormal <shape = [5, 6]> ()",
        "f = RandomNormalLike (d) w = Add (f, d)",
        "e = Expand (g, huge) m = ReduceMax <axes = [1], keepdims = 1> (e) w = Mul (d, m)",
    ],
)
def test_random_numbers_and_huge_tensors_are_not_folded(computed, tmp_path):
    proto = written(
        NORMED.format(computed=computed), d=(5, 6), g=(5, 1), v=(5, 3),
        huge=np.array([5, 10**12]),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    assert "w" not in read(tmp_path / "m.onnx").graph.initializers


def test_a_weight_stored_in_half_precision_stays_stored_so(tmp_path):
    proto = written(
        NORMED.format(computed="w = Cast <to = 1> (d)"),
        d=np.random.default_rng(0).standard_normal((5, 6)).astype(np.float16), v=(5, 3),
    )  # fmt: skip
    assert shapes(agrees(proto, tmp_path, r=[1])) == {"d": [4, 6], "v": [4, 3]}


def test_tied_weights_stay_one_tensor(tmp_path):
    proto = written(
        """g (float[N, 6] x) => (float[N, 6] y) {
          a = MatMul (x, w)
          r = Relu (a)
          t = Transpose (w)
          y = MatMul (r, t)
        }""",
        w=(6, 5),
    )
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    assert list(model.graph.initializers) == ["w"]
    assert find_groups(model, find_sites(model)).reason("r") is None
