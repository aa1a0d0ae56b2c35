"""Our own translations give the numbers of ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import frivkit
from frivkit.errors import ModelError
from frivkit.torch_io.from_onnx.operators import HANDLERS
from frivkit.torch_io.from_onnx.resize import COORDINATES
from tests.handmade import written

BATCH_NORM = """g (float[N, 3, 2] x) => (float[N, 3, 2] y) {
  y = BatchNormalization <epsilon = 0.01> (x, scale, shift, shift, variance)
}"""
LSTM = """g (float[N, 4, 3] x) => (float[2, N, 5] y) {
  t = Transpose <perm = [1, 0, 2]> (x)
  shape = Constant <value_ints = [2, 2, 5]> ()
  zeros = ConstantOfShape (shape)
  , y = LSTM <hidden_size = 5, direction = "bidirectional"> (t, w, r, , , zeros, zeros)
}"""
LOOP = """g (float[N, 3] x) => (float[N, 3] y) {
  y = Loop (times, , x) <
    body = b (int64 i, bool go, float[N, 3] before) => (bool on, float[N, 3] after) {
      on = Identity (go)
      after = Mul (before, w)
    }
  >
}"""
QUANTIZED = """g (float[N, 3, 2] x) => (float[N, 3, 2] y) {
  q = QuantizeLinear <axis = 1> (x, steps, zeros)
  d = DequantizeLinear <axis = 1> (q, steps, zeros)
  e = QuantizeLinear (d, step)
  y = DequantizeLinear (e, step)
}"""
SIZES = """g (float[N, 3, 4] x) => (float[N, 3, 4] y) {
  s = Shape <start = 1> (x)
  count = Size (x)
  filled = ConstantOfShape <value = float[1] {2.5}> (s)
  a = Mul (x, filled)
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  last = Constant <value_int = -1> ()
  width = Gather (s, last)
  r = Range (zero, width, one)
  f = Cast <to = 1> (r)
  b = Add (a, f)
  c = Cast <to = 1> (count)
  y = Div (b, c)
}"""
GATHER = """g (float[N, 5, 2] x) => (float[N, 2, 2, 2] y) {
  y = Gather <axis = -2> (x, places)
}"""
RESIZE = """g (float[N, 1, 4, 5] x) => (float[N, 1, 8, 10] y) {
  y = Resize <mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1> (x, , scales)
}"""
CASES = {
    ("BatchNormalization",): (BATCH_NORM, {"scale": (3,), "shift": (3,), "variance": np.ones(3)}),
    ("LSTM",): (LSTM, {"w": (2, 20, 3), "r": (2, 20, 5)}),
    ("Loop",): (LOOP, {"times": np.int64(3), "w": (3,)}),
    ("QuantizeLinear", "DequantizeLinear"): (
        QUANTIZED,
        {
            "steps": np.array([0.1, 0.2, 0.3]),
            "zeros": np.array([3, 100, 128], np.uint8),
            "step": np.float32(0.25),
        },
    ),
    ("Shape", "Size", "ConstantOfShape", "Range", "Cast"): (SIZES, {}),
    ("Gather",): (GATHER, {"places": np.array([[0, -1], [-5, 2]])}),
    ("Resize",): (RESIZE, {"scales": np.array([1.0, 1, 2, 2])}),
}


def test_every_translation_is_tried():
    assert {op for ops in CASES for op in ops} - {"LSTM"} == {*HANDLERS}


@pytest.mark.parametrize("ops", CASES)
def test_gives_the_numbers_of_onnx_runtime(ops):
    text, given = CASES[ops]
    weights = {
        name: what.astype(np.float32) if getattr(what, "dtype", None) == np.float64 else what
        for name, what in given.items()
    }
    assert frivkit.to_torch(written(text, opset=19, **weights)) is not None


@st.composite
def resizes(draw):
    """Draw a Resize of an input (2, 3), with scales or with sizes."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    coordinates = draw(st.sampled_from(COORDINATES))
    nearest = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    widths = [draw(st.integers(2, 6)) for _ in range(2)]
    sizes = [draw(st.integers(1, 9)) for _ in range(2)]
    by_scale = draw(st.booleans())
    return mode, coordinates, nearest, widths, sizes, by_scale


@given(resizes())
@settings(max_examples=20, deadline=None)
def test_resize_is_that_of_onnx_runtime(drawn):
    mode, coordinates, nearest, widths, sizes, by_scale = drawn
    # Single entries and ties of rounding come out otherwise in float32.
    assume(coordinates != "align_corners" or 1 not in sizes)
    assume(mode != "nearest" or by_scale or coordinates != "half_pixel_symmetric")
    opset = 19 if coordinates == "half_pixel_symmetric" else 13
    how = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"'
    how += f', nearest_mode = "{nearest}"' if mode == "nearest" else ""
    scales = np.array([1, 1, *(s / w for s, w in zip(sizes, widths, strict=True))], np.float32)
    ends = "scales" if by_scale else ", sizes"
    more = {"scales": scales} if by_scale else {"sizes": np.array([2, 1, *sizes])}
    shape = f"2, 1, {widths[0]}, {widths[1]}"
    text = f"g (float[{shape}] x) => (float[a, b, c, d] y) {{ y = Resize <{how}> (x, , {ends}) }}"
    proto = written(text, opset=opset, **more)
    frivkit.to_torch(proto)


@pytest.mark.parametrize(
    "how", ['coordinate_transformation_mode = "tf_crop_and_resize"', "antialias = 1"]
)
def test_a_resize_that_torch_does_otherwise_is_refused_with_its_node(how):
    proto = written(
        f"""g (float[N, 1, 6] x) => (float[N, 1, 4] y) {{
          y = Resize <mode = "linear", {how}> (x, roi, , sizes)
        }}""",
        opset=18, roi=np.array([0, 0, 0.1, 1, 1, 0.9], np.float32), sizes=np.array([2, 1, 4]),
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"node y/Resize \(Resize\)"):
        frivkit.to_torch(proto)


def test_a_gradient_reaches_weights_behind_our_translations():
    module = frivkit.to_torch(written(LSTM, opset=19, w=(2, 20, 3), r=(2, 20, 5)))
    module(torch.randn(2, 4, 3)).sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in module.parameters())
