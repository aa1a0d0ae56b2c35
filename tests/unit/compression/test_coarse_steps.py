"""Budgets and steps that are coarse: branches within branches, and what is said of the rest."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.frontier import frontier
from frivkit.compression.method import Method
from frivkit.compression.plan import amount
from frivkit.compression.steps import BranchSteps
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock
from frivkit.report.compression import compression_document
from frivkit.report.compression_html import compression_page
from frivkit.report.compression_text import compression_text
from frivkit.report.frontier import frontier_document, frontier_text
from frivkit.report.frontier_html import frontier_page
from tests.contract import complaints
from tests.unit.latency.builder import SIDE, Builder


def nested(build: Builder, *, strong: float) -> str:
    """Add a branch of little variance, with two smaller ones of much in it, and a dense layer."""
    stem = build.relu(build.conv("x", 8, 3))
    stream = stem
    for _ in range(2):
        branch = build.conv(build.relu(build.conv(stream, 8, 3)), 8, 3)
        stream = build.add(stream, branch)
    outer = build.conv(stream, 8, 3)
    for each in build.weights:
        if each.name.startswith(f"{outer}."):
            scaled = onnx.numpy_helper.to_array(each) * np.float32(strong)
            each.CopyFrom(onnx.numpy_helper.from_array(scaled, each.name))
    return build.dense(build.add(stem, outer), 5)


def compressor(
    folder: Path, strong: float, basis: str = "auto", *, round_to: int = 1
) -> Compressor:
    build = Builder()
    model = build.model(nested(build, strong=strong), folder)
    x = np.random.default_rng(4).normal(size=(60, 3, SIDE, SIDE)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    request = Request(model.path, data=f"npz:{folder / 'x.npz'}")
    return Compressor(
        request, method=Method(basis=basis), constraints=Constraints(round_to=round_to)
    )


def test_branches_within_branches_cost_the_same_whatever_was_dropped_first(tmp_path: Path) -> None:
    made = compressor(tmp_path, 1.0).allocator
    walker = made._walker("macs")
    branches = [i for i, step in enumerate(made._steps) if isinstance(step, BranchSteps)]
    assert len(branches) == 3
    generator = np.random.default_rng(0)
    for _ in range(20):
        state = [0] * len(made._steps)
        for i in branches:
            state[i] = int(generator.integers(2))
        plan = made.plan_of(tuple(state))
        assert walker.cost_of(tuple(state)) == pytest.approx(made.cost(plan, "macs"))
        foretold = [float(-walker._saved(i, np.array([1 - state[i]]))[0]) for i in branches]
        for i, change in zip(branches, foretold, strict=True):
            other = [1 - at if j == i else at for j, at in enumerate(state)]
            found = walker.cost_of(tuple(other)) - walker.cost_of(tuple(state))
            assert change == pytest.approx(found, abs=1e-6)


def test_finer_steps_are_preferred_to_one_that_leaves_next_to_nothing(tmp_path: Path) -> None:
    made = compressor(tmp_path, 0.2).allocator
    whole = amount(made.calibration.model.ir, made.calibration, "macs", None)
    path = made.path("macs")
    shares = path.costs / whole
    gap = int(np.argmin(np.diff(shares)))
    assert shares[gap + 1] < shares[gap] / 2  # the path itself falls by a branch
    share = float(0.97 * shares[gap])
    plan = made.for_budget("macs", share)
    assert 0.5 * share < made.cost(plan, "macs") / whole <= share
    assert plan.error <= path.errors[gap + 1]


def test_a_budget_that_is_missed_by_far_is_said_with_the_reason(tmp_path: Path) -> None:
    found = compressor(tmp_path, 1.0, "select", round_to=4)
    made = found.compress(Budget("macs", 0.95), None)
    document = compression_document(made, found.request, Clock.start())
    assert complaints(document) == []
    said = document["budget"]["overshoot"]
    assert said["reached"] == document["budget"]["left"]["macs"] < 0.9 * 0.95
    line = f"Requested: 95.0 % of the MACs; reached: {100 * said['reached']:.1f} %, since "
    text = re.sub(r"\s+", " ", compression_text(document))
    page = compression_page(document).replace("\N{NO-BREAK SPACE}", " ")
    for shown in (text, page):
        assert line in shown
        assert said["reason"] in shown
    near = found.compress(Budget("macs", said["reached"]), None)
    assert near.overshoot is None
    several = frontier(found, (0.95, said["reached"]), timings=())
    told = frontier_document(several, found.request, Clock.start())
    assert complaints(told) == []
    by_share = {plan["share"]: plan["overshoot"] for plan in told["plans"]}
    assert by_share in ({0.95: said}, {0.95: said, said["reached"]: None})
    text = re.sub(r"\s+", " ", frontier_text(told))
    page = frontier_page(told).replace("\N{NO-BREAK SPACE}", " ")
    assert line in text
    assert line in page


def test_errors_that_overflowed_do_not_keep_a_plan_from_ending(tmp_path: Path) -> None:
    """As activations near the largest float give them, whose squares are infinite."""
    made = compressor(tmp_path, 1.0).allocator
    for step in made._steps:
        if not isinstance(step, BranchSteps):
            step.errors[len(step.errors) // 2 :] = np.nan
    walker = made._walker("macs")
    state = tuple([0] * len(made._steps))
    assert walker.refined(state, 2 * walker.original) == state
