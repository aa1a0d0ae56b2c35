"""Moves of branches and factors against numpy, and the order in which a plan is applied."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from frivkit.compression.calibration import Calibration
from frivkit.compression.moves import branch_moves
from frivkit.compression.plan import (
    Factorization,
    Plan,
    apply_plan,
    keep_all,
    outline,
    ridge_fits,
    with_fits,
)
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.save import save
from frivkit.graph.surgery.narrow import narrow
from frivkit_compressors.refits import HYBRID, NONE, RELU, RIDGE, SEQUENTIAL
from tests.handmade import written
from tests.planning import calibrated
from tests.surgery import run

SIDE, COUNT = 5, 40
REFITS = {"none": NONE, "ridge": RIDGE, "relu": RELU, "sequential": SEQUENTIAL, "hybrid": HYBRID}


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Return a residual block between two convolutions."""
    folder = tmp_path_factory.mktemp("block")
    proto = written(
        f"""g (float[N, 3, {SIDE}, {SIDE}] x) => (float[N, 4, {SIDE}, {SIDE}] y) {{
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          s = Relu (a)
          b = Conv <pads = [1, 1, 1, 1]> (s, wb, bb)
          r = Relu (b)
          c = Conv <pads = [1, 1, 1, 1]> (r, wc)
          t = Add (s, c)
          y = Conv <pads = [1, 1, 1, 1]> (t, wy)
        }}""",
        wa=(8, 3, 3, 3), wb=(10, 8, 3, 3), bb=(10,), wc=(8, 10, 3, 3), wy=(4, 8, 3, 3),
    )  # fmt: skip
    onnx.save(proto, folder / "net.onnx")
    x = np.random.default_rng(1).normal(size=(COUNT, 3, SIDE, SIDE)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return calibrated(folder / "net.onnx", f"npz:{folder / 'x.npz'}")


@pytest.fixture(scope="module")
def x(calibration: Calibration) -> np.ndarray:
    found: np.ndarray = calibration.run.data.read(0, COUNT).inputs["x"]
    return found


def tensors(calibration: Calibration, x: np.ndarray, *names: str) -> list[np.ndarray]:
    proto = onnx.load(calibration.model.path)
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in names]
    proto.graph.output.extend(outputs)
    found = run(ir.from_proto(proto), {"x": x})[1:]
    return [each.astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 8) for each in found]


def test_branch_has_its_mean_and_its_share_of_the_variance(
    calibration: Calibration, x: np.ndarray
) -> None:
    (move,) = branch_moves(calibration).branches
    branch, total = tensors(calibration, x, "c", "t")
    np.testing.assert_allclose(move.mean, branch.mean(axis=0), rtol=1e-4, atol=1e-4)
    assert move.error == pytest.approx(branch.var(axis=0).sum() / total.var(axis=0).sum(), rel=1e-4)


def test_sum_without_its_branch_is_the_skip_with_the_mean(
    calibration: Calibration, x: np.ndarray
) -> None:
    (move,) = branch_moves(calibration).branches
    plan = Plan(keep_all(calibration), move.error, dropped=(move,))
    (dropped,) = run(apply_plan(calibration, plan), {"x": x})
    skip, branch = tensors(calibration, x, "s", "c")
    total = (skip + branch.mean(axis=0)).reshape(COUNT, SIDE, SIDE, 8).transpose(0, 3, 1, 2)
    weights = onnx.load(calibration.model.path).graph.initializer
    (wy,) = (numpy_helper.to_array(tensor) for tensor in weights if tensor.name == "wy")
    padded = np.pad(total, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, wy)
    np.testing.assert_allclose(dropped, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def plan_of_all_kinds(calibration: Calibration) -> Plan:
    """Return a plan that removes units, factorizes the last node and drops the branch."""
    (move,) = branch_moves(calibration).branches
    keep = keep_all(calibration)
    groups = calibration.pruning_graph.groups.of
    removed = groups[next(iter(keep))][[1, 4]]  # of the stream
    for site, of in groups.items():
        keep[site] &= ~np.isin(of, removed)
    last = next(n for n in (c.consumer.node for c in calibration.linear_consumers) if "y" in n)
    return Plan(keep, 0.0, {last: Factorization("separable", 5)}, (move,))


@pytest.mark.parametrize("name", REFITS)
def test_all_kinds_of_moves_go_together(name: str, calibration: Calibration, x: np.ndarray) -> None:
    plan = plan_of_all_kinds(calibration)
    plan = replace(plan, fits=REFITS[name].fit(calibration, plan))
    made = apply_plan(calibration, plan)
    shapes, foretold = (
        {v.name: tuple(v.shape) for v in graph.initializers.values() if len(v.shape) > 1}
        for graph in (made.graph, outline(calibration, plan).graph)
    )
    assert shapes == foretold
    inside = set(plan.dropped[0].branch.nodes)
    assert not inside & {node_label(node) for node in made.graph}
    assert not inside & {fit.linear_consumer.consumer.node for fit in plan.fits}
    (outputs,), (original,) = run(made, {"x": x}), run(calibration.model.ir, {"x": x})
    assert np.isfinite(outputs).all()
    assert outputs.shape == original.shape


def test_weights_are_set_after_narrowing_and_factors_before_branches_are_dropped(
    calibration: Calibration, x: np.ndarray
) -> None:
    plan = plan_of_all_kinds(calibration)
    (last,) = plan.factorized
    fits = ridge_fits(calibration, replace(plan, factorized={}))
    weights = replace(plan, fits=fits, factorized={})
    narrowed = narrow(calibration.model, calibration.site_map, plan.keep)
    whole = run(with_fits(calibration, weights, narrowed), {"x": x})[0]
    columns = next(f for f in fits if f.linear_consumer.consumer.node == last).columns
    full = Factorization("separable", min(int(columns.sum()) // 3, 3 * 4))
    exact = replace(plan, factorized={last: full})
    exact = replace(exact, fits=ridge_fits(calibration, exact))
    np.testing.assert_allclose(
        run(apply_plan(calibration, exact), {"x": x})[0], whole, atol=1e-3 * np.abs(whole).max()
    )


def test_mean_of_a_branch_is_narrowed_with_its_stream(calibration: Calibration) -> None:
    plan = plan_of_all_kinds(calibration)
    made = apply_plan(calibration, replace(plan, fits=ridge_fits(calibration, plan)))
    (constant,) = (v for v in made.graph.initializers.values() if (v.name or "").endswith("/mean"))
    kept = np.array([0, 2, 3, 5, 6, 7])
    mean = plan.dropped[0].mean
    np.testing.assert_allclose(constant.const_value.numpy().ravel(), mean[kept], rtol=1e-5)


def test_file_of_a_dropped_branch_is_smaller_by_it(
    calibration: Calibration, tmp_path: Path
) -> None:
    (move,) = branch_moves(calibration).branches
    plan = Plan(keep_all(calibration), move.error, dropped=(move,))
    save(apply_plan(calibration, plan), tmp_path / "thin.onnx", calibration.model)
    written_file = onnx.load(tmp_path / "thin.onnx")
    onnx.checker.check_model(written_file, full_check=True)
    assert {t.name for t in written_file.graph.initializer}.isdisjoint({"wb", "bb", "wc"})
