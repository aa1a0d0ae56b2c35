"""Refits in sequence and of both kinds, and the curves and allocations that plans rest on."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.compress import compress
from frivkit.compression.plan import Plan, apply_plan, keep_all, ridge_fits
from frivkit.compression.ranking import POINTS, build_ranking, calibrate_error_curves
from frivkit.compression.ridge import choose_ridge
from frivkit.compression.unit_kinds import classify_units
from frivkit.errors import ModelError
from frivkit.measure.pipeline import Request
from frivkit_compressors.rankings import backward
from frivkit_compressors.refits import fold_redundant
from frivkit_compressors.sequential import refit_in_sequence
from tests.handmade import written
from tests.nets import NETS, examples, network, opened
from tests.planning import ANY_WIDTH, SELECT, allocator, calibrated
from tests.surgery import run
from tests.unit.compression.test_compress import write_data, write_layers
from tests.unit.units.test_perturbations import SITELESS

NAMES = [name for name in NETS if name not in SITELESS]


def layers(*sizes: tuple[int, int], seed: int = 3) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=size) * (2 / size[0]) ** 0.5 for size in sizes]


DEEP = ((10, 48), (48, 48), (48, 48), (48, 48), (48, 6))


@pytest.mark.parametrize("share", [0.7, 0.5])
def test_a_deep_network_is_nearer_when_refitted_in_sequence(share, tmp_path):
    model = write_layers(tmp_path / "m.onnx", *layers(*DEEP))
    request = Request(model, data=write_data(tmp_path / "x.npz", 10, 1500))
    apart = {}
    for refit in ("ridge", "sequential"):
        method = replace(SELECT, refit=refit)
        made = compress(
            request,
            tmp_path / "t.onnx",
            Budget("units", share),
            method=method,
            constraints=ANY_WIDTH,
        )
        apart[refit] = made.verification.comparison.main.relative_l2
    assert apart["sequential"] < apart["ridge"]


@pytest.mark.parametrize("name", NAMES)
def test_sequence_refits_whatever_can_be_narrowed(name, tmp_path):
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), tmp_path / "m.onnx", **shape)
    inputs = examples(model, 24)
    file = {f"{key}" if len(inputs) > 1 else "x": array for key, array in inputs.items()}
    np.savez(tmp_path / "x.npz", **file)
    found = calibrated(model, f"npz:{tmp_path / 'x.npz'}")
    if found.pruning_graph.groups.free.sum() < 2:  # of a single group nothing can leave
        return
    plan = allocator(found).for_budget("units", 0.7)
    fits = refit_in_sequence(found, plan)
    again = refit_in_sequence(found, plan)
    assert len(fits) == len(ridge_fits(found, plan))
    for fit, other in zip(fits, again, strict=True):
        assert np.array_equal(fit.matrix, other.matrix)
        assert np.isfinite(fit.matrix).all()
    batch = {key: array[: model.batch or 3] for key, array in inputs.items()}
    outputs = run(apply_plan(found, replace(plan, fits=fits)), batch)
    assert all(np.isfinite(output.astype(np.float64)).all() for output in outputs)


def write_residual(path, width: int = 24, blocks: int = 3):
    """Write dense blocks that are added to a stream."""
    generator = np.random.default_rng(0)
    nodes, tensors = [], []

    def weight(name: str, *size: int) -> str:
        array = generator.normal(size=size) * (1.5 / size[0]) ** 0.5
        tensors.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    nodes.append(helper.make_node("MatMul", ["x", weight("w", 8, width)], ["s0"]))
    for i in range(blocks):
        inner, outer = weight(f"u{i}", width, 2 * width), weight(f"v{i}", 2 * width, width)
        nodes += [
            helper.make_node("MatMul", [f"s{i}", inner], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [f"h{i}"]),
            helper.make_node("MatMul", [f"h{i}", outer], [f"b{i}"]),
            helper.make_node("Add", [f"s{i}", f"b{i}"], [f"s{i + 1}"]),
        ]
    nodes.append(helper.make_node("MatMul", [f"s{blocks}", weight("o", width, 4)], ["y"]))
    takes, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", 8), ("y", 4))
    )
    graph = helper.make_graph(nodes, "blocks", [takes], [gives], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_blocks_make_good_for_what_their_stream_lost(tmp_path):
    model = write_residual(tmp_path / "m.onnx")
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 800))
    besides = {
        linear_consumer.consumer.node: linear_consumer.residual_input
        for linear_consumer in found.linear_consumers
    }
    assert {"s1", "s2"} <= set(besides.values())
    plan = allocator(found).for_budget("units", 0.6)
    x = np.random.default_rng(7).normal(size=(200, 8)).astype(np.float32)
    before = run(found.model.ir, {"x": x})[0]

    def apart(calibration: Calibration) -> float:
        fits = refit_in_sequence(calibration, plan)
        after = run(apply_plan(calibration, replace(plan, fits=fits)), {"x": x})[0]
        return float(np.linalg.norm(after - before))

    without_sums = tuple(replace(each, residual_input=None) for each in found.linear_consumers)
    alone = replace(found, linear_consumers=without_sums)
    assert apart(found) < apart(alone)


def test_sequence_leaves_examples_out_where_all_would_take_too_long(tmp_path, monkeypatch):
    from frivkit_compressors import sequential

    model = write_layers(tmp_path / "m.onnx", *layers((8, 20), (20, 20), (20, 4)))
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 400))
    plan = allocator(found).for_budget("units", 0.6)
    seen = []
    gathered = sequential._gather_targets
    monkeypatch.setattr(
        sequential,
        "_gather_targets",
        lambda c, *rest: seen.append(c.run.data.examples) or gathered(c, *rest),
    )
    refit_in_sequence(found, plan)
    monkeypatch.setattr(sequential, "MAX_MACS", 1.0)
    refit_in_sequence(found, plan)
    assert seen == [400, 64]


def planted(tmp_path):
    """Write units 0 and 1 that nobody weighs, 2 a copy of 3, and others."""
    first, second = layers((8, 12), (12, 4))
    second[:2] *= 1e-3
    first[:, 2] = first[:, 3]
    model = write_layers(tmp_path / "m.onnx", first, second)
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 600))
    keep = keep_all(found)
    keep["h0"][[0, 1, 2, 11]] = False
    return found, keep


def test_prunable_and_redundant_units_are_told_apart(tmp_path):
    found, keep = planted(tmp_path)
    kinds = classify_units(found, keep)
    units = found.pruning_graph.groups.of["h0"]
    assert np.flatnonzero(kinds.removed[units]).tolist() == [0, 1, 2, 11]
    assert np.flatnonzero(kinds.prunable[units]).tolist() == [0, 1]
    redundant = np.flatnonzero(kinds.redundant[units]).tolist()
    assert 2 in redundant
    assert 11 not in redundant
    assert not classify_units(found, keep_all(found)).removed.any()


def test_hybrid_folds_what_is_redundant_and_drops_what_is_prunable(tmp_path):
    found, keep = planted(tmp_path)
    keep["h0"][11] = True
    plan = Plan(keep, 0.0)
    (both,), (ridge,) = fold_redundant(found, plan), ridge_fits(found, plan)
    columns = both.columns
    weights = both.linear_consumer.matrix
    assert not weights[[0, 1]].any()
    assert weights[2].any()
    whole = np.zeros((12, 4))
    whole[columns] = both.matrix
    original = ridge.linear_consumer.matrix
    np.testing.assert_allclose(whole[3], original[2] + original[3], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["units", "macs"])
def test_layers_lose_alike_under_a_uniform_allocation(kind, tmp_path):
    model = write_layers(tmp_path / "m.onnx", *layers((8, 60), (60, 40), (40, 20), (20, 4)))
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 500))
    keep = allocator(found, allocation="uniform").for_budget(kind, 0.5).keep
    shares = [flags.mean() for flags in keep.values()]
    assert max(shares) - min(shares) <= 1 / 20
    spread = [flags.mean() for flags in allocator(found).for_budget(kind, 0.5).keep.values()]
    assert max(spread) - min(spread) > 1 / 20


def test_curves_go_through_refits_on_examples_kept_apart(tmp_path):
    model = opened(network("cnn"), tmp_path / "m.onnx")
    shape = model.inputs[0].shape
    x = np.random.default_rng(0).normal(size=(200, *shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    found = calibrated(tmp_path / "m.onnx", f"npz:{tmp_path / 'x.npz'}")
    foretold = [
        build_ranking(layer_group, backward(layer_group, None))
        for layer_group in found.layer_groups
    ]
    bent = calibrate_error_curves(found, foretold)
    for before, after in zip(foretold, bent, strict=True):
        assert (np.diff(after.errors) >= 0).all()
        count = max(1, int(np.searchsorted(before.errors, POINTS[3], side="right")))
        count = min(count, len(before.order) - 1)
        stays = np.ones(found.pruning_graph.groups.count + 1, bool)
        stays[before.order[:count]] = False
        lost = 0.0
        for linear_consumer in found.linear_consumers:
            columns = stays[linear_consumer.group_ids]
            if not columns.all():
                _, error, _ = choose_ridge(
                    linear_consumer, found.patch_moments[linear_consumer.source], columns
                )
                lost += (error * linear_consumer.output_scale**2).sum() / found.variance(
                    linear_consumer.error_tensor
                )
        assert after.errors[count - 1] == pytest.approx(lost, rel=0.3)


def test_curves_stay_where_no_examples_are_kept_apart(tmp_path):
    model = write_layers(tmp_path / "m.onnx", *layers((8, 20), (20, 4)))
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 8))
    foretold = [
        build_ranking(layer_group, backward(layer_group, None))
        for layer_group in found.layer_groups
    ]
    for before, after in zip(foretold, calibrate_error_curves(found, foretold), strict=True):
        assert np.array_equal(before.errors, after.errors)


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_a_stream_whose_positions_are_units_is_not_made_good(share, tmp_path):
    model = opened(network("crossed"), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=examples(model, 60)["x"])
    found = calibrated(tmp_path / "m.onnx", f"npz:{tmp_path / 'x.npz'}")
    plan = allocator(found).for_budget("units", share)
    assert not all(kept.all() for kept in plan.keep.values())
    fits = refit_in_sequence(found, plan)
    feeds = examples(model, 5)
    after = run(apply_plan(found, replace(plan, fits=fits)), feeds)[0]
    assert np.isfinite(after).all()


def residual_from_the_input(path, scale=1.0):
    onnx.save(
        written(
            """g (float[N, 6] x) => (float[N, 3] y) {
              a = Gemm (x, wa, ba) r = Relu (a) o = Gemm (r, wb, bb) h = Add (x, o) s = Relu (h)
              y = Gemm (s, wc, bc)
            }""",
            wa=(6, 8), ba=(8,), wb=(8, 6), bb=(6,), bc=(3,),
            wc=np.full((6, 3), scale, np.float32),
        ),
        path,
    )  # fmt: skip
    return path


def test_a_stream_that_is_an_input_is_read_in_part(tmp_path):
    request = Request(
        residual_from_the_input(tmp_path / "m.onnx"), data=write_data(tmp_path / "x.npz", 6, 300)
    )
    apart = {}
    for refit in ("none", "sequential"):
        made = compress(
            request,
            tmp_path / "t.onnx",
            Budget("macs", 0.9),
            method=replace(SELECT, refit=refit),
            constraints=replace(ANY_WIDTH, ratios={"*": 0.5}),
        )
        apart[refit] = made.verification.comparison.main.relative_l2
    assert apart["sequential"] < apart["none"]


def test_numbers_whose_squares_overflow_are_not_refitted_to(tmp_path):
    request = Request(
        residual_from_the_input(tmp_path / "m.onnx", scale=1e30),
        data=write_data(tmp_path / "x.npz", 6, 300),
    )
    with pytest.raises(ModelError, match="numbers as large as"):
        compress(
            request,
            tmp_path / "t.onnx",
            Budget("macs", 0.9),
            method=SELECT,
            constraints=replace(ANY_WIDTH, ratios={"*": 0.5}),
        )


def test_rows_that_hardly_vary_are_fitted_and_not_an_error():
    """Rounding may give their covariance eigenvalues below 0, which no ridge in use outweighs."""
    from frivkit_compressors.regression import _solver

    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    values = np.array([1.0, 0.1, 1e-3, 1e-9, 0.0, -1e-6])
    covariance = (vectors * values) @ vectors.T
    right = rng.normal(size=(6, 2))
    due = vectors @ ((vectors.T @ right) / (np.maximum(values, 0) + 1e-7)[:, np.newaxis])
    np.testing.assert_allclose(_solver(covariance, 1e-7)(right), due, rtol=1e-6)
