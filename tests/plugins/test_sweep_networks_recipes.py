"""The built-in recipes of single networks: complete, readable, and running at ``smoke``."""

import io
import re
from collections import Counter
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from frivkit.data.spec import DataSpec
from frivkit.errors import UsageError
from frivkit.experiments.figure import read_curves
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.runner import run
from frivkit.hooks.options import distribute, parse_options
from frivkit.hooks.registry import installed
from tests.plugins import test_cifar10

ROOT = Path(__file__).parents[2]
NAMES = sorted(
    file.name.removesuffix(".toml")
    for file in (files("frivkit_sweep_networks") / "recipes").iterdir()
    if file.name.endswith(".toml")
)
COUNTED = {  # networks at full scale, after the published table of experiments and its three seeds
    "e1": 0,
    "fig2": 2 * 5,
    "fig3": 5 + 3 + 4,
    "fig4a": 4 * 5 * 3,
    "fig4b": 5 * 5 * 3,
    "fig4c": 3 * 5 * 3,
    "e4": 3,
    "e5": 5,
    "e6": 3 * 5 * 3,
    "e10": 5 + 1 + 3 + 3,
    "e12": 5,
    "cifar-epochs": 5 * 3,
    "alexnet-random-inits": 6 * 5 * 3,
    "alexnet-optimisers": 7 * 5 * 3,
    "alexnet-activations": 6 * 5 * 3,
}
SHOWN = {  # the rows that the drawings of the paper's figures read, in docs/figures.md
    "fig1": {"3a": ["test accuracy"], "4a": ["test accuracy"], "4c": ["test accuracy"]},
    "fig2": {
        **{label: ["unchanged labels"] for label in ("2a", "2b")},
        **{label: ["correlation"] for label in ("2c", "2d")},
    },
    "fig3": {"3a": ["prunable", "redundant"], "3c": ["prunable", "redundant"]},
    **{name: {name[3:]: ["prunable", "redundant"]} for name in ("fig4a", "fig4b", "fig4c")},
    "e1": {label: ["parameters"] for label in ("e1a", "e1b", "e1c")},
    "e2": {"3a": ["prunable", "redundant"], "3c": ["prunable", "redundant"]},
    "e3": {f"4{letter}": ["prunable", "redundant"] for letter in "abcd"},
    **{name: {name: ["prunable", "redundant"]} for name in ("e4", "e5")},
    **{
        name: {name: ["test accuracy", "train accuracy", "prunable", "redundant"]}
        for name in ("e6", "e10", "e11")
    },
    **{
        name: {label: [f"{each} by epochs" for each in ("accuracy", "prunable", "redundant")]}
        for name, label in (("e12", "e12"), ("cifar-epochs", "cifar epochs"))
    },
}
PARAMETERS = {  # the numbers that the published notebook plot_numparams has
    "e1a": {(418, 834, 1666, 3330, 6658), (320098, 640194, 1280386, 2560770, 5121538)},
    "e1b": {
        (438746, 1749930, 6989642, 27938442, 111713546),
        (54518, 215362, 856058, 3413482, 13632458),
    },
    "e1c": {
        (831513, 3057225, 11694249, 45710697, 180713193),
        (2286026, 7571266, 27145970),
        (25993598, 26350842, 27145970, 29058786, 34174658),
    },
}


def jobs(name, *request):
    return [
        job
        for plan in read_recipe(name, SweepRequest(*request))
        for job in plan.remaining_jobs([])[0]
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["full", "laptop", "smoke"])
@pytest.mark.parametrize("protocol", ["paper", "reference"])
def test_options_and_keys_are_known(name, scale, protocol):
    for job in jobs(name, scale, protocol):
        if not hasattr(job, "architecture"):
            continue  # a perceptron's
        design = installed().load("architectures", job.architecture)
        method = installed().load("trainers", job.trainer)
        of_design, of_method = distribute(job.options, design.options, method.options)
        parse_options(design.options, of_design)
        parse_options(method.options, {**of_method, **job.trainer_options})
        for metric, options in job.metrics.items():
            parse_options(installed().load("metrics", metric).options, options)
        for spec in (job.train, job.validation, job.test):
            if spec is not None:
                DataSpec.parse(spec).check_keys("split", "validation", "background", "short")


@pytest.mark.parametrize("name", COUNTED)
def test_networks_are_as_many_as_the_paper_s(name):
    assert len({job.name for job in jobs(name)}) == COUNTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_less_than_in_the_paper_is_said(name):
    for plan in read_recipe(name, SweepRequest("laptop")):
        full = jobs(name)
        if "networks" in plan.described and full:
            assert plan.described["scale"]["reductions"]


CIFAR = ("fig2", "fig4a", "fig4b", "fig4c", "e6", "e11", "cifar-epochs")


def test_recipes_of_cifar10_share_networks_at_laptop_as_they_do_in_full():
    def names(name, scale):
        return [job.name for job in jobs(name, scale)]

    distinct = {name for each in CIFAR for name in names(each, "laptop")}
    # Four widths each: 6 kinds of network with three seeds, 12 with two.
    assert len(distinct) == 4 * (6 * 3 + 12 * 2)
    assert {*names("fig2", "laptop")} <= {*names("fig4c", "laptop")}
    for one, other in (("fig4a", "fig4b"), ("fig4b", "fig4c"), ("fig4a", "e11")):
        assert {*names(one, "laptop")} & {*names(other, "laptop")}


@pytest.mark.parametrize("name", CIFAR)
def test_networks_of_cifar10_have_four_widths_a_factor_2_apart_at_laptop(name):
    widths: dict[str, set[float]] = {}
    for job in jobs(name, "laptop"):
        widths.setdefault(job.label, set()).add(job.width)
    for each in widths.values():
        assert sorted(each) == [min(each) * 2**step for step in range(4)]


def test_every_figure_of_curves_has_a_recipe():
    """Except for ``widths``, which ``frivkit advise`` draws of files that people have."""
    offers = installed().offers("figures")
    drawn = {n for n, o in offers.items() if o.target.startswith("frivkit_figures.")} - {"widths"}
    named = {name.removeprefix("fig") for name in installed().offers("recipes")}
    assert drawn - named == set()


def test_networks_that_two_recipes_have_are_the_same():
    def names(name):
        return {job.name for job in jobs(name)}

    assert len(names("fig4c") & names("fig2")) == 10  # Glorot's and He's, of one seed
    assert len(names("fig4c") & names("fig4b")) == 15  # without a regulariser
    assert names("fig4a") & names("fig4b")  # with all of them
    assert names("e12") <= names("fig3")
    assert names("e12") <= names("e10")
    assert names("e4") <= names("fig3")
    assert names("e5") <= names("fig3")
    assert names("e11") & names("fig4a")


def test_protocols_are_two_experiments():
    for name in ("fig4a", "fig3"):
        one, other = ({w.name for w in jobs(name, "full", p)} for p in ("paper", "reference"))
        assert not one & other


def test_parameters_are_the_paper_s(tmp_path):
    """Casper et al. 2021, figure E1: the numbers of the published notebook."""
    (plan,) = read_recipe("e1", SweepRequest())
    run(plan, tmp_path)
    found: dict[str, set[tuple[float, ...]]] = {}
    for curve in read_curves(tmp_path):
        counts = tuple(value for trials in curve.values for value in trials)
        found.setdefault(curve.figure.lower(), set()).add(counts)
    assert found == PARAMETERS


def check_smoke(name, folder):
    for plan in read_recipe(name, SweepRequest("smoke")):
        swept = run(plan, folder)
        assert swept.failed == ()
        assert swept.points > 0
    curves = read_curves(folder)
    there = Counter((curve.figure.lower(), curve.panel) for curve in curves)
    for figure, panels in SHOWN.get(name, {}).items():
        for panel in panels:
            assert there[figure, panel] > 0, (figure, panel)
    values = [value for curve in curves for trials in curve.values for value in trials]
    assert values
    assert np.isfinite(values).all()
    figure = installed().offers("figures").get(name.removeprefix("fig"))
    if figure is not None:
        target = installed().load("figures", figure.name)
        picture = target.draw(target.choose(curves), "reference")("svg")
        assert b"<svg" in io.BytesIO(picture).read(1000)


@pytest.mark.parametrize("name", ["fig2", "e10"])
def test_recipe_runs_on_digits_and_is_drawn(name, tmp_path):
    check_smoke(name, tmp_path)


IMAGENET = ["fig3", "e4", "e5", "e10", "e12"]
CIFAR10 = sorted({*NAMES} - {*IMAGENET, "e1", "e2", "e3", "fig1"})


@pytest.mark.slow
@pytest.mark.parametrize("names", [IMAGENET, CIFAR10], ids=["imagenet", "cifar10"])
def test_every_recipe_runs_on_digits_and_is_drawn(names, tmp_path):
    """In one folder, where they share what networks they can."""
    for name in names:
        check_smoke(name, tmp_path)


SHORT = """
[scales.smoke]
widths = [0.25]
seeds = [0]
keys = { n = 30, validation = 10 }
options = { epochs = 1, batch = 8, lr = 0.001 }
metrics = { prunability = { batch = 8, repeats = 1 }, redundancy = { batch = 8 } }
"""


def test_recipe_runs_on_files_of_cifar10(tmp_path):
    (tmp_path / "cifar").mkdir()
    data = test_cifar10.write(tmp_path / "cifar")
    text = (files("frivkit_sweep_networks") / "recipes" / "fig4a.toml").read_text(encoding="utf-8")
    own = text[: text.index("[scales.full]")] + SHORT
    (tmp_path / "short.toml").write_text(own)
    (plan,) = read_recipe(str(tmp_path / "short.toml"), SweepRequest("smoke", "reference", (data,)))
    swept = run(plan, tmp_path / "out")
    assert (swept.trained, swept.failed) == (4, ())
    shown = {(c.figure, c.panel, c.series) for c in read_curves(tmp_path / "out")}
    assert ("4a", "prunable", "AlexNet-rand") in shown
    assert ("4a", "train accuracy", "ResNet56") in shown


class TestPage:
    TEXT = (ROOT / "docs/sweeps.md").read_text()

    def test_table_of_recipes_has_each_with_its_networks(self):
        head = self.TEXT.partition("## How much")[0]
        shown = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([\d,]+|none) \|", head, re.MULTILINE))
        for name in installed().offers("recipes"):
            number = sum(job.networks for job in jobs(name))
            assert shown.pop(name) == (f"{number:,}" if number else "none"), name
        assert shown == {}

    @pytest.mark.parametrize(
        ("heading", "kind"),
        [
            ("`[[networks]]`", "Network"),
            ("`[[curves]]`", "CurveSpec"),
            ("`[scales.NAME]`", "Scale"),
        ],
    )
    def test_keys_of_recipes_are_all_told(self, heading, kind):
        from frivkit_sweep_networks import recipe

        table = self.TEXT.partition(f"| key of {heading} |")[2].partition("\n\n")[0]
        shown = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| ([^|]+) \|", table, re.M)))
        assert shown == [each.name for each in fields(getattr(recipe, kind))]


def sweep(name, folder, data):
    for plan in read_recipe(name, SweepRequest(data=data)):
        run(plan, folder)


class TestData:
    def refused(self, name, tmp_path, *data):
        with pytest.raises(UsageError) as caught:
            sweep(name, tmp_path / "out", data)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    def test_that_are_nowhere_are_asked_for_before_anything_is_written(self, tmp_path):
        request = "write cifar10:PATH (--data says where the data are)"
        assert request in self.refused("fig4a", tmp_path)

    def test_of_several_sources_go_to_the_parts_that_read_them(self):
        plans = read_recipe("fig1", SweepRequest(data=("cifar10:/c", "imagenet:/i")))
        specs = {job.test.partition("?")[0] for plan in plans for job in plan.remaining_jobs([])[0]}
        assert specs == {"cifar10:/c", "imagenet:/i"}

    def test_of_one_source_leave_other_parts_as_they_are(self, tmp_path):
        *networks, stacks = read_recipe("e3", SweepRequest(data=("cifar10:/c",)))
        tests = [job.test for plan in networks for job in plan.remaining_jobs([])[0]]
        assert all(test.startswith("cifar10:/c?") for test in tests)
        assert stacks.figures == ("4d",)
        assert "imagenet:PATH" in self.refused("fig1", tmp_path, "cifar10:/c")

    def test_that_leave_open_which_is_meant_are_refused(self, tmp_path):
        twice = ("cifar10:/a", "cifar10:/b")
        assert "2 data specs are given, of which 2" in self.refused("fig4a", tmp_path, *twice)
        others = ("idx:/a", "npz:/b.npz")
        assert "of which 0 read cifar10" in self.refused("fig4a", tmp_path, *others)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks = [3]", "a network is 3; write a table"),
        ('networks = [{name = ["a"], architecture = "mlp"}]', "a network: name is ['a']"),
        ("curves = [true]", "a curve is True; write a table"),
        ("title = [1]", "title is [1]; write a number, a text"),
        ("metrics = {prunability = 3}", "prunability is 3; write a table"),
        ("scales = 3", "scales: a table"),
        ("scales = {full = {widths = [nan], seeds = [0]}}", "widths is nan; write a finite number"),
        (
            'networks = [{name = "a", architecture = "mlp", options = {checkpoint = "../x"}}]',
            "a sweep keeps its own checkpoints",
        ),
        ('networks = [{name = "a", architecture = "mlp"}]', "no network is to be trained"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "integer string conversion"),
    ],
)
def test_recipe_of_something_else_than_tables_is_refused_in_one_line(text, message, tmp_path):
    scales = "" if text.startswith("scales") else "[scales.full]\nwidths = [1]\nseeds = [0]\n"
    path = tmp_path / "odd.toml"
    path.write_text(f"{text}\n{scales}")
    with pytest.raises(UsageError, match=r"^recipe \S+odd\.toml: ") as error:
        read_recipe(str(path), SweepRequest())
    assert message in str(error.value)
    assert "\n" not in str(error.value)
