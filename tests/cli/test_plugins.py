"""``frivkit plugins``: what is installed, and the options of what a plugin offers."""

import json
import sys
from dataclasses import fields
from types import SimpleNamespace

import pytest

from frivkit.hooks.option_table import option_rows
from frivkit.hooks.registry import Plugin, installed
from frivkit.hooks.specs import Offer

WITH_OPTIONS = ("metrics", "architectures", "trainers")


@pytest.mark.parametrize("hook", WITH_OPTIONS)
def test_every_option_of_a_built_in_offer_is_explained(hook):
    for name in installed().offers(hook):
        target = installed().load(hook, name)
        rows = option_rows(target)
        assert [row.name for row in rows] == [field.name for field in fields(target.options)]
        assert {row.name: row.meaning for row in rows if not row.meaning} == {}, name


def test_offer_is_shown_with_its_options(frivkit):
    ran = frivkit("plugins", "prunability")
    assert ran.code == 0
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0].startswith("frivkit_ablation  (frivkit ")
    assert "tolerance  float  0.2" in lines
    assert "Share of labels that may change, in (0, 1)." in lines
    assert "redundancy" not in ran.out


def test_options_as_json(frivkit):
    document = json.loads(frivkit("plugins", "frivkit_trainers:lab", "--json", "-").out)
    (plugin,) = document["plugins"]
    (lab,) = plugin["offers"]["trainers"]
    rows = {row.pop("name"): row for row in lab["options"]}
    assert rows["epochs"]["default"] == "50"
    assert rows["schedule"]["type"] == "constant, exponential, steps"
    assert rows["flip"]["default"] == "false"
    assert (lab["target"], lab["error"]) == ("frivkit_trainers.lab:LAB", None)


def test_plugin_is_shown_with_all_that_it_offers(frivkit):
    ran = frivkit("plugins", "frivkit_datasets")
    assert "Return 1,797 handwritten digits" in ran.out
    assert "frivkit_onnx" not in ran.out


def test_unknown_name_is_refused_with_the_nearest(frivkit):
    ran = frivkit("plugins", "prunabilty")
    assert ran.code == 2
    assert "did you mean prunability" in ran.error()


def test_target_that_cannot_be_loaded_is_told(frivkit, monkeypatch):
    broken = SimpleNamespace(__name__="broken_target", METRIC=None)
    monkeypatch.setitem(sys.modules, "broken_target", broken)
    offers = {"metrics": (Offer("broken", "broken_target:METRIC", "none"),)}
    plugins = [*installed().plugins, Plugin("mine", "frivkit-mine", "1.0", offers)]
    monkeypatch.setattr(installed(), "plugins", plugins)
    ran = frivkit("plugins", "broken")
    assert ran.code == 0
    assert "failed to load: metric 'mine:broken' cannot be used" in ran.out


def test_plugins_are_shown_by_the_name_of_their_distribution(frivkit, monkeypatch):
    registry = installed()
    more = [Plugin(name, "frivkit-mine", "1.0", offers={}) for name in ("frivkit_a", "frivkit_b")]
    monkeypatch.setattr(registry, "plugins", [*registry.plugins, *more])
    ran = frivkit("plugins", "frivkit-mine")
    assert ran.out.splitlines() == [f"{each.name}  (frivkit-mine 1.0)" for each in more]
