"""Comparison with the paper's figures, and the pages that tell of it."""

import json
import shutil
from pathlib import Path

import pytest

from frivkit.cli import main
from frivkit.errors import DataError
from frivkit.experiments.results import decoded_row, encoded_journal, encoded_row
from frivkit.experiments.results_page import BEGIN, END
from frivkit_sweep_mlp.reproduction import allowed, command, curves, tables, updated

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reproduction/README.md"
WIDTHS = (0.25, 0.5, 1, 2, 4)
PAPERS = [0.76, 0.864, 0.919, 0.96, 0.98]  # redundant units of "10dim 1e-2"
RUN = {
    "figures": ["4d"],
    "series": [{"label": "10dim 1e-2", "inputs": 10, "factors": [0.01]}],
    "provenance": {"seconds": 90.0, "command": ["frivkit", "sweep", "fig4d", "-o", "/some/where"]},
    "works": [{"networks": 15}],
}
JOURNAL = {"settings": {"stacks": {"measures": "reference"}}, "runs": [RUN]}


def points(values):
    grid = {"figure": "4d", "panel": "redundant", "series": "10dim 1e-2"}
    return [
        {**grid, "width": width, "trial": trial, "value": value + shift}
        for width, value in zip(WIDTHS, values, strict=True)
        for trial, shift in enumerate((-0.01, 0.01))
    ]


def test_points_as_near_as_allowed_are_inside():
    (curve,) = curves(points([PAPERS[0] - 0.05, PAPERS[1] + 0.06, *PAPERS[2:]]), [RUN])
    assert curve.inside == [True, False, True, True, True]
    assert curve.means == pytest.approx([0.71, 0.924, *PAPERS[2:]])


def test_table_tells_mean_spread_paper_gain_and_what_is_off():
    found = curves(points([PAPERS[0] - 0.06, *PAPERS[1:]]), [RUN])
    text = tables(found, JOURNAL)
    assert "15 networks were trained and measured in 1.5 minutes" in text
    assert "| 10 inputs, redundant | 0.055 | 4 | 5 |" in text
    assert "| 0.70 ± 0.01, 0.76 **off** | 0.86 ± 0.01, 0.86 |" in text
    assert "| 2.09, 2.09 |" in text
    assert "printed in the plot: 2.08 to 2.45." in text


def test_networks_that_two_figures_show_count_once():
    series = {"label": "1e-4", "inputs": 10, "factors": [0.01]}
    again = [row | {"figure": "E7", "series": "1e-4"} for row in points(PAPERS)]
    found = curves([*points(PAPERS), *again], [RUN, RUN | {"figures": ["E7"], "series": [series]}])
    assert len(found) == 2
    assert "| 10 inputs, redundant | 0.055 | 5 | 5 |" in tables(found, JOURNAL)


def test_undefined_and_missing_points_leave_a_curve_out():
    rows = points(PAPERS)
    assert curves(rows[2:], [RUN]) == []
    assert curves([row | {"value": None} for row in rows], [RUN]) == []


@pytest.mark.parametrize(
    ("inputs", "factors", "panel", "off"),
    [
        (10, [1e6], "prunable", 0.055),
        (10_000, [0.01], "redundant", 0.05),
        (10_000, [0.01], "prunable", 0.15),
        (10_000, [1], "redundant", 0.15),
        (10_000, [100], "prunable", 0.25),
        (10_000, [0.01, 1, 100], "redundant", 0.25),
        (10, [1], "test accuracy", 0.0),
    ],
)
def test_tolerances(inputs, factors, panel, off):
    assert allowed(inputs, factors, panel)[1] == off


def test_page_is_made_from_its_data():
    assert updated(PAGE.read_text(), PAGE.parent / "data") == PAGE.read_text()


def test_only_figures_of_a_sweep_are_kept(tmp_path):
    (tmp_path / "sweep").mkdir()
    lines = [{"work": "s", "value": 1.0}, *points(PAPERS)]
    (tmp_path / "sweep/results.jsonl").write_bytes(b"".join(map(encoded_row, lines)))
    (tmp_path / "sweep/run.json").write_bytes(encoded_journal(JOURNAL))
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    command.main([str(tmp_path / "sweep"), str(page)], standalone_mode=False)
    kept = (tmp_path / "data/reference/results.jsonl").read_text().splitlines()
    assert [decoded_row(line.encode()) for line in kept] == points(PAPERS)
    journal = json.loads((tmp_path / "data/reference/run.json").read_text())
    assert journal["runs"][0]["provenance"]["command"][-2:] == ["-o", "where"]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nbehind\n")
    assert "old" not in page.read_text()
    again = page.read_text()
    command.main([str(page)], standalone_mode=False)
    assert page.read_text() == again
    (tmp_path / "data/reference/run.json").unlink()
    with pytest.raises(DataError, match="reference has no results of a sweep"):
        updated(again, tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DataError, match="data has no results of sweeps"):
        updated(again, tmp_path / "data")
    with pytest.raises(DataError, match="put both where tables go"):
        updated("no marks", tmp_path)


def test_what_cannot_be_compared_is_told_in_one_line_and_replaces_nothing(tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    stored = tmp_path / "data/reference"
    shutil.copytree(PAGE.parent / "data/reference", stored)
    (tmp_path / "empty").mkdir()
    shutil.copytree(stored, tmp_path / "damaged")
    content = (stored / "results.jsonl").read_bytes()
    (tmp_path / "damaged/results.jsonl").write_bytes(content.replace(b'"value"', b'"walue"', 1))
    for words, message in (
        (["no.md"], "no.md: No such file"),
        (["empty", "README.md"], "empty has no sweep of perceptrons"),
        (["damaged", "README.md"], "damaged has no results of a sweep (line "),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path / word) for word in words], command, "reproduction")
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 1
        assert message in line
        assert (stored / "results.jsonl").read_bytes() == content
    assert page.read_text() == f"{BEGIN}\n{END}\n"
