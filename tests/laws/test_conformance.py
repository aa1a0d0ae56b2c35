"""Every hook has a check, and every built-in offer passes it."""

import re
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from torch import nn

from frivkit.cli import COMMANDS
from frivkit.experiments.jobs import SweepRequest
from frivkit.graph.operators.table import OPERATORS
from frivkit.hooks.options import parse_options
from frivkit.hooks.registry import HOOKS, installed
from frivkit.hooks.targets import SHAPES
from frivkit.testing import conformance
from frivkit.testing.conformance import CHECKS, check_cli_command, check_operator
from frivkit.testing.tiny_models import twin_units, write
from tests.laws.operator_examples import EXAMPLES
from tests.laws.sources import SOURCES
from tests.visualization import write_visualization

BY_LAWS = {"metrics", "bases", "rankings", "refits"}
"""Hooks whose checks are laws; test_metric_laws and test_compression_laws try each offer."""
CORE = {"operator_rules", "cli_commands"}
"""Hooks of which the core has its own: its operators and commands are tried instead of offers."""

Trial = Callable[[Any, Path], object]


def onnx_file(target: Any, folder: Path) -> object:
    path = write(twin_units(), folder / "twins.onnx")
    return CHECKS["model_providers"](target, path, {"x": np.ones((4, 2), np.float32)})


def torchscript_file(target: Any, folder: Path) -> object:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what people have files of
        torch.jit.trace(network, torch.from_numpy(x)).save(folder / "net.pt")
    with torch.no_grad():
        outputs = [network(torch.from_numpy(x)).numpy()]
    options = {"trust": "yes", "input_shape": "1x3"}
    return CHECKS["model_providers"](target, folder / "net.pt", {"input": x}, outputs, options)


def source(name: str) -> Trial:
    def check(target: Any, folder: Path) -> object:
        case = SOURCES[name](folder)
        return CHECKS["data_sources"](target, case.spec, inputs=case.inputs, other=case.other)

    return check


def architecture(shape: tuple[int, ...], *widths: float, **options: str) -> Trial:
    def check(target: Any, folder: Path) -> object:
        given = parse_options(target.options, options)
        return CHECKS["architectures"](target, shape, widths=widths, options=given)

    return check


def trainer(target: Any, folder: Path) -> object:
    options = parse_options(target.options, {"epochs": "2", "batch": "8"})
    return CHECKS["trainers"](target, options)


def planner(text: str) -> Trial:
    def check(target: Any, folder: Path) -> object:
        return CHECKS["planners"](target, tomllib.loads(text), folder, SweepRequest("smoke"))

    return check


def svg(target: Any, folder: Path) -> object:
    return CHECKS["figures"](target, formats=("svg",))


def visualized(target: Any, folder: Path) -> object:
    """Check a figure of images of units on images that are drawn."""
    write_visualization(folder)
    return CHECKS["figures"](target, folder, formats=("svg",))


STACKS = """
figure = "T"
title = "a trial"
panels = ["prunable", "test accuracy"]
protocol = "reference"
[[series]]
label = "small"
inputs = 10
factors = [0.01]
[scales.smoke]
widths = [0.25, 0.5]
seeds = [0]
rates = [1]
examples = 300
epochs = 1
"""
NETWORKS = """
title = "a trial"
protocol = "paper"
[[networks]]
name = "flat"
architecture = "mlp"
trainer = "sgd"
source = "digits"
keys = { scale = "1/16", n = 60 }
options = { epochs = 1 }
[[curves]]
figure = "T"
series = "flat"
panels = ["prunable", "test accuracy"]
[metrics.prunability]
repeats = 1
[scales.smoke]
widths = [0.03125, 0.0625]
seeds = [0]
"""
CIFAR, SMALL = (3, 32, 32), (1 / 16, 1 / 8)
TRIALS: Mapping[str, Mapping[str, Trial]] = {
    "model_providers": {"onnx": onnx_file, "pt": torchscript_file},
    "data_sources": {name: source(name) for name in SOURCES},
    "unit_selectors": {
        name: lambda target, folder: CHECKS["unit_selectors"](target)
        for name in ("map", "location")
    },
    "architectures": {
        "mlp": architecture((1, 4, 4), 0.5, 1.0),
        "cnn": architecture((1, 8, 8), 0.5, 1.0),
        "alexnet-cifar": architecture(CIFAR, *SMALL),
        "resnet56": architecture((3, 8, 8), *SMALL),
        "resnet20": architecture((3, 8, 8), *SMALL),
        "resnet18": architecture(CIFAR, *SMALL),
        "inception-v3": architecture((3, 75, 75), *SMALL, init="glorot-uniform"),
        "inception-v3-layer": architecture((3, 75, 75), 1 / 16, init="glorot-uniform"),
    },
    "trainers": {"lab": trainer, "sgd": trainer},
    "planners": {"stacks": planner(STACKS), "networks": planner(NETWORKS)},
    "recipes": dict.fromkeys(
        installed().offers("recipes"), lambda target, folder: CHECKS["recipes"](target)
    ),
    "figures": {
        name: visualized if offer.target.startswith("frivkit_featurevis.") else svg
        for name, offer in installed().offers("figures").items()
    },
    "tasks": dict.fromkeys(
        installed().offers("tasks"), lambda target, folder: CHECKS["tasks"](target)
    ),
    "engines": {
        "local": lambda target, folder: CHECKS["engines"](target),
        "processes": lambda target, folder: CHECKS["engines"](target, "2"),
        "dask": lambda target, folder: CHECKS["engines"](target, "1"),
    },
}
"""How each built-in offer is tried, by hook and name."""


def ours(hook: str) -> dict[str, str]:
    """Return the targets of frivkit's own offers of a hook, by name."""
    return {
        offer.name: offer.target
        for plugin in installed().plugins
        if plugin.distribution == "frivkit"
        for offer in plugin.offers.get(hook, ())
    }


def test_every_hook_has_a_check_and_a_shape():
    assert set(CHECKS) == set(HOOKS)
    assert set(SHAPES) == set(HOOKS)
    for check in CHECKS.values():
        assert getattr(conformance, check.__name__) is check
        assert check.__name__ in conformance.__all__
        assert "Raises:\n        LawError:" in check.__doc__


@pytest.mark.parametrize("hook", sorted(set(CHECKS) - BY_LAWS))
def test_every_rule_has_an_offender(hook):
    functions = [CHECKS[hook], *([check_operator] if hook == "operator_rules" else [])]
    documented = [
        rule
        for each in functions
        for rule in re.findall(r"^    - ``(\w+)``: ", each.__doc__, re.MULTILINE)
    ]
    tests = Path(__file__).parent.glob("test_conformance_offenders*.py")
    offenders = "".join(path.read_text() for path in tests)
    assert documented
    assert [rule for rule in documented if f'"{rule}"' not in offenders] == []


def test_every_hook_is_tried():
    assert {*TRIALS, *BY_LAWS, *CORE} == set(HOOKS)


@pytest.mark.parametrize("hook", TRIALS)
def test_every_built_in_offer_is_tried(hook):
    offers = ours(hook)
    assert set(TRIALS[hook]) <= set(offers)
    assert {offers[name] for name in TRIALS[hook]} == set(offers.values())


@pytest.mark.parametrize(
    ("hook", "name"),
    [pytest.param(hook, name, id=f"{hook}-{name}") for hook in TRIALS for name in TRIALS[hook]],
)
def test_built_in_offer_passes_its_check(hook, name, tmp_path):
    assert TRIALS[hook][name](installed().load(hook, name), tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_operator_of_the_core_passes_its_check(name):
    assert check_operator(name, OPERATORS[name], *EXAMPLES[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_the_core_passes_its_check(name):
    from frivkit.cli import cli

    command = cli.get_command(click.Context(cli), name)
    module = f"frivkit.cli.{name}" if name == "analyze" else None
    assert check_cli_command(command, module)


def test_png_is_drawn_as_well():
    figure = installed().load("figures", "4a")
    assert CHECKS["figures"](figure, formats=("png",)) == ("png",)


@pytest.mark.parametrize("hook", sorted(BY_LAWS))
def test_checks_by_laws_run_every_law(hook, tmp_path, monkeypatch):
    from frivkit.testing.conformance import compressors
    from frivkit.testing.laws import COMPRESSION_LAWS, FOLDING_LAWS, METRIC_LAWS, RANKING_LAWS

    expected = {
        "metrics": METRIC_LAWS,
        "bases": COMPRESSION_LAWS,
        "rankings": (*COMPRESSION_LAWS, *RANKING_LAWS, *FOLDING_LAWS),
        "refits": (*COMPRESSION_LAWS, *FOLDING_LAWS),
    }[hook]
    run = []
    for kind in (compressors.CompressionLaw, compressors.MetricLaw):
        monkeypatch.setattr(kind, "check", lambda law, *_, **__: run.append(law.name))
    folds = {"folds": True} if hook in ("rankings", "refits") else {}
    name = next(iter(ours(hook)))
    CHECKS[hook](installed().load(hook, name), tmp_path, **folds)
    assert run == [law.name for law in expected]
