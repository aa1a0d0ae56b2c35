"""The paper's claims on networks for CIFAR-10, compared with curves, and the page of them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from frivkit.cli import main
from frivkit.experiments.figure import read_curves
from frivkit.experiments.gain import UNITS, WidthCurve, gain
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results_page import BEGIN, END
from frivkit.experiments.runner import run
from frivkit.hooks.registry import installed
from frivkit_sweep_networks.claims import (
    AGREES,
    DISAGREES,
    NOTHING,
    UNDECIDED,
    Claim,
    Estimate,
    claims,
    difference,
    gain_difference,
)
from frivkit_sweep_networks.reproduction import RECIPES, command, updated

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reproduction/cifar/README.md"
WIDTHS = (0.25, 0.5, 1.0)


def curve(values, figure="4a", panel="prunable", series="AlexNet(all reg)"):
    """Return a curve with three trials a little apart at each width."""
    trials = tuple(tuple(value * near for near in (0.99, 1, 1.01)) for value in values)
    return WidthCurve(panel, series, WIDTHS, trials, figure)


def claims_of(*curves):
    stated = claims({(c.figure, c.panel, c.series): c for c in curves}, "paper")
    return {(claim.text, claim.figure): claim for claim in stated}


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((2.1, 2.4), AGREES),
        ((1.9, 2.4), UNDECIDED),
        ((1.7, 1.9), DISAGREES),
        ((2.1, math.inf), UNDECIDED),
        (None, UNDECIDED),
    ],
)
def test_claim_agrees_if_the_interval_is_in_its_range(interval, verdict):
    estimate = Estimate("a", 2.0, interval, (2.0, math.inf))
    assert estimate.verdict == verdict
    assert Claim("", "", (estimate,)).verdict == verdict


def test_claim_of_several_estimates_agrees_if_all_do():
    inside, outside, open_ = (
        Estimate("", 1.0, interval, (0.0, 2.0))
        for interval in ((0.5, 1.5), (3.0, 4.0), (-1.0, 1.5))
    )
    assert Claim("", "", (inside, inside)).verdict == AGREES
    assert Claim("", "", (inside, open_)).verdict == UNDECIDED
    assert Claim("", "", (inside, open_, outside)).verdict == DISAGREES
    assert Claim("", "", (Estimate("", math.nan, None, (0, 1)),)).verdict == NOTHING


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((0.1, 0.15, 0.2), AGREES), ((0.2, 0.15, 0.1), DISAGREES), ((0.1, 0.1, 0.1), UNDECIDED)],
)
def test_growth_is_decided_by_the_gain(values, verdict):
    claim = claims_of(curve(values))[
        "prunable units with true labels more than double with the width: g > 2", "4a"
    ]
    assert claim.verdict == verdict
    (estimate,) = claim.estimates
    expected = gain(curve(values))
    assert (estimate.value, estimate.interval) == (expected.value, expected.interval)
    assert str(estimate).endswith("; 2 doublings)")
    single = curve(values)
    single = replace(single, widths=WIDTHS[:2], values=single.values[:2])
    assert {claim.verdict for claim in claims_of(single).values()} == {UNDECIDED}


def test_difference_has_student_s_interval():
    random = np.random.default_rng(0)
    one, other = random.uniform(0.2, 0.6, (2, 3))
    first, second = (
        WidthCurve("prunable", "", (1,), (tuple(map(float, v)),)) for v in (one, other)
    )
    expected = ttest_ind(one, other).confidence_interval(0.95)
    value, interval = difference(first, second)
    assert value == pytest.approx(one.mean() - other.mean())
    assert interval == pytest.approx((expected.low, expected.high))


def test_difference_is_the_mean_over_widths_that_both_have():
    one = WidthCurve("prunable", "", (1, 2, 4), ((0.5,), (0.7,), ()))
    other = WidthCurve("prunable", "", (1, 2, 8), ((0.25,), (0.25,), (0.9,)))
    assert difference(one, other) == (pytest.approx(0.35), None)
    assert math.isnan(difference(one, WidthCurve("prunable", "", (8,), ((0.1,),)))[0])


def test_interval_of_gains_that_are_far_apart_excludes_0():
    steep, flat = curve((0.1, 0.2, 0.4)), curve((0.1, 0.1, 0.1))
    value, interval = gain_difference(steep, flat, "paper")
    assert value == pytest.approx(2)
    assert interval[0] < value < interval[1]
    assert interval[0] > 1.5
    assert gain_difference(steep, steep, "paper")[0] == 0


def test_differences_of_initial_weights_are_decided():
    def shares(panel, series, values):
        return curve(values, "4c", panel, series)

    stated = claims_of(
        shares("prunable", "Glorot-N", (0.1, 0.2, 0.3)),
        shares("prunable", "He-N", (0.05, 0.1, 0.2)),
        shares("redundant", "Glorot-N", (0.3, 0.4, 0.5)),
        shares("redundant", "He-N", (0.3, 0.4, 0.5)),
    )
    words = "initial weights of He and LeCun leave {} than Glorot's"
    assert stated[words.format("fewer units prunable"), "4c"].verdict == AGREES
    assert stated[words.format("more units redundant"), "4c"].verdict == UNDECIDED


def test_claims_without_curves_are_left_out():
    assert claims_of() == {}


def test_page_is_written_from_its_data():
    assert updated(PAGE.read_text(), PAGE.parent / "data") == PAGE.read_text()


def test_figures_of_the_page_can_be_drawn_from_its_data():
    curves = read_curves(PAGE.parent / "data/reference")
    for picture in (PAGE.parent / "figures/reference").iterdir():
        assert f"](figures/reference/{picture.name})" in PAGE.read_text()
        figure = installed().load("figures", picture.stem)
        chosen = figure.choose(curves)
        assert chosen, picture.name
        assert all(curve.note for curve in chosen)
        text = picture.read_text(encoding="utf-8")
        assert all(curve.series in text for curve in chosen if curve.panel in UNITS)


def test_a_sweep_resumes_from_stored_results(tmp_path, monkeypatch):
    """The networks of the stored results are not trained again."""
    (plan,) = read_recipe("fig2", SweepRequest("smoke"))
    run(plan, tmp_path / "sweep")
    monkeypatch.setattr("frivkit_sweep_networks.reproduction.RECIPES", ("fig2",))
    monkeypatch.setattr(
        "frivkit_sweep_networks.reproduction.SweepRequest",
        lambda _, protocol, __: SweepRequest("smoke", protocol),
    )
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    lines = (tmp_path / "sweep/results.jsonl").read_text().splitlines(keepends=True)
    measured = [line for line in lines if "work" in json.loads(line)]
    # As an unfinished sweep leaves it: without figures, the last line torn.
    (tmp_path / "sweep/results.jsonl").write_text("".join([*measured[:-1], measured[-1][:20]]))
    command.main([str(tmp_path / "sweep"), str(page)], standalone_mode=False)
    assert "| `fig2` | 3 | 4 | 1/4: 2 of 2, 1/2: 1 of 2 |" in page.read_text()
    stored = tmp_path / "data/reference"
    assert {curve.figure for curve in read_curves(stored)} >= {"2a", "2b"}
    swept = run(plan, stored)
    assert (swept.trained, swept.found) == (1, 3)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nbehind\n")
    assert "old" not in text


def test_what_cannot_be_compared_is_told_in_one_line_and_replaces_nothing(tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    (tmp_path / "no_marks.md").write_text("page")
    stored = tmp_path / "data/reference"
    shutil.copytree(PAGE.parent / "data/reference", stored)
    (tmp_path / "empty").mkdir()
    shutil.copytree(ROOT / "docs/reproduction/data/reference", tmp_path / "perceptrons")
    shutil.copytree(stored, tmp_path / "other")
    content = (stored / "results.jsonl").read_bytes()
    (tmp_path / "other/results.jsonl").write_bytes(b"")
    for words, message in (
        (["no.md"], "no.md: No such file"),
        (["no_marks.md"], "put both where tables go"),
        (["empty", "README.md"], "empty has no sweep of CIFAR-10"),
        (["perceptrons", "README.md"], "perceptrons has no sweep of CIFAR-10"),
        (["other", "README.md"], "other has no sweep of CIFAR-10"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path / word) for word in words], command, "reproduction")
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 1
        assert message in line
        assert (stored / "results.jsonl").read_bytes() == content
    assert page.read_text() == f"{BEGIN}\n{END}\n"


def test_every_recipe_of_the_page_is_one_of_cifar10():
    for name in RECIPES:
        for plan in read_recipe(name, SweepRequest("laptop")):
            assert {net["source"] for net in plan.described["networks"]} == {"cifar10"}
