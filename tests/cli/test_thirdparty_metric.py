"""A metric that somebody else wrote and installed, beside a distribution that is broken."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frivkit.measure.pipeline import Request, open_study
from tests.program import EXAMPLES, Outcome, ended, start

THIRDPARTY = Path(__file__).parents[1] / "data/thirdparty"
ECHO, BROKEN = (str(THIRDPARTY / name) for name in ("frivkit-echo", "frivkit-broken"))
DATA = ("--data", "npz:x.npz")
Run = Callable[..., Outcome]


@pytest.fixture
def beside(files: Path) -> Run:
    """Return a function that runs the program with both distributions installed."""
    del files
    path = os.pathsep.join([ECHO, BROKEN, *filter(None, [os.environ.get("PYTHONPATH")])])
    return lambda *arguments: ended(start(*arguments, env={"PYTHONPATH": path}))


def test_metric_is_measured_as_ours_are(beside: Run, files: Path) -> None:
    ran = beside("analyze", "net.onnx", *DATA, "--metric", "label-entropy", "--json", "-")
    assert (ran.code, ran.err) == (0, "")
    (measured,) = ran.document["measurements"]
    labels = open_study(Request(files / "net.onnx", data="npz:x.npz"))[0].labels()
    share = np.unique(labels, return_counts=True)[1] / EXAMPLES
    assert labels.shape == (EXAMPLES, 1)
    assert 0 < measured["value"] < 2
    assert measured["value"] == pytest.approx(-(share * np.log2(share)).sum())
    assert measured["metric"] == "label-entropy"
    assert (measured["scope"], measured["layer"]) == ("network", None)
    assert (measured["examples"], measured["detail"]) == (EXAMPLES, {})
    assert ran.document["provenance"]["plugins"]["frivkit_echo"] == "0.1.0"


def test_metrics_of_several_makers_share_a_run_and_its_cache(beside: Run, files: Path) -> None:
    alone = beside("analyze", "net.onnx", *DATA, "--metric", "prunability", "--json", "-")
    metrics = ("--metric", "label-entropy", "--metric", "prunability")
    ran = beside("analyze", "net.onnx", *DATA, *metrics, "--json", "-")
    assert [m["metric"] for m in ran.document["measurements"]] == [
        "label-entropy",
        "prunability",
        "prunability",
    ]
    assert ran.document["measurements"][1:] == alone.document["measurements"]
    assert ran.document["provenance"]["reused"]["baseline outputs"] == 1
    shown = beside("analyze", "net.onnx", *DATA, *metrics)
    assert (shown.code, shown.err.count("\n")) == (0, 1)
    assert "label-entropy" in shown.out
    del files


def test_option_that_no_metric_has_is_refused(beside: Run) -> None:
    metric = ("--metric", "label-entropy", "--option", "base=2")
    ran = beside("analyze", "net.onnx", *DATA, *metric)
    assert ran.code == 2
    assert "no option is named 'base'" in ran.error()


def test_misspelt_metric_finds_the_third_party_s(beside: Run) -> None:
    ran = beside("analyze", "net.onnx", *DATA, "--metric", "labelentropy")
    assert ran.code == 2
    assert "did you mean label-entropy" in ran.error()
    assert "frivkit_broken" in ran.error()


def test_broken_distribution_is_listed_with_its_error_and_hurts_nobody(beside: Run) -> None:
    listed = beside("plugins", "--json", "-")
    assert (listed.code, listed.err) == (0, "")
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.out)["plugins"]}
    broken, echo = plugins["frivkit_broken"], plugins["frivkit_echo"]
    assert "a_package_that_nobody_has" in broken["error"]
    assert (broken["distribution"], broken["version"]) == ("frivkit-broken", "2.0")
    assert broken["offers"] == {}
    assert echo["error"] is None
    assert [offer["name"] for offer in echo["offers"]["metrics"]] == ["label-entropy"]
    assert all(plugin["error"] is None for name, plugin in plugins.items() if plugin is not broken)
    for command in (["inspect", "net.onnx"], ["analyze", "net.onnx", *DATA], ["cache", "ls"]):
        ran = beside(*command)
        assert (ran.code, ran.err) == (0, "")
    doctor = beside("doctor")
    (bad,) = [line for line in doctor.out.splitlines() if line.startswith("bad")]
    assert "frivkit_broken" in bad
    assert doctor.code == 1


def test_metric_of_a_plugin_that_is_not_installed_is_refused(files: Path, frivkit: Run) -> None:
    ran = frivkit("analyze", "net.onnx", *DATA, "--metric", "label-entropy")
    assert (ran.code, ran.out) == (2, "")
    assert "known: " in ran.error()
    assert "label-entropy" not in ran.error().partition("known: ")[2]
    del files
