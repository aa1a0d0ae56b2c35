"""The paper's claims of networks on CIFAR-10, judged by curves, and the page that tells of them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from frivkit.figure import read_curves
from frivkit.gain import UNITS, Curve, gain
from frivkit.registry import installed
from frivkit.sweep.page import BEGIN, END
from frivkit.sweep.recipe import read_recipe
from frivkit.sweep.runner import run
from frivkit.sweep.work import Asked
from frivkit_netlab.claims import (
    AGREES,
    DISAGREES,
    NOTHING,
    UNDECIDED,
    Claim,
    Number,
    apart,
    claims,
    difference,
)
from frivkit_netlab.reproduction import RECIPES, main, updated

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reproduction/cifar/README.md"
WIDTHS = (0.25, 0.5, 1.0)


def curve(values, figure="4a", panel="prunable", series="AlexNet(all reg)"):
    """Give a curve with three trials a little apart at each width."""
    trials = tuple(tuple(value * near for near in (0.99, 1, 1.01)) for value in values)
    return Curve(panel, series, WIDTHS, trials, figure)


def judged(*curves):
    found = claims({(c.figure, c.panel, c.series): c for c in curves}, "paper")
    return {(claim.says, claim.figure): claim for claim in found}


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
def test_a_claim_agrees_where_the_interval_lies_where_it_says(interval, verdict):
    number = Number("a", 2.0, interval, (2.0, math.inf))
    assert number.verdict == verdict
    assert Claim("", "", (number,)).verdict == verdict


def test_a_claim_of_several_numbers_agrees_where_all_do():
    fine, bad, open_ = (
        Number("", 1.0, interval, (0.0, 2.0)) for interval in ((0.5, 1.5), (3.0, 4.0), (-1.0, 1.5))
    )
    assert Claim("", "", (fine, fine)).verdict == AGREES
    assert Claim("", "", (fine, open_)).verdict == UNDECIDED
    assert Claim("", "", (fine, open_, bad)).verdict == DISAGREES
    assert Claim("", "", (Number("", math.nan, None, (0, 1)),)).verdict == NOTHING


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((0.1, 0.15, 0.2), AGREES), ((0.2, 0.15, 0.1), DISAGREES), ((0.1, 0.1, 0.1), UNDECIDED)],
)
def test_growth_is_judged_by_the_gain(values, verdict):
    found = judged(curve(values))
    claim = found["prunable units with true labels more than double with the width: g > 2", "4a"]
    assert claim.verdict == verdict
    (number,) = claim.numbers
    assert (number.value, number.interval) == (
        gain(curve(values)).value,
        gain(curve(values)).interval,
    )
    assert str(number).endswith("; 2 doublings)")
    single = curve(values)
    single = replace(single, widths=WIDTHS[:2], values=single.values[:2])
    assert {claim.verdict for claim in judged(single).values()} == {UNDECIDED}


def test_difference_has_student_s_interval():
    random = np.random.default_rng(0)
    one, other = random.uniform(0.2, 0.6, (2, 3))
    mine, its = (Curve("prunable", "", (1,), (tuple(map(float, v)),)) for v in (one, other))
    found = ttest_ind(one, other).confidence_interval(0.95)
    value, interval = difference(mine, its)
    assert value == pytest.approx(one.mean() - other.mean())
    assert interval == pytest.approx((found.low, found.high))


def test_difference_is_the_mean_over_widths_that_both_have():
    one = Curve("prunable", "", (1, 2, 4), ((0.5,), (0.7,), ()))
    other = Curve("prunable", "", (1, 2, 8), ((0.25,), (0.25,), (0.9,)))
    assert difference(one, other) == (pytest.approx(0.35), None)
    assert math.isnan(difference(one, Curve("prunable", "", (8,), ((0.1,),)))[0])


def test_gains_that_are_far_apart_are_known_to_be():
    steep, flat = curve((0.1, 0.2, 0.4)), curve((0.1, 0.1, 0.1))
    value, interval = apart(steep, flat, "paper")
    assert value == pytest.approx(2)
    assert interval[0] < value < interval[1]
    assert interval[0] > 1.5
    assert apart(steep, steep, "paper")[0] == 0


def test_trades_between_kinds_are_judged():
    def shares(panel, series, values):
        return curve(values, "4c", panel, series)

    found = judged(
        shares("prunable", "Glorot-N", (0.1, 0.2, 0.3)),
        shares("prunable", "He-N", (0.05, 0.1, 0.2)),
        shares("redundant", "Glorot-N", (0.3, 0.4, 0.5)),
        shares("redundant", "He-N", (0.3, 0.4, 0.5)),
    )
    words = "weights of He and LeCun leave {} than Glorot's"
    assert found[words.format("fewer units prunable"), "4c"].verdict == AGREES
    assert found[words.format("more units redundant"), "4c"].verdict == UNDECIDED


def test_nothing_is_said_of_what_is_not_there():
    assert judged() == {}


def test_page_is_made_from_its_data():
    assert updated(PAGE.read_text(), PAGE.parent / "data") == PAGE.read_text()


def test_figures_of_the_page_can_be_drawn_from_its_data():
    curves = read_curves(PAGE.parent / "data/reference")
    for picture in (PAGE.parent / "figures").iterdir():
        figure = installed().load("figures", picture.stem)
        chosen = figure.choose(curves)
        assert chosen, picture.name
        assert all(curve.note for curve in chosen)
        text = picture.read_text(encoding="utf-8")
        assert all(curve.series in text for curve in chosen if curve.panel in UNITS)


def test_a_sweep_goes_on_from_what_is_kept(tmp_path, monkeypatch):
    """What the page keeps is what a sweep needs to leave out networks that it has."""
    (plan,) = read_recipe("fig2", Asked("smoke"))
    run(plan, tmp_path / "sweep")
    monkeypatch.setattr("frivkit_netlab.reproduction.RECIPES", ("fig2",))
    monkeypatch.setattr(
        "frivkit_netlab.reproduction.Asked", lambda _, protocol, __: Asked("smoke", protocol)
    )
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    lines = (tmp_path / "sweep/results.jsonl").read_text().splitlines(keepends=True)
    measured = [line for line in lines if "work" in json.loads(line)]
    # As an unfinished sweep leaves it: without figures, the last line torn.
    (tmp_path / "sweep/results.jsonl").write_text("".join([*measured[:-1], measured[-1][:20]]))
    main([str(tmp_path / "sweep"), str(page)])
    assert "| `fig2` | 3 | 4 | 1/4: 2 of 2, 1/2: 1 of 2 |" in page.read_text()
    kept = tmp_path / "data/reference"
    assert {curve.figure for curve in read_curves(kept)} >= {"2a", "2b"}
    swept = run(plan, kept)
    assert (swept.trained, swept.found) == (1, 3)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nbehind\n")
    assert "old" not in text


def test_every_recipe_of_the_page_is_one_of_cifar10():
    for name in RECIPES:
        for plan in read_recipe(name, Asked("laptop")):
            assert {net["source"] for net in plan.described["networks"]} == {"cifar10"}
