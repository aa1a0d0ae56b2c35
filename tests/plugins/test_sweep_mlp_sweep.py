"""Recipes of stacked perceptrons, and what a sweep writes of them."""

import json
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
import pytest

from frivkit.errors import UsageError
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.runner import run
from frivkit.hooks.registry import installed
from frivkit_sweep_mlp.figures import figure_rows
from frivkit_sweep_mlp.keys import MEASUREMENTS, Key, keys
from frivkit_sweep_mlp.planner import plan_of
from frivkit_sweep_mlp.recipe import LARGEST, read_table

RECIPE = """
planner = "stacks"
figure = "T"
title = "a trial"
panels = ["prunable", "test accuracy"]
protocol = "reference"

[[series]]
label = "small"
inputs = 10
factors = [0.01]

[[series]]
label = "either"
inputs = 10
factors = [1, 100]

[scales.smoke]
widths = [0.25, 0.5]
seeds = [0, 1]
rates = [1, 0.1]
examples = 300
epochs = 2
"""


MINE = sorted(
    file.name.removesuffix(".toml") for file in (files("frivkit_sweep_mlp") / "recipes").iterdir()
)
SMOKE = SweepRequest("smoke")


def recipe_of(text, request=SMOKE):
    table = tomllib.loads(text)
    table.pop("planner")
    return read_table(table, request)


@pytest.fixture
def recipe():
    return recipe_of(RECIPE)


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_sweep_measures_every_network_and_draws_every_point(recipe, tmp_path):
    swept = run(plan_of(recipe), tmp_path / "out")
    assert (swept.trained, swept.found, swept.points) == (24, 0, 16)
    measured = [row for row in rows(tmp_path / "out") if "work" in row]
    wanted = Counter(key for stack in recipe.stacks() for key in keys(stack))
    assert len(wanted) == 24
    assert Counter(map(Key.of, measured)) == Counter(dict.fromkeys(wanted, len(MEASUREMENTS)))
    assert all(0 <= row["value"] <= 1 for row in measured)
    points = [row for row in rows(tmp_path / "out") if "figure" in row]
    assert {(p["panel"], p["series"], p["width"], p["trial"]) for p in points} == {
        (panel, series, width, seed)
        for panel in ("prunable", "test accuracy")
        for series in ("small", "either")
        for width in (0.25, 0.5)
        for seed in (0, 1)
    }


def test_journal_tells_protocol_series_and_stacks(recipe, tmp_path):
    run(plan_of(recipe), tmp_path)
    journal = json.loads((tmp_path / "run.json").read_text())
    assert journal["settings"]["stacks"]["epochs"] == 2
    (done,) = journal["runs"]
    assert done["scale"]["seeds"] == [0, 1]
    assert [series["label"] for series in done["series"]] == ["small", "either"]
    assert sum(job["networks"] for job in done["works"]) == 24


def test_arrays_hold_the_curves_behind_the_numbers(recipe, tmp_path):
    run(plan_of(recipe), tmp_path)
    measured = [row for row in rows(tmp_path) if "work" in row]
    kept = 0
    for job in {row["work"] for row in measured}:
        with h5py.File(tmp_path / f"arrays/{job}.h5") as file:
            arrays = {name: file[name][:] for name in file}
        mine = [row for row in measured if row["work"] == job]
        for net, (rate, factor) in enumerate(zip(arrays["rates"], arrays["factors"], strict=True)):
            values = {
                row["measurement"]: row["value"]
                for row in mine
                if (row["rate"], row["factor"]) == (rate, factor)
            }
            units, kept = mine[0]["units"], kept + 1
            shares = np.cumsum(arrays["variances"][net]) / arrays["variances"][net].sum()
            assert values["redundancy"] == (int((shares <= 0.05).sum()) + 1) / units
            assert arrays["unchanged"].shape == (len(arrays["rates"]), 3, 7)
            assert (arrays["unchanged"][:, :, 0] == 1).all()
            crossed = [threshold(arrays["levels"], curve) for curve in arrays["unchanged"][net]]
            assert values["prunability"] == pytest.approx(max(crossed))
    assert kept == 24


def threshold(levels, curve):
    """The published notebook's, written from what is told of it."""
    for i in range(len(levels) - 1):
        if curve[i] >= 0.8 and curve[i + 1] < 0.8:
            return i / 6 + (0.8 - curve[i]) / 6 / (curve[i + 1] - curve[i])
    return 1.0


def test_recipes_share_networks_in_one_folder(recipe, tmp_path):
    run(plan_of(recipe), tmp_path / "out")
    more = RECIPE.replace('"T"', '"U"').replace("factors = [0.01]", "factors = [0.01, 10]")
    swept = run(plan_of(recipe_of(more)), tmp_path / "out")
    assert (swept.trained, swept.found) == (8, 24)
    assert {row["figure"] for row in rows(tmp_path / "out") if "figure" in row} == {"T", "U"}


def test_points_of_a_figure_are_replaced(recipe, tmp_path):
    run(plan_of(recipe), tmp_path)
    run(plan_of(recipe_of(RECIPE.replace("seeds = [0, 1]", "seeds = [1, 2]"))), tmp_path)
    points = [row for row in rows(tmp_path) if "figure" in row]
    assert Counter(point["trial"] for point in points) == {1: 8, 2: 8}


def test_folder_of_another_protocol_is_refused(recipe, tmp_path):
    run(plan_of(recipe), tmp_path)
    with pytest.raises(UsageError, match="with epochs = 2, and now epochs = 3 is asked for"):
        run(plan_of(recipe_of(RECIPE.replace("epochs = 2", "epochs = 3"))), tmp_path)


def test_best_test_accuracy_chooses_the_network(recipe):
    grid = {"inputs": 10, "examples": 300, "optimiser": "momentum"}
    values = {
        (1.0, 1.0): (0.7, 0.9, 0.1),
        (0.1, 100.0): (0.8, 0.6, 0.2),
        (1.0, 0.01): (0.9, 1, 0.3),
    }
    trained = [
        {**grid, "width": 0.25, "seed": 1, "rate": rate, "factor": factor}
        | {"measurement": measurement, "value": value}
        for (rate, factor), found in values.items()
        for measurement, value in zip(
            ("test accuracy", "validation accuracy", "prunability"), found, strict=True
        )
    ]
    points = figure_rows(recipe, trained)
    prunable = {p["series"]: p for p in points if p["panel"] == "prunable"}
    assert prunable["small"]["value"] == 0.3
    best = prunable["either"]
    assert (best["value"], best["rate"], best["factor"], best["trial"]) == (0.2, 0.1, 100.0, 1)


def test_parameters_are_those_of_the_paper(tmp_path):
    """Casper et al. 2021, figure E1: the numbers of the published notebook."""
    (plan,) = read_recipe("e1-mlp", SweepRequest())
    run(plan, tmp_path)
    found = {(row["series"], row["width"]): row["value"] for row in rows(tmp_path)}
    assert [found["MLP-10", w] for w in (0.25, 0.5, 1, 2, 4)] == [418, 834, 1666, 3330, 6658]
    wide = [found["MLP-10K", w] for w in (0.25, 0.5, 1, 2, 4)]
    assert wide == [320098, 640194, 1280386, 2560770, 5121538]


@pytest.mark.parametrize("scale", ["full", "laptop", "smoke"])
@pytest.mark.parametrize("name", MINE)
def test_built_in_recipe_can_be_read(name, scale):
    recipe = recipe_of(installed().load("recipes", name).read_text(), SweepRequest(scale))
    stacks = recipe.stacks()
    every = [key for stack in stacks for key in keys(stack)]
    assert len(every) == len(set(every))
    assert all(stack.units * len(stack.nets) <= LARGEST for stack in stacks)
    assert bool(stacks) == (name != "e1-mlp")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('figure = "T"', "figure = 4", "figure is 4; write a value of type str"),
        ('figure = "T"', "", "it lacks 'figure'; add it"),
        ('figure = "T"', "figure = ", "Invalid value"),
        ("factors = [0.01]", "factors = 0.01", "factors is 0.01; write a list"),
        ("factors = [0.01]", "factors = []", "factors and inputs must be above 0"),
        ("inputs = 10", 'inputs = 10\noptimiser = "adan"', "did you mean adam"),
        ('"prunable", ', '"prunabel", ', "did you mean prunable"),
        ('"reference"', '"referenz"', "did you mean reference"),
        ('"reference"', '["reference"]', "no protocol is named"),
        ("rates = [1, 0.1]", "rates = [1, -1]", "widths and rates must be above 0"),
        ("rates = [1, 0.1]", "rates = [inf]", "rates is inf; write a finite number"),
        ("rates = [1, 0.1]", "rates = []", "at least one width, seed and rate"),
        ("rates = [1, 0.1]", "rats = [1]", "no key of scale smoke is named 'rats'"),
        ("rates = [1, 0.1]", "rates = [1, 1]", "a rate is given twice"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "a seed is given twice"),
        ("widths = [0.25, 0.5]", "widths = [0.5, 0.5]", "a width is given twice"),
        ('panels = ["prunable", "test accuracy"]', "panels = []", "at least one panel and one"),
        ("[scales.smoke]", '[changes]\nchosen = "an accuracy"\n[scales.smoke]', "it must be valid"),
        ('label = "small"', 'label = "either"', "labels of their own"),
        ("[scales.smoke]", "[changes]\nbalanse = 0.4\n[scales.smoke]", "did you mean balance"),
        ("[scales.smoke]", "[scales.large]", "no scale is named 'smoke'; known: large"),
        ("[scales.smoke]", "[[scales.smoke]]", "scale smoke is [{"),
        ('figure = "T"', 'figure = "T"\nchanges = 3', "changes is 3; write a table"),
    ],
)
def test_recipe_with_a_mistake_is_refused_in_one_line(old, new, message, tmp_path):
    assert old in RECIPE
    path = Path(tmp_path / "bad.toml")
    path.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(UsageError, match=r"^recipe \S+bad\.toml: ") as error:
        read_recipe(str(path), SMOKE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_jobs_have_the_names_under_which_results_were_written_before():
    (smoke,) = read_recipe("e7", SweepRequest("smoke"))
    jobs, _ = smoke.remaining_jobs([])
    assert {job.name for job in jobs} == {"3058964207cb", "9ff787bb742c"}
