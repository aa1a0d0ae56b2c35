"""Sweeps of single networks: what is trained and measured, found again, chosen and shown."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from frivkit.errors import UsageError
from frivkit.experiments.figure import read_curves
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.runner import run
from frivkit.experiments.train import train
from frivkit.measure.pipeline import Request, analyze
from frivkit.progress import Silent
from frivkit.runtime.execution import Execution
from frivkit_engines.processes import open_processes
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.planner import _jobs, plan, plan_of, specs, trained
from frivkit_sweep_networks.points import figure_rows
from frivkit_sweep_networks.recipe import read_table

TRIAL = """
title = "a trial"
choose = "test accuracy"
protocol = "paper"

[common]
source = "digits"
keys = { scale = "1/16", n = 300 }
shape = [1, 8, 8]
classes = 10

[[networks]]
name = "deep"
architecture = "cnn"
options = { epochs = 2, lr = 0.1 }
metrics = ["correlation"]

[[networks]]
name = "flat"
architecture = "mlp"
options = { epochs = 4 }
grid = { lr = [0.001, 0.5] }
back = [2, 0]

[[curves]]
figure = "A"
series = "deep"
panels = ["prunable", "redundant", "test accuracy", "train accuracy", "parameters"]

[[curves]]
figure = "A"
series = "flat"
panels = ["prunable", "redundant", "test accuracy"]

[[curves]]
figure = "B"
series = "first"
network = "deep"
layers = ["conv1"]
panels = ["prunable", "redundant", "correlation"]

[[curves]]
figure = "B"
series = "alone"
network = "deep"
alone = true
fixed = true
panels = ["prunable"]

[[curves]]
figure = "C"
series = "deep, width {width}"
network = "deep"
widths = [0.5]
panels = ["unchanged labels"]

[[curves]]
figure = "E12"
series = "width {width}"
network = "flat"
panels = ["accuracy by epochs", "prunable by epochs", "redundant by epochs"]

[scales.smoke]
widths = [0.25, 0.5]
seeds = [3]
"""


def recipe_of(text, request=None):
    return read_table(tomllib.loads(text), request or SweepRequest("smoke"))


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def points(folder, figure, panel):
    return [r for r in rows(folder) if (r.get("figure"), r.get("panel")) == (figure, panel)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    swept = run(plan_of(recipe_of(TRIAL)), folder)
    assert (swept.trained, swept.found, swept.failed) == (6, 0, ())
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The network "deep" of width 1/2, trained and measured by the functions of the core."""
    path = tmp_path_factory.mktemp("alone") / "net.onnx"
    keys = "n=300&scale=1/16"
    train(
        "cnn",
        f"digits?{keys}&split=train",
        path,
        test_data=f"digits?{keys}&split=test",
        width=0.5,
        seed=3,
        options={"epochs": "2", "lr": "0.1"},
        trainer="lab",
    )
    request = Request(path, f"digits?{keys}&split=test", execution=Execution(seed=3))
    measured = [
        each
        for metric in ("prunability", "redundancy", "correlation")
        for each in analyze(request, (metric,)).measurements
    ]
    trained_on = analyze(Request(path, f"digits?{keys}&split=train"), ()).accuracy
    tested_on = analyze(request, ()).accuracy
    return measured, trained_on, tested_on


def of(measured, metric, layer=None):
    (found,) = [each for each in measured if (each.metric, each.layer) == (metric, layer)]
    return found


class TestPoints:
    def test_are_what_the_core_measures(self, whole, alone):
        measured, trained_on, tested_on = alone

        def shown(figure, panel, series):
            (row,) = [
                row
                for row in points(whole, figure, panel)
                if (row["series"], row["width"]) == (series, 0.5)
            ]
            assert row["trial"] == 3
            return row["value"]

        assert shown("A", "prunable", "deep") == of(measured, "prunability").value
        assert shown("A", "redundant", "deep") == of(measured, "redundancy").value
        assert shown("A", "train accuracy", "deep") == trained_on
        assert shown("A", "test accuracy", "deep") == tested_on
        first = "conv1"
        assert shown("B", "prunable", "first") == of(measured, "prunability", first).value
        assert shown("B", "redundant", "first") == of(measured, "redundancy", first).value

    def test_of_ablation_are_the_best_repeat_at_each_level(self, whole, alone):
        detail = of(alone[0], "prunability").detail
        found = [(row["width"], row["value"]) for row in points(whole, "C", "unchanged labels")]
        assert [level for level, _ in found] == detail["levels"]
        assert [share for _, share in found] == np.max(detail["unchanged"], axis=0).tolist()
        assert {row["series"] for row in points(whole, "C", "unchanged labels")} == {
            "deep, width 1/2"
        }

    def test_of_single_layers_mean_are_where_the_mean_curve_falls(self, whole, alone):
        layers = [m for m in alone[0] if m.metric == "prunability" and m.layer is not None]
        curves = [
            dict(zip(m.detail["levels"], m.detail["unchanged"][0], strict=True)) for m in layers
        ]
        levels = sorted(set.intersection(*map(set, curves)))
        mean = [np.mean([curve[level] for curve in curves]) for level in levels]
        after = next(i for i, share in enumerate(mean) if share < 0.8)
        wanted = np.interp(
            0.8, mean[after - 1 : after + 1][::-1], levels[after - 1 : after + 1][::-1]
        )
        (row,) = [
            r for r in points(whole, "B", "prunable") if (r["series"], r["width"]) == ("alone", 0.5)
        ]
        assert row["value"] == pytest.approx(wanted)
        assert row["fixed"] is True

    def test_of_correlations_are_distributed_as_they_were_measured(self, whole, alone):
        detail = of(alone[0], "correlation", "conv1").detail
        drawn = [r["value"] for r in points(whole, "B", "correlation") if r["width"] == 0.5]
        assert drawn == sorted(drawn)
        assert np.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx(
            detail["quantiles"][2:5], abs=0.03
        )

    def test_of_a_grid_are_the_best_network_s(self, whole):
        reached = {
            (row["width"], row["choice"]["lr"]): row["value"]
            for row in rows(whole)
            if (row.get("network"), row.get("measurement"), row.get("back"))
            == ("flat", "test accuracy", 0)
        }
        assert len(reached) == 4
        for row in points(whole, "A", "test accuracy"):
            if row["series"] == "flat":
                assert row["choice"] == {"lr": "0.5"}
                assert row["value"] == reached[row["width"], "0.5"]
                assert row["value"] > reached[row["width"], "0.001"]

    def test_by_epochs_count_from_the_first_that_is_kept(self, whole):
        found = points(whole, "E12", "accuracy by epochs")
        assert [(row["series"], row["width"]) for row in found] == [
            ("width 1/4", 0.0), ("width 1/4", 2.0), ("width 1/2", 0.0), ("width 1/2", 2.0),
        ]  # fmt: skip
        last = {r["width"]: r["value"] for r in points(whole, "A", "test accuracy")
                if r["series"] == "flat"}  # fmt: skip
        assert [row["value"] for row in found[1::2]] == [last[0.25], last[0.5]]
        assert len(points(whole, "E12", "prunable by epochs")) == 4

    def test_of_parameters_are_counted(self, whole):
        found = {row["width"]: row["value"] for row in points(whole, "A", "parameters")}
        maps, more, units = 8, 16, 32  # width 1/2 of 16, 32 and 64
        wanted = (
            (9 + 3) * maps  # weights, the bias and the two of batch norm
            + (9 * maps + 3) * more
            + (4 * more + 1) * units
            + (units + 1) * 10
        )
        assert found[0.5] == wanted

    def test_can_be_drawn(self, whole):
        curves = read_curves(whole)
        assert {(curve.figure, curve.panel) for curve in curves} >= {
            ("A", "prunable"), ("A", "parameters"), ("B", "correlation"),
            ("E12", "prunable by epochs"),
        }  # fmt: skip


def test_arrays_hold_losses_curves_and_spectra(whole):
    files = sorted((whole / "arrays").glob("*.h5"))
    assert len(files) == 6
    shapes = Counter()
    for path in files:
        with h5py.File(path) as file:
            settings = json.loads(file.attrs["settings"])
            shapes[settings["architecture"]] += 1
            assert len(file["losses"]) == int(settings["options"]["epochs"])
            inner = file if settings["architecture"] == "cnn" else file["back2"]
            levels, unchanged = (
                inner[f"prunability/network/{each}"][:] for each in ("levels", "unchanged")
            )
            assert unchanged.shape == (3, len(levels))
            assert inner["redundancy"]
            assert ("correlation" in inner) is (settings["architecture"] == "cnn")
    assert shapes == {"cnn": 2, "mlp": 4}


def test_nothing_is_trained_twice_and_what_is_new_is(whole, tmp_path):
    for name in ("results.jsonl", "run.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    assert run(plan_of(recipe_of(TRIAL)), tmp_path).trained == 0
    more = TRIAL.replace("lr = [0.001, 0.5]", "lr = [0.001, 0.5, 0.1]")
    swept = run(plan_of(recipe_of(more)), tmp_path)
    assert (swept.trained, swept.found) == (2, 6)
    other = TRIAL.replace('"deep"', '"called otherwise"')
    assert run(plan_of(recipe_of(other)), tmp_path).trained == 0


def test_two_processes_find_what_one_finds(whole, tmp_path):
    small = TRIAL.replace("[0.25, 0.5]", "[0.25]")
    run(plan_of(recipe_of(small)), tmp_path, engine=open_processes("2"))
    here = {json.dumps(row, sort_keys=True) for row in rows(tmp_path) if "work" in row}
    there = {json.dumps(row, sort_keys=True) for row in rows(whole) if row.get("width") == 0.25}
    assert here
    assert here <= there


@pytest.mark.parametrize(
    "change",
    [
        ("seeds = [3]", "seeds = [4]"),
        ("epochs = 2", "epochs = 3"),
        ("n = 300", "n = 200"),
        ('architecture = "cnn"', 'architecture = "mlp"'),
        ('"paper"', '"reference"'),
        ('metrics = ["correlation"]', ""),
        ("[[curves]]", "[metrics.prunability]\nrepeats = 1\n[[curves]]"),
    ],
)
def test_name_changes_with_whatever_decides_results(change):
    def names(text):
        recipe = recipe_of(text)
        return {job.name for job in _jobs(recipe, recipe.networks["deep"])}

    assert change[0] in TRIAL
    assert not names(TRIAL) & names(TRIAL.replace(*change, 1))


def test_network_that_goes_astray_is_told_of_and_not_chosen(tmp_path):
    text = TRIAL.replace("lr = [0.001, 0.5]", "lr = [1e30, 0.5]").replace("[0.25, 0.5]", "[0.25]")
    swept = run(plan_of(recipe_of(text)), tmp_path)
    (reason,) = swept.failed
    assert reason.startswith("flat, width 0.25, seed 3: ")
    (row,) = [r for r in points(tmp_path, "A", "prunable") if r["series"] == "flat"]
    assert row["choice"] == {"lr": "0.5"}
    assert run(plan_of(recipe_of(text)), tmp_path).trained == 0


class Interrupting(Silent):
    """Stops training in its fourth epoch."""

    def __init__(self):
        self.epochs = 0

    def advance(self, steps=1):
        self.epochs += 1
        if self.epochs == 4:
            raise KeyboardInterrupt


class Counting(Silent):
    """Notes what is done at a time in each task."""

    def __init__(self):
        self.tasks = []

    def start(self, what, steps):
        self.tasks.append([])

    def advance(self, steps=1):
        self.tasks[-1].append(steps)


def test_training_that_was_interrupted_goes_on_to_the_same(tmp_path):
    text = TRIAL.replace("epochs = 2", "epochs = 6")
    recipe = recipe_of(text)
    job = next(iter(_jobs(recipe, recipe.networks["deep"])))
    with pytest.raises(KeyboardInterrupt):
        job.run(tmp_path / "cut", 1, Interrupting())
    assert (tmp_path / "cut/training.pt").exists()
    told = Counting()
    found = job.run(tmp_path / "cut", 1, told)
    assert told.tasks[0] in ([3, 1, 1, 1], [4, 1, 1])  # epochs that were done, then one by one
    wanted = job.run(tmp_path / "whole", 1, Silent())
    assert list(found.rows) == list(wanted.rows)
    assert found.arrays.keys() == wanted.arrays.keys()
    assert all(np.array_equal(found.arrays[k], wanted.arrays[k]) for k in wanted.arrays)


class TestData:
    NET = """
[[networks]]
name = "n"
architecture = "mlp"
source = "cifar10"
keys = { crop = 28 }
training = { labels = "random" }
validation = true
[[curves]]
figure = "A"
series = "n"
panels = ["prunable"]
[scales.full]
widths = [1]
seeds = [0]
[scales.laptop]
widths = [1]
seeds = [0]
keys = { n = 100 }
options = { epochs = 1 }
reductions = "100 images, one epoch"
[scales.smoke]
widths = [1]
seeds = [0]
source = "digits"
keys = { n = 50 }
"""

    def specs(self, *request):
        recipe = recipe_of(self.NET, SweepRequest(*request))
        return specs(recipe, recipe.networks["n"])

    def test_are_the_source_s_with_the_keys_of_network_and_scale(self):
        assert self.specs("laptop", None, ("cifar10:/data",)) == (
            "cifar10:/data?crop=28&labels=random&n=100&split=train",
            "cifar10:/data?crop=28&labels=random&n=100&split=validation",
            "cifar10:/data?crop=28&n=100&split=test",
        )

    def test_are_the_user_s_where_they_are_named(self):
        train_on, _, test = self.specs("full", None, ("npz:a.npz?crop=24&size=30",))
        assert train_on == "npz:a.npz?crop=24&labels=random&size=30&split=train"
        assert test == "npz:a.npz?crop=24&size=30&split=test"

    def test_are_the_scale_s_with_its_own_keys_alone(self):
        assert self.specs("smoke")[2] == "digits?n=50&split=test"

    def test_that_are_not_there_are_told_of_with_the_option_that_names_them(self, tmp_path):
        with pytest.raises(UsageError, match=r"write cifar10:PATH \(--data says where the data"):
            run(plan_of(recipe_of(self.NET, SweepRequest("full"))), tmp_path)

    def test_options_of_the_scale_go_before_the_network_s(self):
        recipe = recipe_of(self.NET, SweepRequest("laptop", None, ("cifar10:/data",)))
        (job,) = _jobs(recipe, recipe.networks["n"])
        assert job.options == {"epochs": "1"}


class TestChanges:
    """Of single networks, at a scale."""

    def scaled(self, more):
        return recipe_of(f"{TRIAL}\n{more}\n")

    def test_override_the_entries_of_the_network(self):
        plain = recipe_of(TRIAL)
        more = "[scales.smoke.changes.deep]\nwidths = [0.5]\nseeds = [4, 5]\noptions = { lr = 0.2 }"
        recipe = self.scaled(more)
        deep, before = recipe.networks["deep"], plain.networks["deep"]
        assert deep.options == {**before.options, "lr": "0.2"}
        assert {(job.width, job.seed) for job in _jobs(recipe, deep)} == {(0.5, 4), (0.5, 5)}
        assert recipe.networks["flat"] == plain.networks["flat"]

    def test_of_another_scale_do_nothing(self):
        more = (
            "[scales.large]\nwidths = [1]\nseeds = [0]\n[scales.large.changes.deep]\nwidths = [1]"
        )
        assert self.scaled(more).networks == recipe_of(TRIAL).networks

    @pytest.mark.parametrize(("reached", "shown"), [(0.1, False), (0.15, True), (None, True)])
    def test_may_leave_out_networks_that_learned_nothing(self, reached, shown):
        recipe = recipe_of(TRIAL.replace("seeds = [3]", "seeds = [3]\nleast_train_accuracy = 0.15"))
        jobs = {name: list(_jobs(recipe, net)) for name, net in trained(recipe).items()}
        measured = {"test accuracy": 0.5, "train accuracy": reached}
        rows = [
            {"work": jobs["deep"][0].name, "measurement": name, "value": value}
            for name, value in measured.items()
            if value is not None
        ]
        panels = {each["panel"] for each in figure_rows(recipe, jobs, rows)}
        assert ("test accuracy" in panels) is shown

    def test_may_rename_series(self):
        recipe = self.scaled('[scales.smoke.series]\ndeep = "deeper"')
        jobs = {name: list(_jobs(recipe, net)) for name, net in trained(recipe).items()}
        row = {"work": jobs["deep"][0].name, "measurement": "test accuracy", "value": 0.5}
        rows = figure_rows(recipe, jobs, [row])
        assert "deeper" in {each["series"] for each in rows}
        assert "deep" not in {each["series"] for each in rows}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "a trial"', 'titel = "a"', "did you mean title"),
        ('choose = "test accuracy"', "", "say which of train accuracy"),
        ('choose = "test accuracy"', 'choose = "validation accuracy"', "add validation = true"),
        ('protocol = "paper"', 'protocol = "papers"', "did you mean paper"),
        ('name = "deep"', 'name = "flat"', "two networks have one name"),
        ('network = "deep"', 'network = "depp"', "did you mean deep"),
        ('"prunable", "redundant", "test', '"prunabel", "test', "did you mean prunable"),
        ('series = "width {width}"', 'series = "width"', "put {width} into the series"),
        ("widths = [0.25, 0.5]", "widths = []", "at least one width and one seed"),
        ("widths = [0.25, 0.5]", "widths = [0.0]", "widths must be above 0"),
        ("widths = [0.25, 0.5]", 'widths = "1"', "write a list"),
        ("seeds = [3]", "seeds = [3]\nsed = 1", "did you mean seeds"),
        ("seeds = [3]", "seeds = [3]\nleast_train_accuracy = 15", "from 0 to 1"),
        ("seeds = [3]", 'seeds = ["3"]', "write a value of type int"),
        ("seeds = [3]", 'seeds = [3]\nnetworks = ["dep"]', "did you mean deep"),
        ("seeds = [3]", "seeds = [3]\nchanges = { dep = {} }", "did you mean deep"),
        ("seeds = [3]", "seeds = [3]\nchanges = { deep = { lr = 1 } }", "no key of a network"),
        ("back = [2, 0]", "back = [-2]", "back counts epochs from the last"),
        ("lr = [0.001, 0.5]", "lr = []", "has no value"),
        ("lr = [0.001, 0.5]", "lr = 0.1", "write a list"),
        ("options = { epochs = 4 }", "options = { epochs = [4] }", "write a number, a text"),
        ("options = { epochs = 4 }", "options = 4", "write a table such as"),
        ('architecture = "mlp"', "", "lacks 'architecture'"),
        ("[scales.smoke]", "[scales.large]", "no scale is named 'smoke'; known: large"),
        # What a job would stumble over, perhaps after hours.
        ("options = { epochs = 4 }", "options = { epocs = 4 }", "did you mean epochs"),
        ("options = { epochs = 4 }", "options = { epochs = -4 }", "it must be 0 or more"),
        ('architecture = "mlp"', 'architecture = "mpl"', "no architecture is named 'mpl'"),
        ('architecture = "mlp"', 'architecture = "mlp"\ntrainer = "lib"', "did you mean lab"),
        ('metrics = ["correlation"]', 'metrics = ["correlations"]', "did you mean correlation"),
        ("[scales.smoke]", "[metrics.prunabilty]\n[scales.smoke]", "did you mean prunability"),
        ("[scales.smoke]", "[metrics.redundancy]\nbach = 1\n[scales.smoke]", "did you mean batch"),
        ("shape = [1, 8, 8]", "", "lacks the shape of an example"),
        ('panels = ["prunable", "redundant", "correlation"]', "panels = []", "is in no panel"),
        ("seeds = [3]", "seeds = [3, 4, 3]", "the seed 3 is given twice"),
        ("widths = [0.25, 0.5]", "widths = [0.25, 0.250]", "the width 0.25 is given twice"),
        ("seeds = [3]", "seeds = [9223372036854775808]", "below 2**63"),
    ],
)
def test_recipe_with_a_mistake_is_refused_in_one_line(old, new, message, tmp_path):
    assert old in TRIAL
    path = Path(tmp_path / "bad.toml")
    path.write_text(TRIAL.replace(old, new, 1))
    with pytest.raises(UsageError, match=r"^recipe \S+bad\.toml: ") as error:
        read_recipe(str(path), SweepRequest("smoke"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_only_networks_that_are_shown_are_trained():
    text = TRIAL.replace('"prunable", "redundant", "correlation"', '"parameters"').replace(
        'panels = ["prunable"]', 'panels = ["parameters"]'
    )
    assert set(trained(recipe_of(text))) == {"deep", "flat"}
    text = text.replace("seeds = [3]", 'seeds = [3]\nnetworks = ["flat"]')
    assert set(trained(recipe_of(text))) == {"flat"}


def test_missing_rows_give_no_points():
    recipe = recipe_of(TRIAL)
    jobs = {name: list(_jobs(recipe, net)) for name, net in trained(recipe).items()}
    assert {row["panel"] for row in figure_rows(recipe, jobs, [])} == {"parameters"}


def test_plan_is_that_of_the_table():
    assert plan(tomllib.loads(TRIAL), SweepRequest("smoke")).figures == ("A", "B", "C", "E12")
    jobs, _ = plan(tomllib.loads(TRIAL), SweepRequest("smoke")).remaining_jobs([])
    assert all(isinstance(job, NetworkJob) for job in jobs)
