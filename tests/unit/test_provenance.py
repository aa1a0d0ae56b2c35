"""The record of where a result comes from says what is true, from the command line and without."""

import json
import sys

import pytest

from frivkit.cli import cli, main
from frivkit.experiments.jobs import SweepPlan
from frivkit.experiments.runner import run
from frivkit.hooks.registry import Plugin, Registry, installed
from frivkit.provenance import Clock, command_line, provenance


def command():
    return provenance(Clock.start(), 0, {})["command"]


@pytest.fixture
def seen(monkeypatch):
    """Return a list of the commands that are recorded while ``frivkit doctor`` runs."""
    commands = []
    monkeypatch.setattr(cli, "invoke", lambda _: commands.append(command()))
    return commands


def test_from_python_there_is_no_command_whatever_the_script_was_called_with(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1", "my_experiment"])
    assert command() is None


def test_command_line_is_recorded_while_it_runs_and_no_longer(seen, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/frivkit", "doctor", "--json", "-"])
    with pytest.raises(SystemExit):
        main()
    assert seen == [["frivkit", "doctor", "--json", "-"]]
    assert command() is None


def test_command_line_called_from_python_is_that_of_the_call(seen, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["notebook", "--port", "1"])
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert seen == [["frivkit", "doctor"]]


def test_command_line_is_forgotten_after_an_error():
    with pytest.raises(ZeroDivisionError), command_line(["doctor"]):
        1 / 0  # noqa: B018
    assert command() is None


def test_plugins_are_those_that_loaded(monkeypatch):
    plugins = [Plugin("good", "good-metrics", "1.2"), Plugin("bad", "x", "3", error="ImportError")]
    registry = Registry(())
    monkeypatch.setattr(registry, "plugins", plugins)
    assert registry.versions() == {"good": "1.2"}


def test_a_sweep_records_neither_broken_plugins_nor_a_command_that_never_ran(tmp_path, monkeypatch):
    broken = Plugin("bad", "x", "3", error="ImportError: no module named y")
    monkeypatch.setattr(installed(), "plugins", [*installed().plugins, broken])
    nothing = SweepPlan(
        title="nothing",
        figures=(),
        settings={},
        described={},
        remaining_jobs=lambda _: ([], 0),
        points=lambda _: [],
    )
    run(nothing, tmp_path)
    (done,) = json.loads((tmp_path / "run.json").read_bytes())["runs"]
    assert done["provenance"]["plugins"] == installed().versions()
    assert "frivkit_ablation" in done["provenance"]["plugins"]
    assert "bad" not in done["provenance"]["plugins"]
    assert done["provenance"]["command"] is None


def test_all_built_in_plugins_have_a_version():
    assert {"frivkit_ablation", "frivkit_onnx"} <= set(installed().versions())
