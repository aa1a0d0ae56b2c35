"""The page of a sweep: curves where the numbers are, gains as the core computes them."""

import json

import pytest

from frivkit.experiments.gain import WidthCurve, gain
from frivkit.provenance import Clock
from frivkit.report.sweep import sweep_document
from frivkit.report.sweep_html import sweep_page
from tests.contract import complaints
from tests.documents import HOSTILE
from tests.htmlpage import cells, data_of, keep_all, percent, tree, without_data

CURVES = [
    WidthCurve("prunable", "SGD", (1, 2, 4), ((0.2, 0.3), (0.4, 0.5), (0.6, 0.7)), "4a"),
    WidthCurve("prunable", HOSTILE[0], (1, 2, 4), ((0.2,), (), (0.5,)), "4a", note=HOSTILE[1]),
    WidthCurve("parameters", "SGD", (1, 2, 4), ((100.0,), (400.0,), (1600.0,)), "4a"),
]


@pytest.fixture(scope="module")
def document():
    return sweep_document(CURVES, "fig4a", None, Clock.start())


@pytest.fixture(scope="module")
def page(document):
    return sweep_page(document)


def test_document_is_what_the_schema_says(document):
    assert complaints(document) == []
    first = document["curves"][0]["gain"]
    assert (first["value"], tuple(first["interval"])) == (
        gain(CURVES[0]).value,
        gain(CURVES[0]).interval,
    )
    assert document["curves"][1]["gain"] == {"value": None, "interval": None}
    assert document["curves"][2]["gain"] is None


def test_page_embeds_the_document_and_names_stay_text(document, page):
    assert json.loads(data_of(page)) == document
    root = tree(without_data(page))
    assert len(root.all("script")) == 2
    assert not {"img", "b>"} & {each.tag for each in keep_all(root)}
    assert HOSTILE[0] in root.text


def test_dots_are_at_the_means_and_lines_reach_the_trials(page):
    plot = tree(without_data(page)).all("svg", "curve")[0]
    dots = [1 - percent(dot.attributes["cy"]) for dot in plot.all("circle")]
    assert dots == pytest.approx([0.25, 0.45, 0.65, 0.2, 0.5], abs=1e-3)
    ends = plot.all("line", "thin")[0].attributes
    assert [1 - percent(ends[key]) for key in ("y1", "y2")] == pytest.approx([0.2, 0.3], abs=1e-3)


def test_tables_hold_means_and_gains(page):
    units, parameters = (cells(t) for t in tree(without_data(page)).all("table", "sortable"))
    low, high = gain(CURVES[0]).interval
    assert [cell.replace("\xa0", " ") for cell in units[0]] == [
        *("SGD", "25.0 %", "45.0 %", "65.0 %"),
        f"{gain(CURVES[0]).value:.2f}{low:.2f} to {high:.2f}",
    ]
    assert units[1][2] == units[1][4] == "–"
    assert [float(cell) for cell in parameters[0][1:]] == [100, 400, 1600]


def test_answer_is_the_gain(page):
    lead = tree(without_data(page)).one("div", "lead").text
    assert f"prunable units grow by {gain(CURVES[0]).value:.2f} in the median of 1 curve" in lead


def test_sweep_without_curves_is_a_page_too():
    assert "0 curves" in sweep_page(sweep_document([], "none", "reference", Clock.start()))
