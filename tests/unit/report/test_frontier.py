"""A frontier as JSON, text, page and picture: by its schema, complete, and drawn where it says."""

import copy
from itertools import pairwise
from math import log10
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.compression.compress import Compressor
from frivkit.compression.frontier import frontier
from frivkit.compression.latency_search import Timing
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock
from frivkit.report.frontier import frontier_document, frontier_text
from frivkit.report.frontier_chart import DisagreementScale, PlottedPlan, frontier_figure
from frivkit.report.frontier_html import frontier_page
from frivkit.report.notebook import frontier_fragment
from tests.contract import complaints
from tests.documents import HOSTILE
from tests.htmlpage import without_data
from tests.program import write_mlp, write_rows
from tests.unit.compression.test_frontier import FakeStopwatch

SVG = "{http://www.w3.org/2000/svg}"
SHARES = (0.8, 0.6, 0.4, 0.001)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    model = write_mlp(folder / "net.onnx", 24, batch=2)
    request = Request(model, f"npz:{write_rows(folder / 'x.npz', 8)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frivkit.compression.frontier.Stopwatch", FakeStopwatch)
        found = frontier(Compressor(request), SHARES, timings=[Timing(2), Timing(16)])
    return found, frontier_document(found, request, Clock.start(), (0.99, 0.5))


@pytest.fixture
def document(made):
    return copy.deepcopy(made[1])


def test_document_is_what_the_schema_says(made, document):
    found, _ = made
    assert complaints(document) == []
    assert [plan["share"] for plan in document["plans"]] == [p.share for p in found.points]
    assert document["timing"]["unmeasured"] == {"16": "net.onnx takes batches of 2 only"}
    assert {each["share"] for each in document["left_out"]} >= {0.001}
    assert document["original"]["latency_ms"] == {"2": found.original_latency(2).median, "16": None}
    for choice in document["choices"]:
        taken = found.smallest(
            choice["agreement"], choice["cost"], batch=choice["batch"], surely=choice["surely"]
        )
        assert choice["plan"] == (None if taken is None else taken.share)
    assert {(c["agreement"], c["cost"], c["batch"], c["surely"]) for c in document["choices"]} == {
        (agreement, *cost, surely)
        for agreement in (0.99, 0.5)
        for cost in (("latency", 2), ("macs", None))
        for surely in (True, False)
    }


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("plans",), []),
        (("plans", 0, "share"), 0),
        (("plans", 0, "agreement", "interval"), [0.5]),
        (("plans", 0, "latency", "2", "verdict"), "fast"),
        (("plans", 0, "dominated", "macs"), 0.5),
        (("choices", 0, "cost"), "units"),
        (("timing", "batches"), [0]),
        (("held_out", "examples"), 0),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_schema_refuses_what_the_page_rules_out(document, place, wrong):
    *path, last = place
    spot = document
    for step in path:
        spot = spot[step]
    spot[last] = wrong
    assert complaints(document) != []


def test_text_has_every_plan_and_every_choice(document):
    text = frontier_text(document)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines()]
    for plan in document["plans"]:
        (row,) = (line for line in lines if line[:1] == [f"{plan['share']:g}"])
        low, high = plan["agreement"]["interval"]
        assert row[1:5] == [
            f"{plan['left']['macs']:.3f}",
            f"{plan['left']['params']:.3f}",
            f"{plan['agreement']['labels']:.3f}",
            f"{low:.3f}-{high:.3f}",
        ]
        assert ("M" in row[-1]) == plan["dominated"]["macs"]
    assert "No plan for 0.001: the smallest model keeps" in text
    assert "at batch 16: net.onnx takes batches of 2 only." in text.replace("\n", " ")
    assert "0.99 or more, surely the original" in " ".join(text.split())
    assert "50 examples cannot surely show an agreement above 0.9289" in text.replace("\n", " ")


def test_text_fits_a_terminal_at_two_batch_sizes(document):
    document["timing"] |= {"batches": [1, 16], "unmeasured": {}}
    for plan in document["plans"]:
        for key in ("latency", "dominated"):
            of = plan[key] if key == "latency" else plan[key]["latency"]
            of["1"] = of["16"] = of.pop("2")
    table = frontier_text(document).partition("\n\nNo plan")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "time, batch 16" in table


def test_page_and_fragment_show_plans_and_choices(document):
    page, fragment = frontier_page(document), frontier_fragment(document)
    assert page.count("<figure") == 2
    assert page.count("<circle") == 2 * len(document["plans"])
    for shown in (page, fragment):
        assert shown.count("the original") >= 2
        for plan in document["plans"]:
            assert f"<td>{plan['share']:g}</td>" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_names_do_no_harm(document, name):
    document["original"]["path"] = name
    document["calibration"]["data"] = document["held_out"]["data"] = name
    document["warnings"] = [name]
    page = frontier_page(document)
    assert page.count("<script") == 2  # the document, which is data, and the page's own
    assert "<img" not in without_data(page)
    root = ElementTree.fromstring(frontier_figure(document))  # noqa: S314  # it is our own
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        *("svg", "style", "rect", "text", "line", "circle", "title")
    }


def test_picture_puts_each_plan_at_its_cost_and_agreement(document):
    root = ElementTree.fromstring(frontier_figure(document))  # noqa: S314  # it is our own
    panels = root.findall(f"{SVG}svg")
    assert len(panels) == 2  # batch 16 was not timed
    plans = document["plans"]
    for panel, cost in zip(panels, ("time", "macs"), strict=True):
        dots = panel.findall(f"{SVG}circle")
        by_name = {dot.find(f"{SVG}title").text.partition(":")[0]: dot for dot in dots}
        assert len(by_name) == len(plans)
        for plan in plans:
            dot = by_name[f"{plan['share']:g}"]
            left = plan["left"]["macs"] if cost == "macs" else plan["latency"]["2"]["ratio"][1]
            assert float(dot.get("cx").rstrip("%")) == pytest.approx(100 * left, abs=0.01)
            flag = plan["dominated"]
            hollow = flag["macs"] if cost == "macs" else flag["latency"]["2"]
            assert (dot.get("class") == "worse") == hollow


class TestDisagreementScale:
    def scale(self, agreement, interval, labels=1000):
        return DisagreementScale.over(
            [PlottedPlan("1", (0.5,) * 3, agreement, interval, False)], labels
        )

    @given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6))
    def test_higher_is_better_and_all_ends_are_inside(self, one, other, labels):
        low, high = sorted((one, other))
        scale = self.scale(low, (low, high), labels)
        assert 0 <= scale.height(low) <= scale.height(high) <= 1
        assert scale.height(1.0) == 1

    def test_equal_factors_of_disagreement_are_equally_high(self):
        scale = self.scale(0.95, (0.9, 0.99))
        steps = [scale.height(1 - 0.1 * 0.5**i) for i in range(5)]
        expected = log10(2) / log10(scale.most / scale.least)
        for below, above in pairwise(steps):
            assert above - below == pytest.approx(expected)

    def test_ticks_are_inside_and_end_with_all_labels(self):
        scale = self.scale(0.95, (0.9, 0.99))
        assert scale.ticks() == [0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0]
