"""``frivkit figure``: files, the table of gains, and what goes wrong."""

import re

import pytest

from frivkit.experiments.results import encoded_row
from tests.papercurves import write_results


@pytest.fixture
def sweep(files):
    (files / "sweep").mkdir()
    return write_results(files / "sweep")


@pytest.mark.parametrize("name", ["4d", "4D"])
def test_figure_is_written_and_its_gains_are_told(frivkit, files, sweep, name):
    run = frivkit("figure", name, sweep, "-o", "4d.svg", "--protocol", "reference")
    assert (run.code, run.err) == (0, "")
    assert b"10Kdim 1e-2" in (files / "4d.svg").read_bytes()
    first, heading, *rows = run.out.splitlines()
    assert first == f"4d.svg: figure {name}"
    assert heading.split() == ["figure", "panel", "series", "g", "95", "%", "interval"]
    assert len(rows) == 8
    (one,) = (row for row in rows if "redundant" in row and "10Kdim 1 " in row)
    assert " 2.44  " in one
    assert " to " in one


def test_figure_without_gains_tells_none(frivkit, files, sweep):
    run = frivkit("figure", "1", sweep, "-o", "1.pdf")
    assert run.out == "1.pdf: figure 1\n"
    assert (files / "1.pdf").read_bytes().startswith(b"%PDF-")


def test_help_lists_the_figures(frivkit):
    run = frivkit("figure", "--help")
    assert run.code == 0
    assert re.search(r"\n  4d +frivolous units of MLPs", run.out)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["e14", "sweep", "-o", "x.svg"], 2, ["figure is named 'e14'; did you mean", "e12"]),
        (["4d", "sweep", "-o", "x.gif"], 2, ["x.gif", ".png, .svg or .pdf"]),
        (["4d", "sweep", "-o", "x"], 2, [".png, .svg or .pdf"]),
        (["4d", "sweep", "-o", "nowhere/x.svg"], 1, ["there is no folder nowhere"]),
        (["4d", "elsewhere", "-o", "x.svg"], 1, ["elsewhere holds no results.jsonl"]),
        (["4d", "other", "-o", "x.svg"], 1, ["no rows for figure 4d", "it has 4c (prunable)"]),
        (["4d", "empty", "-o", "x.svg"], 1, ["no rows for figure 4d", "it has none"]),
        (["4d", "sweep"], 2, ["-o"]),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(frivkit, sweep, arguments, code, words):
    row = {"figure": "4c", "panel": "prunable", "series": "x", "width": 1, "trial": 0, "value": 0}
    for name, content in (("other", encoded_row(row)), ("empty", b"")):
        (sweep.parent / name).mkdir()
        (sweep.parent / name / "results.jsonl").write_bytes(content)
    run = frivkit("figure", *arguments)
    assert run.code == code
    line = run.error()
    assert [word for word in words if word not in line] == []
    assert not (sweep.parent / "x.svg").exists()
