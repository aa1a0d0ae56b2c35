"""Weights that several nodes read: one axis of units each way, one fit, one copy in the file."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import onnx
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.compression.method import Method
from frivkit.compression.plan import affected_consumers, apply_plan, keep_weights, ridge_fits
from frivkit.graph.model import parameters
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution
from tests.handmade import written
from tests.nets import examples, opened
from tests.planning import allocator, calibrated
from tests.surgery import check, close, drawn, masked_consumers, narrowed, run

TIED = written(
    """g (float[N, 12] x) => (float[N, 12] y) {
      a = Gemm <transB = 1> (x, w, ba)
      r = Relu (a)
      b = Gemm <transB = 1> (r, v, bb)
      code = Tanh (b)
      c = Gemm (code, v, bc)
      s = Relu (c)
      y = Gemm (s, w, bd)
    }""",
    w=(9, 12), v=(7, 9), ba=(9,), bb=(7,), bc=(9,), bd=(12,),
)  # fmt: skip
TRANSPOSED = written(
    """g (float[N, 8] x) => (float[N, 8] y) {
      a = MatMul (x, u)
      r = Relu (a)
      b = MatMul (r, v)
      h = Tanh (b)
      t = Transpose (v)
      c = MatMul (h, t)
      s = Relu (c)
      y = MatMul (s, z)
    }""",
    u=(8, 10), v=(10, 6), z=(10, 8),
)  # fmt: skip
SQUARE = written(
    """g (float[N, 8] x) => (float[N, 8] y) {
      e = MatMul (x, u)
      r = Relu (e)
      a = Gemm <transB = 1> (r, v)
      h = Relu (a)
      b = Gemm (h, v)
      s = Relu (b)
      y = MatMul (s, z)
    }""",
    u=(8, 8), v=(8, 8), z=(8, 8),
)  # fmt: skip
CONVOLVED = written(
    """g (float[N, 3, 6, 6] x) => (float[N, 3, 6, 6] y) {
      e = Conv <pads = [1, 1, 1, 1]> (x, u)
      r = Relu (e)
      a = Conv <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [4, 4]> (r, v)
      h = Relu (a)
      b = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [4, 4]> (h, v)
      s = Relu (b)
      y = Conv <pads = [1, 1, 1, 1]> (s, z)
    }""",
    u=(5, 3, 3, 3), v=(7, 5, 4, 4), z=(3, 5, 3, 3),
)  # fmt: skip
SCALES = written(
    """g (float[N, 3, 8, 8] x) => (float[N, 4, 20] y) {
      a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, u)
      p = Relu (a)
      b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (p, v)
      q = Relu (b)
      c = Conv <pads = [1, 1, 1, 1]> (p, t, bt)
      k = Relu (c)
      d = Conv <pads = [1, 1, 1, 1]> (q, t, bt)
      l = Relu (d)
      m = Conv (k, z)
      n = Conv (l, z)
      flat = Constant <value_ints = [0, 4, -1]> ()
      i = Reshape (m, flat)
      j = Reshape (n, flat)
      y = Concat <axis = 2> (i, j)
    }""",
    u=(6, 3, 3, 3), v=(6, 6, 3, 3), t=(8, 6, 3, 3), bt=(8,), z=(4, 8, 1, 1),
)  # fmt: skip
SIAMESE = written(
    """g (float[N, 10] first, float[N, 10] second) => (float[N, 6] y) {
      a = MatMul (first, w)
      b = Relu (a)
      c = MatMul (b, v)
      d = MatMul (second, w)
      e = Relu (d)
      f = MatMul (e, v)
      g = Sub (c, f)
      y = Abs (g)
    }""",
    w=(10, 12), v=(12, 6),
)  # fmt: skip
EMBEDDED = written(
    """g (float[N, 6] x) => (float[N, 5, 9] y) {
      a = MatMul (x, u)
      r = Relu (a)
      f = MatMul (r, p)
      shape = Constant <value_ints = [0, 5, 4]> ()
      h = Reshape (f, shape)
      at = Constant <value_ints = [0, 3, 8, 1, 2]> ()
      k = Gather (w, at)
      s = Add (h, k)
      t = Transpose (w)
      y = MatMul (s, t)
    }""",
    u=(6, 7), p=(7, 20), w=(9, 4),
)  # fmt: skip
NETS = {
    "tied": TIED, "transposed": TRANSPOSED, "square": SQUARE, "convolved": CONVOLVED,
    "scales": SCALES, "siamese": SIAMESE, "embedded": EMBEDDED,
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_narrowing_is_exact_and_copies_no_weight(name, tmp_path):
    model = opened(NETS[name], tmp_path / "m.onnx")
    found = find_sites(model)
    keep = drawn(find_groups(model, found), 4)
    _, _, _, compressed = narrowed(
        NETS[name], tmp_path, **{site: np.flatnonzero(~flags) for site, flags in keep.items()}
    )
    check(compressed)
    feeds = examples(model, 3)
    close(run(compressed, feeds), run(masked_consumers(model, found, keep), feeds))
    names = {value.name for value in model.graph.initializers.values()}
    assert {value.name for value in compressed.graph.initializers.values()} <= names


def test_each_axis_of_a_shared_weight_is_one_axis_of_units(tmp_path):
    model = opened(TIED, tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    assert groups.layer_groups == (("r", "s"), ("code",))
    (coupling,) = found.couplings
    assert coupling.kinds == ("shared",)
    assert coupling.merge_points[0].tensor in ("w", "v")
    model = opened(SQUARE, tmp_path / "m.onnx")
    assert find_groups(model, find_sites(model)).layer_groups == (("r", "s"), ("h",))


def test_a_table_that_is_looked_up_keeps_what_another_node_reads(tmp_path):
    model = opened(EMBEDDED, tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    assert groups.reason("f") is not None
    assert groups.reason("r") is None


@pytest.mark.parametrize("name", ["tied", "transposed", "square", "convolved", "scales", "siamese"])
@pytest.mark.parametrize("refit", [ridge_fits, keep_weights])
def test_a_refit_leaves_one_weight(name, refit, tmp_path):
    model = opened(NETS[name], tmp_path / "m.onnx")
    calibration = calibrated(model, "gaussian?n=60")
    plan = allocator(calibration).for_budget("units", 0.6)
    compressed = apply_plan(calibration, replace(plan, fits=refit(calibration, plan)))
    check(compressed)
    assert parameters(compressed.graph) < parameters(model.graph)
    matrices = [v for v in compressed.graph.initializers.values() if len(v.shape) > 1]
    wanted = [v for v in model.graph.initializers.values() if len(v.shape) > 1]
    assert len(matrices) == len(wanted)
    for one, other in combinations(matrices, 2):
        if one.const_value.shape == other.const_value.shape:
            assert not np.array_equal(one.const_value.numpy(), other.const_value.numpy())


@pytest.mark.parametrize("name", ["tied", "scales"])
def test_a_budget_of_parameters_holds(name, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(NETS[name].SerializeToString())
    request = Request(path, "gaussian?n=80", execution=Execution(threads=1))
    result = compress(
        request, tmp_path / "compressed.onnx", Budget("params", 0.75), method=Method(basis="auto")
    )
    facts = result.verification
    assert facts.compressed.model.parameters <= 0.75 * facts.original.model.parameters


def test_towers_of_a_siamese_network_stay_equal(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(SIAMESE.SerializeToString())
    compress(
        Request(path, "gaussian?n=80", execution=Execution(threads=1)),
        tmp_path / "compressed.onnx",
        Budget("params", 0.6),
    )
    compressed = opened(onnx.load(tmp_path / "compressed.onnx"), tmp_path / "n.onnx")
    x = examples(compressed, 5)["first"]
    assert (run(compressed.ir, {"first": x, "second": x})[0] == 0).all()
    assert (run(compressed.ir, {"first": x, "second": -x})[0] > 0).any()


def test_the_joint_fit_is_the_least_squares_of_all_readers(tmp_path):
    """Compare with numpy's least squares over the entries of the matrix and the rows of all."""
    model = opened(TIED, tmp_path / "m.onnx")
    calibration = calibrated(model, "gaussian?n=400")
    plan = allocator(calibration).for_budget("units", 0.7)
    fits = {fit.linear_consumer.consumer.node: fit for fit in ridge_fits(calibration, plan)}
    users = [r for r in affected_consumers(calibration, plan) if r[0].shared[0] == "v"]
    (one, kept), (other, others) = users
    fit = fits[one.consumer.node]
    np.testing.assert_allclose(fits[other.consumer.node].matrix, fit.matrix.T)
    errors = {}
    for matrix in (fit.matrix, one.matrix[kept], _alone(calibration, one, kept)):
        errors[len(errors)] = sum(
            _error(calibration, reader, flags, each)
            for reader, flags, each in ((one, kept, matrix), (other, others, matrix.T))
        )
    assert errors[0] <= errors[1] * 1.0001
    assert errors[0] <= errors[2] * 1.0001
    generator = np.random.default_rng(0)
    for _ in range(20):
        step = 0.02 * generator.standard_normal(fit.matrix.shape)
        moved = fit.matrix + step
        found = sum(
            _error(calibration, reader, flags, each)
            for reader, flags, each in ((one, kept, moved), (other, others, moved.T))
        )
        assert found > errors[0]


def _second(calibration, reader):
    return calibration.patch_moments[reader.source].whole.covariance


def _alone(calibration, reader, kept):
    """Return the best matrix for one reader alone."""
    second = _second(calibration, reader)
    inner = second[np.ix_(kept, kept)] + 1e-6 * np.eye(int(kept.sum()))
    return np.linalg.solve(inner, second[kept] @ reader.matrix)


def _error(calibration, reader, kept, matrix):
    """Return the squared error of a reader's outputs, as a share of their variance."""
    second, change = _second(calibration, reader), reader.matrix.copy()
    change[kept] -= matrix
    total = np.einsum("ij,ij->", reader.matrix, second @ reader.matrix)
    return float(np.einsum("ij,ij->", change, second @ change) / total)


def test_readers_in_one_orientation_are_fitted_as_one(tmp_path):
    """Two readers of one weight get the fit of one reader of the rows of both."""
    model = opened(SIAMESE, tmp_path / "m.onnx")
    calibration = calibrated(model, "gaussian?n=300")
    plan = allocator(calibration).for_budget("units", 0.6)
    fits = ridge_fits(calibration, plan)
    assert len({fit.matrix.tobytes() for fit in fits}) == 1
    assert len({fit.bias.tobytes() for fit in fits}) == 1
    rows = []
    for tower in ("first", "second"):
        x = calibration.run.data.read(0, 300).inputs[tower]
        rows.append(np.maximum(x @ model.graph.initializers["w"].const_value.numpy(), 0))
    rows, kept = np.concatenate(rows).astype(np.float64), fits[0].columns
    centred, matrix = rows - rows.mean(axis=0), fits[0].linear_consumer.matrix
    variance = (centred**2).sum() / centred.size
    inner = centred[:, kept].T @ centred[:, kept] / len(rows)
    ridge = fits[0].ridge * variance * np.eye(len(inner))
    right = centred[:, kept].T @ (centred @ matrix) / len(rows) + ridge @ matrix[kept]
    np.testing.assert_allclose(fits[0].matrix, np.linalg.solve(inner + ridge, right), rtol=2e-3)
