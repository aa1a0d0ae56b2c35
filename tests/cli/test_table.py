"""``frivkit analyze --table``: what is written, and what is refused before any work."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from frivkit.hooks.registry import installed
from tests.program import Outcome

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz", "--no-cache")


@pytest.mark.parametrize("units", ["map", "location"])
def test_table_holds_what_the_document_says_of_each_unit(
    frivkit: Run, files: Path, units: str
) -> None:
    metrics = ("--metric", "dead-units", "--metric", "redundancy", "--metric", "selectivity")
    requested = ("--units", units, "--table", "t.csv", "--json", "-")
    ran = frivkit("analyze", "net.onnx", *DATA, *metrics, *requested)
    assert (ran.code, ran.err) == (0, "")
    with (files / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    layers = [m for m in ran.document["measurements"] if m["scope"] == "layer"]
    dead, _, selective = (m["detail"] for m in layers)
    assert [(row["layer"], row["unit"], row["units"]) for row in rows] == [
        ("layer", str(i), units) for i in range(dead["units"])
    ]
    assert list(rows[0])[3:] == [
        *("dead-units", "dead-units.mean", "dead-units.sd"),
        *("selectivity", "selectivity.favourite"),
    ]
    for name, detail, column in (
        ("dead-units.sd", dead, "sd"),
        ("selectivity", selective, "value"),
        ("selectivity.favourite", selective, "favourite"),
    ):
        read = [float(row[name]) if row[name] else None for row in rows]
        assert read == detail["per_unit"][column]


def test_terminal_says_nothing_of_single_units(frivkit: Run, files: Path) -> None:
    requested = ("analyze", "net.onnx", *DATA, "--metric", "dead-units")
    assert frivkit(*requested, "--table", "t.csv").out == frivkit(*requested).out
    assert (files / "t.csv").exists()


@pytest.mark.parametrize("metrics", [("redundancy",), ("prunability", "redundancy"), ()])
def test_metrics_that_tell_nothing_of_units_are_refused_before_any_work(
    frivkit: Run, files: Path, metrics: tuple[str, ...]
) -> None:
    requested = [part for name in metrics for part in ("--metric", name)]
    ran = frivkit("analyze", "no-such.onnx", *requested, "--table", "t.csv")
    assert ran.code == 2
    assert f"{', '.join(metrics) or 'prunability'} give" in ran.error()
    able = [n for n in installed().offers("metrics") if installed().load("metrics", n).per_unit]
    assert f"add --metric with one of {', '.join(able)}" in ran.error()
    assert "correlation" in able
    assert not (files / "t.csv").exists()


def test_metric_that_is_unknown_is_refused_as_ever(frivkit: Run, files: Path) -> None:
    del files
    requested = ("analyze", "net.onnx", "--metric", "nothing")
    assert frivkit(*requested, "--table", "t.csv").error() == frivkit(*requested).error()


@pytest.mark.parametrize("place", ["net.onnx", "page.html", "nowhere/t.csv", ""])
def test_place_that_cannot_be_is_refused_before_any_work(
    frivkit: Run, files: Path, place: str
) -> None:
    before = (files / "net.onnx").read_bytes()
    requested = ("--metric", "dead-units", "--report", "page.html", "--table", place)
    ran = frivkit("analyze", "net.onnx", *DATA, *requested)
    assert ran.code in (1, 2)
    assert ran.error()
    assert (files / "net.onnx").read_bytes() == before
    assert not (files / "page.html").exists()


def test_failed_analysis_leaves_an_older_table_as_it_was(frivkit: Run, files: Path) -> None:
    (files / "t.csv").write_text("older")
    requested = ("--data", "npz:nowhere.npz", "--metric", "dead-units", "--table", "t.csv")
    assert frivkit("analyze", "net.onnx", *requested).code == 1
    assert (files / "t.csv").read_text() == "older"


def test_page_tells_of_the_same_units(frivkit: Run, files: Path) -> None:
    requested = ("--metric", "dead-units", "--report", "page.html", "--json", "d.json")
    assert frivkit("analyze", "net.onnx", *DATA, *requested).code == 0
    (detail,) = (
        m["detail"]
        for m in json.loads((files / "d.json").read_text())["measurements"]
        if m["scope"] == "layer"
    )
    page = (files / "page.html").read_text(encoding="utf-8")
    assert f"{detail['units']} units (map)" in page
    for i, mean in enumerate(detail["per_unit"]["mean"]):
        assert f"<tr><td>{i}</td><td>0</td><td>{mean:.3f}</td>" in page
