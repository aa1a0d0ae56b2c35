"""The benchmarks' page shows what the benchmarks wrote."""

import json
from pathlib import Path

import pytest

tables = pytest.importorskip("benchmarks.tables", reason="the checkout is not on the path")

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks/results/latest.json"


def test_page_and_table_are_made_from_the_stored_results():
    made = tables.markdown(json.loads(LATEST.read_text()))
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert (LATEST.with_suffix(".md")).read_text() == made
    assert tables.in_page(page, made) == page


def test_tables_replace_what_stood_between_the_marks():
    page = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    made = tables.in_page(page, "new\n")
    assert made == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    assert tables.in_page(made, "new\n") == made


def test_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        tables.in_page("no marks", "new\n")


def test_stored_curves_agree():
    """A comparison of times means nothing where two sides computed different things."""
    for one in json.loads(LATEST.read_text())["prunability"]["units"].values():
        apart = one["examples_apart"]
        assert apart["frivkit"] == apart["session a mask"] == 0
        assert max(apart["torch hook"], apart["captum"]) <= 5
