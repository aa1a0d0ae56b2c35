"""The frontier: every plan is what ``compress`` makes, measured as an independent run measures."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.frontier import (
    FEWEST,
    SHARES,
    Frontier,
    FrontierPoint,
    LatencyPair,
    frontier,
)
from frivkit.compression.latency_search import Timing
from frivkit.compression.method import Method
from frivkit.compression.plan import Plan
from frivkit.data.subset import held_out
from frivkit.errors import BudgetError, ModelError, NotSmallerError, UsageError
from frivkit.latency.timing import Latency
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution
from frivkit.verification.agreement import Agreement
from tests.program import write_mlp, write_rows

HIDDEN = 24


class FakeStopwatch:
    """A stopwatch by which a run takes a millisecond for each parameter and example."""

    def __init__(self, calibration, timing):
        self.original, self.batch = calibration.model.ir, timing.batch

    def compare(self, compressed):
        return tuple(self.latency(graph) for graph in (self.original, compressed))

    def latency(self, network):
        weights = (value.const_value.size for value in network.graph.initializers.values())
        return Latency((float(self.batch + sum(weights)),) * 3)


@pytest.fixture(autouse=True)
def _timed(monkeypatch):
    monkeypatch.setattr("frivkit.compression.frontier.Stopwatch", FakeStopwatch)


def compressor_of(folder, *, batch=None, **constraints):
    model = write_mlp(folder / "net.onnx", HIDDEN, batch=batch)
    data = write_rows(folder / "x.npz", 8)
    request = Request(model, f"npz:{data}", execution=Execution(threads=1))
    method = Method("select" if constraints else "auto")
    return Compressor(request, method=method, constraints=Constraints(round_to=1, **constraints))


@pytest.fixture(scope="module")
def compressor(tmp_path_factory):
    return compressor_of(tmp_path_factory.mktemp("net"))


def weights(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def labels(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": x})[0].argmax(1)


class TestPlans:
    def test_files_are_those_of_compress_and_agree_as_often_as_is_said(self, compressor, tmp_path):
        shares = (0.3, 0.7)
        found = frontier(compressor, shares, output=lambda share: tmp_path / f"{share:g}.onnx")
        assert [point.share for point in found.points] == [0.7, 0.3]
        original = compressor.calibration.model.path
        with np.load(original.with_name("x.npz")) as stored:
            x = stored["x"][held_out(len(stored["x"]))]
        for point in found.points:
            single = tmp_path / "single.onnx"
            made = compressor.compress(Budget("macs", point.share), single)
            one, other = weights(single), weights(point.path)
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
            same = int((labels(original, x) == labels(point.path, x)).sum())
            assert point.agreement == Agreement(same, len(x))
            assert point.agreement == made.verification.comparison.agreement
            sizes = [sum(a.size for a in weights(path).values()) for path in (original, single)]
            assert point.left["params"] == sizes[1] / sizes[0]
            assert point.left["macs"] <= point.share
            ratio = (1 + sizes[1]) / (1 + sizes[0])
            assert point.latency[1].ratio == pytest.approx((ratio,) * 3)

    def test_usual_shares_give_enough_plans_from_one_calibration(self, compressor, monkeypatch):
        monkeypatch.setattr("frivkit.compression.compress.calibrate", None)  # none but the first
        found = frontier(compressor)
        assert len(found.points) >= FEWEST
        macs = [point.left["macs"] for point in found.points]
        assert macs == sorted(set(macs), reverse=True)
        assert {p.share for p in found.points} | set(found.left_out) >= set(SHARES)

    def test_shares_that_cannot_be_met_are_left_out_and_others_are_put_between(self, tmp_path):
        found = frontier(compressor_of(tmp_path, least=12))
        assert found.left_out[0.1].startswith("the smallest model keeps 0.")
        assert len(found.points) >= FEWEST
        assert min(point.left["macs"] for point in found.points) == 0.5

    def test_files_appear_together_once_the_last_plan_is_measured(self, compressor, tmp_path):
        there = []
        found = frontier(
            compressor,
            [0.7, 0.5],
            output=lambda share: tmp_path / f"{share}.onnx",
            done=lambda point: there.extend(tmp_path.glob("0.*.onnx")),
        )
        assert there == []
        assert [point.path for point in found.points] == [
            tmp_path / "0.7.onnx",
            tmp_path / "0.5.onnx",
        ]
        assert all(point.path.is_file() for point in found.points)

    def test_only_shares_that_are_asked_for_are_taken(self, tmp_path):
        found = frontier(compressor_of(tmp_path, least=12), (0.2, 0.8, 0.795, 0.999))
        assert [point.share for point in found.points] == [0.999, 0.8]
        assert set(found.left_out) == {0.2, 0.795}
        assert found.left_out[0.795] == "its plan is that of 0.8"

    def test_what_cannot_be_met_at_all_is_refused(self, tmp_path):
        compressor = compressor_of(tmp_path, least=12)
        with pytest.raises(BudgetError, match="the smallest model has"):
            frontier(compressor, (0.2, 0.1))
        with pytest.raises(NotSmallerError):
            frontier(compressor, (1.0,))
        with pytest.raises(UsageError, match="between 0 and 1"):
            frontier(compressor, (1.5,))

    def test_without_timing_there_is_no_latency(self, compressor):
        found = frontier(compressor, (0.5,), timings=())
        (point,) = found.points
        assert point.latency == {}
        assert not found.dominated(point, "latency")
        assert found.smallest(0.01, surely=False) is None
        assert found.smallest(0.01, "macs", surely=False) is point

    def test_batch_that_the_file_does_not_take_is_not_timed(self, tmp_path):
        compressor = compressor_of(tmp_path, batch=2)
        found = frontier(compressor, (0.5,), timings=[Timing(1), Timing(2)])
        assert found.unmeasured == {1: "net.onnx takes batches of 2 only"}
        assert found.points[0].latency.keys() == {2}
        assert found.original_latency(1) is None
        assert not found.dominated(found.points[0], "latency", 1)
        assert found.smallest(0.01, "latency", batch=1, surely=False) is None

    def test_network_that_gives_nan_is_refused(self, tmp_path):
        model = write_mlp(tmp_path / "net.onnx", HIDDEN, last="Log")
        data = write_rows(tmp_path / "x.npz", 8)
        compressor = Compressor(Request(model, f"npz:{data}"))
        with pytest.raises(ModelError, match="gives NaN for example"):
            frontier(compressor, (0.5,))


EXAMPLES = 200
plans = st.lists(
    st.tuples(
        st.integers(0, EXAMPLES),
        st.sampled_from([0.2, 0.4, 0.5, 0.9]),
        st.sampled_from([0.3, 0.6, 0.99, 1.0, 1.2]),
    ),
    min_size=1,
    max_size=7,
)


def made_up(drawn):
    """Return a frontier of plans that have (labels that agree, share of MACs, share of time)."""
    points = tuple(
        FrontierPoint(
            macs,
            Plan({}, 0.0),
            {"macs": macs, "params": macs, "units": macs},
            Agreement(same, EXAMPLES),
            {1: LatencyPair(Latency((1.0,) * 3), Latency((time,) * 3))},
        )
        for same, macs, time in drawn
    )
    empty = SimpleNamespace()
    return Frontier(empty, empty, None, empty, points, {}, (Timing(),), {}, (), ())


class TestChoice:
    @given(plans, st.sampled_from(["macs", "latency"]))
    def test_plan_is_dominated_if_another_is_nowhere_worse_and_somewhere_better(self, drawn, cost):
        found = made_up(drawn)
        at = 1 if cost == "macs" else 2
        for point, (same, *_), own in zip(
            found.points, drawn, (each[at] for each in drawn), strict=True
        ):
            better = [
                other
                for other in drawn
                if other[0] >= same and other[at] <= own and (other[0], other[at]) != (same, own)
            ]
            assert found.dominated(point, cost) == bool(better)

    @given(plans, st.sampled_from([0.5, 0.9, 0.97]), st.booleans())
    def test_smallest_is_the_cheapest_that_agrees(self, drawn, required, surely):
        found = made_up(drawn)

        def agrees(point):
            agreement = point.agreement
            return (agreement.interval[0] if surely else agreement.share) >= required

        fit = [point for point in found.points if agrees(point)]
        chosen = found.smallest(required, "macs", surely=surely)
        least = min((point.left["macs"] for point in fit), default=None)
        assert (chosen and chosen.left["macs"]) == least
        chosen = found.smallest(required, surely=surely)
        faster = [point.latency[1].ratio[1] for point in fit if point.latency[1].ratio[2] < 1]
        assert (chosen and chosen.latency[1].ratio[1]) == min(faster, default=None)
        assert chosen is None or agrees(chosen)

    @given(plans)
    def test_smallest_of_what_agrees_is_not_dominated(self, drawn):
        found = made_up(drawn)
        chosen = found.smallest(0.5, "macs", surely=False)
        if chosen is not None:
            assert not found.dominated(chosen, "macs")

    def test_time_counts_at_the_batch_that_is_named(self):
        found = made_up([(190, 0.5, 0.5), (190, 0.9, 0.9)])
        swapped = [
            replace(point, latency={1: point.latency[1], 16: other.latency[1]})
            for point, other in zip(found.points, found.points[::-1], strict=True)
        ]
        found = replace(found, points=tuple(swapped), timings=(Timing(1), Timing(16)))
        assert found.smallest(0.5).share == 0.5
        assert found.smallest(0.5, batch=16).share == 0.9
        assert [found.dominated(point, "latency", 16) for point in found.points] == [True, False]
