"""The laws of the allocation: budgets are met, less error first, and constraints are kept."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints
from frivkit.compression.moves import Moves
from frivkit.compression.plan import Plan, Resource, amount, apply_plan, outline, ridge_fits
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.graph.onnx_io.save import save
from frivkit.latency.fast_path import leaves_fast_path
from frivkit.latency.target import this_machine
from frivkit.measure.pipeline import Request, load_model
from frivkit_compressors.bases import auto, pca, select, separable
from tests.planning import ANY_WIDTH, allocator, calibrated
from tests.unit.compression.test_compress import write_data, write_layers
from tests.unit.latency.builder import SIDE, Builder

BASES = {"auto": auto, "select": select, "pca": pca, "separable": separable}


def blocks(build: Builder) -> str:
    """Add two residual blocks behind a convolution, and a dense layer."""
    stream = build.relu(build.conv("x", 12, 3))
    for _ in range(2):
        branch = build.conv(build.relu(build.conv(stream, 16, 3)), 12, 3)
        stream = build.relu(build.add(stream, branch))
    return build.dense(stream, 5)


def calibrate_net(build: Builder, source: str, folder: Path, examples: int = 80) -> Calibration:
    x = np.random.default_rng(4).normal(size=(examples, build.widths["x"], SIDE, SIDE))
    np.savez(folder / "x.npz", x=x.astype(np.float32))
    return calibrated(build.model(source, folder), f"npz:{folder / 'x.npz'}")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    build = Builder()
    return calibrate_net(build, blocks(build), tmp_path_factory.mktemp("blocks"))


def same_plans(one: Plan, other: Plan) -> bool:
    kept = all(np.array_equal(one.keep[name], other.keep[name]) for name in one.keep)
    return kept and (one.factorized, one.dropped) == (other.factorized, other.dropped)


@pytest.mark.parametrize("resource", ["macs", "params", "units"])
@pytest.mark.parametrize("name", BASES)
def test_files_meet_their_budgets(
    name: str, resource: Resource, calibration: Calibration, tmp_path: Path
) -> None:
    made = allocator(calibration, BASES[name])
    if resource == "units" and name in ("pca", "separable"):
        with pytest.raises(UsageError, match="give --macs or --params"):
            made.for_budget(resource, 0.8)
        return
    whole = amount(calibration.model.ir, calibration, resource, None)
    for share in (0.85, 0.6):
        plan = made.for_budget(resource, share)
        written = apply_plan(calibration, replace(plan, fits=ridge_fits(calibration, plan)))
        save(written, tmp_path / "thin.onnx", calibration.model)
        read = load_model(Request(tmp_path / "thin.onnx")).ir
        left = amount(read, calibration, resource, plan if resource == "units" else None)
        assert share - 0.12 < left / whole <= share
        assert left == made.cost(plan, resource)


@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("resource", ["macs", "params"])
def test_costs_fall_along_the_path(
    allocation: str, resource: Resource, calibration: Calibration
) -> None:
    made = allocator(calibration, auto, allocation)
    path = made.path(resource)
    assert len(path.states) == len(path.costs) == len(path.errors)
    assert not any(path.states[0])
    assert (np.diff(path.costs) < 0).all()
    for number in np.linspace(0, len(path.states) - 1, 7).astype(int):
        plan = made.plan_of(path.states[number])
        assert plan.error == pytest.approx(path.errors[number], abs=1e-9)
        if resource == "macs":
            in_graph = made.cost(plan, resource)
            if allocation == "global":
                assert in_graph == pytest.approx(path.costs[number])
            else:  # a rank may be above the full one of what is left of a node
                assert in_graph <= path.costs[number] * (1 + 1e-9)


def test_slack_lowers_the_error_and_never_exceeds_the_budget(calibration: Calibration) -> None:
    made = allocator(calibration, auto)
    path, whole = made.path("macs"), amount(calibration.model.ir, calibration, "macs", None)
    gained = 0
    for share in np.linspace(0.3, 0.95, 14):
        on_path = path.errors[path.first_within(share * whole)]
        plan = made.for_budget("macs", share)
        assert made.cost(plan, "macs") <= share * whole
        assert plan.error <= on_path + 1e-12
        gained += plan.error < on_path - 1e-9
    assert gained


def test_steps_of_least_error_for_what_they_save_come_first(calibration: Calibration) -> None:
    """Every next step of every move costs as much error for each unit, or more."""
    made = allocator(calibration, select)
    path, groups = made.path("units"), calibration.pruning_graph.groups
    units = np.bincount(np.concatenate([*groups.of.values()]))
    curves, gone = [], []
    for ranking in made.moves.units:
        last = len(ranking.order) - 1  # one stays
        curves.append(np.concatenate([[0.0], ranking.errors[:last]]))
        gone.append(np.concatenate([[0], units[ranking.order[:last]].cumsum()]))
    prices = [
        [
            float(((c[at + 1 :] - c[at]) / (g[at + 1 :] - g[at])).min(initial=np.inf))
            for c, g, at in zip(curves, gone, state, strict=True)
        ]
        for state in path.states
    ]
    for now, (before, after) in zip(prices, pairwise(path.states), strict=False):
        (moved,) = np.flatnonzero(np.array(before) != np.array(after))
        assert now[moved] == pytest.approx(min(now))


def test_a_budget_of_everything_changes_nothing(calibration: Calibration) -> None:
    for basis in BASES.values():
        plan = allocator(calibration, basis).for_budget("macs", 1.0)
        assert plan.changes_nothing
        assert plan.error == 0


def test_a_budget_below_the_smallest_network_names_it(calibration: Calibration) -> None:
    made = allocator(calibration, auto)
    with pytest.raises(BudgetError, match="the smallest model has") as raised:
        made.for_budget("macs", 1e-6)
    least = raised.value.least
    plan = made.for_budget("macs", least * 1.0001)
    whole = amount(calibration.model.ir, calibration, "macs", None)
    assert made.cost(plan, "macs") == pytest.approx(least * whole)


def test_moves_of_a_permuted_or_scaled_layer_are_chosen_alike(tmp_path: Path) -> None:
    """Units in another order, and positive factors that the next layer undoes, change no plan."""
    generator = np.random.default_rng(8)
    first, second, third = (generator.normal(size=s) for s in [(6, 14), (14, 10), (10, 3)])
    order, factors = generator.permutation(14), generator.uniform(0.25, 4, 14)
    data = write_data(tmp_path / "x.npz", 6)
    plans = {}
    for name, layers in {
        "plain": (first, second),
        "permuted": (first[:, order], second[order]),
        "scaled": (first * factors, second / factors[:, np.newaxis]),
    }.items():
        path = write_layers(tmp_path / f"{name}.onnx", *layers, third)
        plans[name] = allocator(calibrated(path, data), auto).for_budget("macs", 0.5)
    plain, permuted, scaled = plans["plain"], plans["permuted"], plans["scaled"]
    assert not plain.changes_nothing
    np.testing.assert_array_equal(plain.keep["h0"][order], permuted.keep["h0"])
    np.testing.assert_array_equal(plain.keep["h0"], scaled.keep["h0"])
    for other in (permuted, scaled):
        np.testing.assert_array_equal(plain.keep["h1"], other.keep["h1"])
        ranks = [{node: how.rank for node, how in p.factorized.items()} for p in (plain, other)]
        assert ranks[0] == ranks[1]


class TestConstraints:
    def test_layers_that_are_kept_stay_whole(self, calibration: Calibration) -> None:
        names = [site.layer for site in calibration.site_map.sites]
        kept = Constraints(1, keep_layers=(names[1],))
        plan = allocator(calibration, auto, constraints=kept).for_budget("macs", 0.5)
        free = allocator(calibration, auto).for_budget("macs", 0.5)
        (site,) = (s for s in calibration.site_map.sites if s.layer == names[1])
        assert plan.keep[site.name].all()
        assert not set(site.producers) & set(plan.factorized)
        assert all(set(site.producers).isdisjoint(move.branch.nodes) for move in plan.dropped)
        assert not same_plans(plan, free)

    def test_patterns_name_several_layers_and_all_leave_nothing_to_do(
        self, calibration: Calibration
    ) -> None:
        made = allocator(calibration, auto, constraints=Constraints(1, keep_layers=("*",)))
        dense = {"dense"}
        plan = made.plan_of(made.path("macs").states[-1])
        assert all(flags.all() for flags in plan.keep.values())
        assert all(any(word in node for word in dense) for node in plan.factorized)
        with pytest.raises(BudgetError):
            made.for_budget("macs", 0.5)

    @pytest.mark.parametrize("least", [3, 7, 100])
    def test_each_layer_keeps_at_least_so_many(self, least: int, calibration: Calibration) -> None:
        made = allocator(calibration, select, constraints=Constraints(1, least=least))
        smallest = made.plan_of(made.path("units").states[-1])
        kept = {name: int(flags.sum()) for name, flags in smallest.keep.items()}
        assert kept == {s.name: min(least, s.width) for s in calibration.site_map.sites}

    def test_ratios_hold_whatever_the_budget(self, calibration: Calibration) -> None:
        inner = [site for site in calibration.site_map.sites if site.width == 16]
        ratio = Constraints(1, ratios={inner[0].layer: 0.5})
        made = allocator(calibration, auto, constraints=ratio)
        for share in (0.9, 0.6):
            plan = made.for_budget("macs", share)
            assert plan.keep[inner[0].name].sum() == 8
        assert made.for_tolerance(1e-9).keep[inner[0].name].sum() == 8

    @pytest.mark.parametrize("given", [{"keep_layers": ("no*",)}, {"ratios": {"no*": 0.5}}])
    def test_patterns_that_match_nothing_are_refused(
        self, given: dict, calibration: Calibration
    ) -> None:
        with pytest.raises(UsageError, match="no layer matches 'no\\*'; it has "):
            allocator(calibration, select, constraints=Constraints(1, **given))

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"round_to": 0}, "multiples of 0"),
            ({"least": 0}, "keep 0 units"),
            ({"ratios": {"a": 0.0}}, "a is 0"),
            ({"ratios": {"a": 1.5}}, "a is 1.5"),
        ],
    )
    def test_numbers_out_of_range_are_refused(self, given: dict, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Constraints(**given)

    def test_target_without_a_name_is_refused(self, calibration: Calibration) -> None:
        with pytest.raises(UsageError, match="avx2"):
            allocator(calibration, select, constraints=Constraints(target="z80"))


@pytest.mark.parametrize("tolerance", [1e-3, 0.05, 0.4])
def test_what_each_consumer_loses_is_within_the_tolerance(
    tolerance: float, calibration: Calibration
) -> None:
    made = allocator(calibration, auto)
    plan = made.for_tolerance(tolerance)
    lost = dict.fromkeys(plan.keep, 0.0)
    for ranking in made.moves.units:
        groups = calibration.pruning_graph.groups.of[ranking.sites[0]]
        removed = int((~plan.keep[ranking.sites[0]]).sum())
        assert np.isin(groups[~plan.keep[ranking.sites[0]]], ranking.order).all()
        for site in ranking.sites:
            lost[site] = float(ranking.errors[removed - 1]) if removed else 0.0
    for each in made.moves.ranks:
        how = plan.factorized.get(each.linear_consumer.consumer.node)
        if how is not None and how.kind == each.kind:
            (at,) = np.flatnonzero(each.ranks == how.rank)
            for site in each.linear_consumer.consumer.sites:
                assert lost[site] + each.errors[at] <= tolerance
    assert max(lost.values()) <= tolerance
    assert all(move.error <= tolerance for move in plan.dropped)


def cnn(build: Builder) -> str:
    """Add convolutions with poolings, a concatenation and a depthwise convolution between."""
    source = build.pool(build.relu(build.conv("x", 64, 3)))
    parts = [build.relu(build.conv(source, 48, kernel)) for kernel in (1, 3)]
    joined = build.concat(*parts)
    wide = build.relu(build.conv(joined, 64))
    deep = build.relu(build.conv(wide, 64, 3, groups=64))
    return build.dense(build.relu(build.conv(deep, 48)), 5)


@pytest.mark.skipif(this_machine().block == 1, reason="ONNX Runtime has no blocked layout here")
@pytest.mark.parametrize("net", [cnn, blocks])
def test_no_default_plan_leaves_the_fast_path(
    net: Callable[[Builder], str], tmp_path: Path
) -> None:
    build = Builder()
    calibration = calibrate_net(build, net(build), tmp_path, examples=40)
    made = allocator(calibration, auto, constraints=Constraints())
    assert made.widths.target == this_machine()
    plans = [made.for_budget("macs", share) for share in (0.9, 0.7, 0.5, 0.35)]
    plans += [made.for_tolerance(0.1), made.for_budget("params", 0.5)]
    assert any(not flags.all() for plan in plans for flags in plan.keep.values())
    for plan in plans:
        left = leaves_fast_path(calibration.model.ir, outline(calibration, plan))
        assert left == []
    free = allocator(calibration, select).for_budget("macs", 0.7)
    if net is cnn:  # at any width it would
        assert leaves_fast_path(calibration.model.ir, outline(calibration, free))


def test_moves_without_any_are_refused(calibration: Calibration) -> None:
    with pytest.raises(ModelError, match=r"no unit of net\.onnx can be removed"):
        Allocator(calibration, Moves(), constraints=ANY_WIDTH)


def test_networks_of_numbers_that_never_change_have_plans(tmp_path: Path) -> None:
    """Layers that are constant have no variance, and no error to tell moves apart by."""
    first = np.zeros((6, 8))
    model = write_layers(
        tmp_path / "m.onnx",
        *(first, np.ones((8, 6)), np.ones((6, 3))),
        biases=(np.ones(8), np.zeros(6), np.zeros(3)),
    )
    found = calibrated(model, write_data(tmp_path / "x.npz", 6, 40))
    plan = allocator(found, auto).for_budget("macs", 0.3)
    made = apply_plan(found, replace(plan, fits=ridge_fits(found, plan)))
    weights = [numpy_helper.to_array(t) for t in onnx.load(model).graph.initializer]
    assert sum(w.size for w in weights) > sum(
        v.const_value.numpy().size for v in made.graph.initializers.values()
    )
