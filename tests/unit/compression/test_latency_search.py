"""The search for a share of the latency, with latencies that are computed and not measured."""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.compression import latency_search
from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints
from frivkit.compression.latency_search import NEAR, TRIES, Timing, plan_for_latency
from frivkit.compression.plan import outline
from frivkit.compression.ways_out import with_ways_out
from frivkit.errors import BudgetError, ModelError
from frivkit.graph.cost import macs
from frivkit.latency.timing import Latency
from frivkit_compressors.bases import auto
from tests.nets import examples, network, opened
from tests.planning import SELECT, allocator, calibrated
from tests.unit.compression.test_allocation import blocks, calibrate_net
from tests.unit.latency.builder import Builder

Milliseconds = Callable[[ir.Model], float]
QUIET, BUSY = (0.0,), (-0.3, 0.0, 0.3)
"""What turns deviate by, as shares."""


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    build = Builder()
    return calibrate_net(build, blocks(build), tmp_path_factory.mktemp("blocks"), examples=40)


class Clock:
    """Takes the place of the stopwatch and of the latency model.

    Args:
        patch: Puts it in their places.
        true: The milliseconds that a run of a network takes.
        predicted: What the latency model says of it.
        noise: What turns deviate by.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        true: Milliseconds,
        predicted: Milliseconds,
        noise: tuple[float, ...] = QUIET,
    ) -> None:
        self.true, self.predict, self.noise = true, predicted, noise
        self.compared: list[float] = []
        patch.setattr(latency_search, "Stopwatch", lambda calibration, timing: self)
        patch.setattr(latency_search, "_latency_model", lambda *_: self)

    def of(self, calibration: Calibration) -> "Clock":
        self.original = self.true(calibration.model.ir)
        return self

    def compare(self, compressed: ir.Model) -> tuple[Latency, Latency]:
        share = self.true(compressed) / self.original
        self.compared.append(share)
        turns = [share * (1 + each) for each, _ in zip(cycle(self.noise), range(9), strict=False)]
        return Latency((1.0,) * 9), Latency(tuple(turns))


def operations(model: ir.Model) -> float:
    return float(macs(model.graph) or 0)


def overhead(model: ir.Model) -> float:
    """Return a latency with a part that no plan saves."""
    return operations(model) + 2e4


def hopeful(model: ir.Model) -> float:
    """Predict that less is saved the less is left."""
    return operations(model) ** 0.8


def hopeless(model: ir.Model) -> float:
    """Predict that nothing is saved."""
    return 1.0


@pytest.mark.parametrize("predicted", [operations, overhead, hopeful, hopeless])
@pytest.mark.parametrize("state", [4, 12])
def test_budgets_in_time_are_met_though_the_prediction_is_off(
    state: int,
    predicted: Milliseconds,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, overhead, predicted).of(calibration)
    made = allocator(calibration, auto)
    plan = made.plan_of(made.path("macs").states[state])
    share = 1.01 * overhead(outline(calibration, plan)) / clock.original
    timed = plan_for_latency(made, share, Timing(batch=4, threads=2))
    assert timed.warning is None
    assert timed.measured[1] == pytest.approx(share, rel=NEAR)
    assert timed.measured[1] in clock.compared
    assert len(clock.compared) <= TRIES + 1
    if predicted is overhead:
        assert timed.tries == 1
        assert timed.predicted == pytest.approx(timed.measured[1])
        assert timed.predicted <= share
    assert (timed.requested, timed.timing) == (share, Timing(4, 2))


def test_plans_are_those_of_least_error_for_their_operations(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, operations, operations).of(calibration)
    made = allocator(calibration, auto)
    timed = plan_for_latency(made, 0.68, Timing())
    within = 0.68 * operations(calibration.model.ir)
    expected = made.plan_of(made.state_within("macs", within))
    assert timed.plan.error <= 1.1 * expected.error
    assert made.cost(timed.plan, "macs") <= within


def test_budgets_that_cannot_be_met_name_the_least_share(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, overhead, operations).of(calibration)
    with pytest.raises(BudgetError, match=r"of the latency of net\.onnx cannot be met") as raised:
        plan_for_latency(allocator(calibration, auto), 0.05, Timing())
    assert raised.value.least == min(clock.compared)


def test_options_that_would_meet_it_are_named(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, operations, operations).of(calibration)
    coarse = allocator(calibration, constraints=Constraints(round_to=64))
    with pytest.raises(BudgetError) as raised:
        plan_for_latency(coarse, 0.5, Timing())
    budget = Budget("latency", 0.5)
    error = with_ways_out(raised.value, coarse, SELECT, budget, Timing())
    free = allocator(calibration).least("macs") / operations(calibration.model.ir)
    assert f"give --round-to none, by which {free:.2g} can be left" in str(error)
    none = replace(budget, share=1e-3)
    same = with_ways_out(raised.value, coarse, SELECT, none, Timing())
    assert str(same) == str(raised.value)


def test_a_busy_machine_is_told_of(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, overhead, overhead, BUSY).of(calibration)
    timed = plan_for_latency(allocator(calibration, auto), 0.7, Timing())
    assert "uncertain" in str(timed.warning)
    assert timed.measured[0] < timed.measured[1] < timed.measured[2]


def test_steps_too_wide_for_the_budget_are_told_of(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latency of two values lies near no share between them."""

    def stairs(model: ir.Model) -> float:
        return 1.0 if operations(model) > 0.5 * operations(calibration.model.ir) else 0.5

    Clock(monkeypatch, stairs, operations).of(calibration)
    made = allocator(calibration, auto)
    timed = plan_for_latency(made, 0.75, Timing())
    assert timed.measured[1] == 0.5  # within the budget, rather than above it
    half = made.plan_of(made.state_within("macs", 0.5 * operations(calibration.model.ir)))
    assert timed.plan.error <= 1.2 * half.error  # the largest network on the lower step
    assert "is 0.500 of the original's where 0.75 was requested" in str(timed.warning)


def test_batches_of_another_size_than_the_model_takes_are_refused(tmp_path: Path) -> None:
    model = opened(network("cnn of four"), tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=next(iter(examples(model, 24).values())))
    made = allocator(calibrated(model, f"npz:{tmp_path / 'x.npz'}"), auto)
    with pytest.raises(ModelError, match="batches of 4 only; give --batch 4"):
        plan_for_latency(made, 0.5, Timing(batch=1))
