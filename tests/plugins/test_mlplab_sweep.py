"""Recipes, and sweeps that are interrupted, resumed and shared."""

import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from frivkit.errors import DataError, UsageError
from frivkit_mlplab.figures import figure_rows, gain
from frivkit_mlplab.recipes import LARGEST, read_recipe, recipe_names
from frivkit_mlplab.results import MEASUREMENTS, Key, Results, keys
from frivkit_mlplab.sweep import run
from tests.program import start

RECIPE = """
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


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "trial.toml").write_text(RECIPE)
    return read_recipe(str(tmp_path / "trial.toml"), "smoke")


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def same(folder, whole):
    """Say whether two folders hold the same rows, each once, whatever their order."""
    here, there = (Counter(map(json.dumps, rows(each))) for each in (folder, whole))
    return here == there and set(here.values()) == {1}


def test_sweep_measures_every_network_and_draws_every_point(recipe, tmp_path):
    swept = run(recipe, tmp_path / "out")
    assert (swept.trained, swept.found, swept.points) == (24, 0, 16)
    measured = [row for row in rows(tmp_path / "out") if "stack" in row]
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


def test_journal_tells_protocol_versions_seeds_command_and_times(recipe, tmp_path):
    run(recipe, tmp_path)
    journal = json.loads((tmp_path / "run.json").read_text())
    assert journal["schema"] == "frivkit.sweep/1"
    assert journal["protocol"]["epochs"] == 2
    (done,) = journal["runs"]
    assert done["finished"] is True
    assert done["scale"]["seeds"] == [0, 1]
    assert {"torch", "numpy"} <= set(done["provenance"]["packages"])
    assert done["provenance"]["command"][0] == "frivkit"
    assert sum(stack["networks"] for stack in done["stacks"]) == 24
    assert all(stack["seconds"] > 0 for stack in done["stacks"])


def test_second_run_trains_nothing_and_changes_nothing(recipe, tmp_path):
    run(recipe, tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    swept = run(recipe, tmp_path)
    assert (swept.trained, swept.found) == (0, 24)
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_file_cut_anywhere_is_made_whole_again(recipe, tmp_path):
    run(recipe, tmp_path / "whole")
    content = (tmp_path / "whole/results.jsonl").read_bytes()
    line_ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    cuts = [0, 1, line_ends[0], line_ends[3] + 7, line_ends[29], line_ends[30], line_ends[59] - 1]
    for place in cuts:
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "run.json").write_bytes((tmp_path / "whole/run.json").read_bytes())
        (folder / "results.jsonl").write_bytes(content[:place])
        swept = run(recipe, folder)
        assert same(folder, tmp_path / "whole"), place
        assert swept.found == 6 * (content[:place].count(b"\n") // 30)


def test_rows_that_are_lost_or_double_are_noticed(recipe, tmp_path):
    """The comparison above can fail."""
    run(recipe, tmp_path / "whole")
    for name, change in (("double", lambda t: [*t, t[0]]), ("lost", lambda t: t[1:])):
        (tmp_path / name).mkdir()
        text = change((tmp_path / "whole/results.jsonl").read_text().splitlines())
        (tmp_path / name / "results.jsonl").write_text("\n".join(text))
        assert not same(tmp_path / name, tmp_path / "whole")


def wait_for_rows(folder, process):
    for _ in range(600):
        if (folder / "results.jsonl").exists() and (folder / "results.jsonl").stat().st_size:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no stack was finished")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_sweep_that_is_ended_goes_on_where_it_stopped(sent, code, tmp_path):
    text = RECIPE.replace("seeds = [0, 1]", f"seeds = {list(range(12))}")
    (tmp_path / "trial.toml").write_text(text.replace("epochs = 2", "epochs = 20"))
    command = ("sweep", tmp_path / "trial.toml", "--scale", "smoke", "-o", tmp_path / "out")
    with start(*command) as process:
        wait_for_rows(tmp_path / "out", process)
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if sent == signal.SIGINT:
        goes_on, interrupted = err.splitlines()
        assert goes_on.endswith("the same command goes on")
        assert interrupted.startswith("frivkit: interrupted")
        (cut_short,) = json.loads((tmp_path / "out/run.json").read_text())["runs"]
        assert cut_short["finished"] is False
    recipe = read_recipe(str(tmp_path / "trial.toml"), "smoke")
    there = len(Results(tmp_path / "out/results.jsonl").finished)
    assert 0 < there < 144
    swept = run(recipe, tmp_path / "out")
    assert (swept.trained, swept.found) == (144 - there, there)
    run(recipe, tmp_path / "whole")
    assert same(tmp_path / "out", tmp_path / "whole")


def test_recipes_share_networks_in_one_folder(recipe, tmp_path):
    run(recipe, tmp_path / "out")
    (tmp_path / "more.toml").write_text(
        RECIPE.replace('"T"', '"U"').replace("factors = [0.01]", "factors = [0.01, 10]")
    )
    swept = run(read_recipe(str(tmp_path / "more.toml"), "smoke"), tmp_path / "out")
    assert (swept.trained, swept.found) == (8, 24)
    assert {row["figure"] for row in rows(tmp_path / "out") if "figure" in row} == {"T", "U"}


def test_points_of_a_figure_are_replaced(recipe, tmp_path):
    run(recipe, tmp_path)
    (tmp_path / "trial.toml").write_text(RECIPE.replace("seeds = [0, 1]", "seeds = [1, 2]"))
    run(read_recipe(str(tmp_path / "trial.toml"), "smoke"), tmp_path)
    points = [row for row in rows(tmp_path) if "figure" in row]
    assert Counter(point["trial"] for point in points) == {1: 8, 2: 8}


def test_folder_of_another_protocol_is_refused(recipe, tmp_path):
    run(recipe, tmp_path)
    (tmp_path / "trial.toml").write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(UsageError, match="results with epochs = 2, and now 3 is asked for"):
        run(read_recipe(str(tmp_path / "trial.toml"), "smoke"), tmp_path)


def test_folder_in_use_is_refused(recipe, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(DataError, match="another sweep is writing"):
        run(recipe, tmp_path)


def test_broken_files_are_refused(recipe, tmp_path):
    run(recipe, tmp_path)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    (tmp_path / "results.jsonl").write_text("\n".join([*lines[:2], "{", *lines[3:], ""]))
    with pytest.raises(DataError, match="line 3 is no JSON object"):
        run(recipe, tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(DataError, match=r"run\.json is no journal"):
        run(recipe, tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(DataError, match=r"results but no run\.json"):
        run(recipe, tmp_path)


def test_best_test_accuracy_chooses_the_network(recipe):
    grid = {"stack": "s", "inputs": 10, "examples": 300, "optimiser": "momentum"}
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


def test_gain_is_the_mean_of_the_last_ratios():
    shares = [0.1, 0.3, 0.15, 0.15, 0.3]  # numbers of units grow by 6, 1, 2 and 4
    assert gain(shares, 4) == pytest.approx(13 / 4)
    assert gain(shares, 3) == pytest.approx(7 / 3)


def test_parameters_are_those_of_the_paper(tmp_path):
    """Casper et al. 2021, figure E1: the numbers of the published notebook."""
    run(read_recipe("e1-mlp"), tmp_path)
    found = {(row["series"], row["width"]): row["value"] for row in rows(tmp_path)}
    assert [found["MLP-10", w] for w in (0.25, 0.5, 1, 2, 4)] == [418, 834, 1666, 3330, 6658]
    wide = [found["MLP-10K", w] for w in (0.25, 0.5, 1, 2, 4)]
    assert wide == [320098, 640194, 1280386, 2560770, 5121538]


@pytest.mark.parametrize("scale", ["full", "laptop", "smoke"])
@pytest.mark.parametrize("name", recipe_names())
def test_built_in_recipe_can_be_read(name, scale):
    recipe = read_recipe(name, scale)
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
        ("rates = [1, 0.1]", "rates = [1, -1]", "widths and rates must be above 0"),
        ("rates = [1, 0.1]", "rates = []", "at least one width, seed and rate"),
        ("rates = [1, 0.1]", "rats = [1]", "no key of scale smoke is named 'rats'"),
        ('label = "small"', 'label = "either"', "labels of their own"),
        ("[scales.smoke]", "[changes]\nbalanse = 0.4\n[scales.smoke]", "did you mean balance"),
        ("[scales.smoke]", "[scales.large]", "no scale is named 'smoke'; known: large"),
    ],
)
def test_recipe_with_a_mistake_is_refused_in_one_line(old, new, message, tmp_path):
    assert old in RECIPE
    path = Path(tmp_path / "bad.toml")
    path.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(UsageError, match=r"^recipe \S+bad\.toml: ") as error:
        read_recipe(str(path), "smoke")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_recipe_is_refused():
    with pytest.raises(UsageError, match="no recipe is named 'e77'; did you mean e7"):
        read_recipe("e77")
    with pytest.raises(UsageError, match=r"there is no recipe file nowhere\.toml"):
        read_recipe("nowhere.toml")
