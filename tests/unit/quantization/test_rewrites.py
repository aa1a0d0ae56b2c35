"""Rewrites before quantizing compute the same as the model before, by ONNX's own interpreter."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from frivkit.graph.shapes import infer_shapes
from frivkit.quantization.equalization import equalize
from frivkit.quantization.folding import fold_normalizations
from tests.handmade import written

X = np.random.default_rng(3).standard_normal((3, 4, 8, 8)).astype(np.float32)
NORM = "n = BatchNormalization (r, gamma, beta, mean, var)"


def normalised(behind: str, *, gamma: object = None, width: int = 6, **weights: object):
    """Return a convolution, a ReLU, a BatchNormalization n of r, and what is behind it."""
    generator = np.random.default_rng(1)
    numbers = generator.standard_normal((4, width)).astype(np.float32)
    return written(
        f"""g (float[N, 4, 8, 8] x) => (float[N, 5] y) {{
          z = Conv <pads = [1, 1, 1, 1]> (x, wz, bz)
          r = Relu (z)
          {NORM}
          {behind}
        }}""",
        wz=(width, 4, 3, 3),
        bz=numbers[3],
        gamma=np.abs(numbers[0]) + 0.3 if gamma is None else gamma,
        beta=numbers[1],
        mean=numbers[2],
        var=np.full(width, 2, np.float32),
        **weights,
    )


def loaded(proto: onnx.ModelProto) -> ir.Model:
    model = ir.from_proto(proto)
    infer_shapes(model)
    return model


def computed(model: ir.Model, x: np.ndarray = X) -> np.ndarray:
    return ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


HEAD = "p = GlobalAveragePool (c) f = Flatten (p) y = Gemm <transB = 1> (f, wy)"
WY = {"wy": (5, 7)}
FOLDED = {
    "no padding": (f"c = Conv (n, wc) {HEAD}", {"wc": (7, 6, 3, 3), **WY}),
    "padding": (f"c = Conv <pads = [1, 1, 1, 1]> (n, wc, bc) {HEAD}",
                {"wc": (7, 6, 3, 3), "bc": (7,), **WY}),
    "one-sided padding, strides, dilations": (
        f"c = Conv <pads = [0, 2, 1, 0], strides = [2, 1], dilations = [1, 2]> (n, wc) {HEAD}",
        {"wc": (7, 6, 3, 2), **WY}),
    "same padding": (f'c = Conv <auto_pad = "SAME_UPPER"> (n, wc) {HEAD}',
                     {"wc": (7, 6, 3, 3), **WY}),
    "two readers": (
        f"a = Conv <pads = [1, 1, 1, 1]> (n, wc) b = Conv (n, wd) c = Add (a, b) {HEAD}",
        {"wc": (7, 6, 3, 3), "wd": (7, 6, 1, 1), **WY}),
    "max pooling": (f"m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (n) "
                    f"c = Conv <pads = [1, 1, 1, 1]> (m, wc) {HEAD}", {"wc": (7, 6, 3, 3), **WY}),
    "groups": (f"c = Conv <group = 2> (n, wc) {HEAD}", {"wc": (8, 3, 3, 3), "wy": (5, 8)}),
    "depthwise": (f"c = Conv <group = 6> (n, wc) {HEAD}", {"wc": (6, 1, 3, 3), "wy": (5, 6)}),
    "flattened": ("a = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (n) "
                  "f = Flatten (a) y = Gemm <alpha = 0.5> (f, wy, by)",
                  {"wy": (24, 5), "by": (5,)}),
    "flattened and padded": (
        "f = Flatten (n) u = Gemm (f, wu) c = Conv <pads = [1, 1, 1, 1]> (n, wc) "
        "p = GlobalAveragePool (c) v = Flatten (p) y = Add (u, v)",
        {"wu": (384, 5), "wc": (5, 6, 3, 3)}),
    "product of matrices": ("p = GlobalAveragePool (n) f = Flatten (p) y = MatMul (f, wy)",
                            {"wy": (6, 5)}),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_folding_is_exact(case):
    behind, weights = FOLDED[case]
    model = loaded(normalised(behind, **weights))
    before = computed(model)
    assert fold_normalizations(model, {"r": np.full(6, 4.0)}) == 1
    assert "BatchNormalization" not in operators(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    np.testing.assert_allclose(computed(model), before, rtol=2e-4, atol=2e-5)


NEGATIVE = np.array([1, -1, 2, 1, 1, 1], np.float32)
WC = {"wc": (7, 6, 3, 3), **WY}
KEPT = {
    "the output": ("y = Identity (n)", {}),
    "a sum": (f"c = Add (n, r) {HEAD}", {"wy": (5, 6)}),
    "padding of groups": (f"c = Conv <group = 2, pads = [1, 1, 1, 1]> (n, wc) {HEAD}",
                          {"wc": (8, 3, 3, 3), "wy": (5, 8)}),
    "negative scales before max pooling": (
        f"m = MaxPool <kernel_shape = [2, 2]> (n) c = Conv (m, wc) {HEAD}",
        {**WC, "gamma": NEGATIVE}),
    "averages over padding": (
        "a = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (n) "
        f"c = Conv (a, wc) {HEAD}", WC),
    "weights that are computed": (f"w = Neg (wc) c = Conv (n, w) {HEAD}", WC),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_would_not_be_exact_is_left(case):
    behind, weights = KEPT[case]
    model = loaded(normalised(behind, **weights))
    before = ir.to_proto(model).SerializeToString()
    assert fold_normalizations(model, {}) == 0
    assert ir.to_proto(model).SerializeToString() == before


def test_added_channels_keep_weights_in_range():
    behind, weights = FOLDED["padding"]
    proto = normalised(behind, **weights)
    model = loaded(proto)
    fold_normalizations(model, {"r": np.full(6, 1.5)})
    new = model.graph.initializers["wc"].const_value.numpy()
    assert new.shape[1] > 6
    rows = np.abs(new).reshape(7, new.shape[1], -1).max(axis=2)
    assert (rows[:, 6:].max(axis=1) <= rows[:, :6].max(axis=1) * 1.001).all()
    bias = model.graph.initializers["bz"].const_value.numpy()
    np.testing.assert_allclose(bias[6:], 1.5)


def test_shared_weights_are_folded_for_one_reader_only():
    behind = f"a = Conv (n, wc) b = Conv (r, wc) c = Add (a, b) {HEAD}"
    model = loaded(normalised(behind, **WC))
    before = computed(model)
    assert fold_normalizations(model, {}) == 1
    np.testing.assert_allclose(computed(model), before, rtol=2e-4, atol=2e-5)


CHAIN = """g (float[N, 4, 8, 8] x) => (float[N, 5] y) {
  z = Conv <pads = [1, 1, 1, 1]> (x, wz, bz)
  r = Relu (z)
  d = Conv <group = 6, strides = [2, 2]> (r, wd)
  e = LeakyRelu (d)
  m = MaxPool <kernel_shape = [2, 2]> (e)
  f = Flatten (m)
  h = Gemm <transB = 1> (f, wh, bh)
  s = Relu (h)
  y = MatMul (s, wy)
}"""


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_equalisation_computes_the_same(seed, spread):
    generator = np.random.default_rng(seed)

    def drawn(*shape):
        rows = np.exp(spread * generator.standard_normal((shape[0], *[1] * (len(shape) - 1))))
        return (rows * generator.standard_normal(shape)).astype(np.float32)

    model = loaded(
        written(CHAIN, wz=drawn(6, 4, 3, 3), bz=drawn(6), wd=drawn(6, 1, 3, 3), wh=drawn(7, 24),
                bh=drawn(7), wy=drawn(7, 5))
    )  # fmt: skip
    before = computed(model)
    tensors = {name: generator.exponential(1, 6) for name in ("r", "e")}
    assert equalize(model, {**tensors, "s": generator.exponential(1, 7)}) == 3
    after = computed(model)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()


def test_equalisation_makes_channels_alike():
    model = loaded(written(CHAIN, wz=(6, 4, 3, 3), bz=(6,), wd=(6, 1, 3, 3), wh=(7, 24), bh=(7,),
                           wy=np.ones((7, 5), np.float32)))  # fmt: skip
    largest = np.array([1, 2, 4, 8, 16, 32, 0], np.float64)
    assert equalize(model, {"s": largest}) == 1
    weights = np.abs(model.graph.initializers["wy"].const_value.numpy()).max(axis=1)
    np.testing.assert_allclose(weights[:6] ** 2 / largest[:6], weights[0] ** 2 / largest[0], 1e-5)
    assert weights[6] == 1  # a channel that is always 0 stays as it is


def test_tensors_that_others_read_are_not_scaled():
    model = loaded(
        written(
            """g (float[N, 4, 8, 8] x) => (float[N, 5] y, float[N, 6, 8, 8] r) {
              z = Conv <pads = [1, 1, 1, 1]> (x, wz)
              r = Relu (z)
              p = GlobalAveragePool (r)
              f = Flatten (p)
              y = MatMul (f, wy)
            }""",
            wz=(6, 4, 3, 3),
            wy=(6, 5),
        )
    )
    assert equalize(model, {"r": np.arange(1.0, 7)}) == 0
