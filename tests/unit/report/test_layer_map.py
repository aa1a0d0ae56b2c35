"""The map: a box for each layer, where it belongs, coloured by what was found, and a link."""

import copy
import re

import pytest

from frivkit.report.analysis_html import analysis_page
from frivkit.report.format import readable
from frivkit.report.layer_map import PAGE, ways_between_units
from frivkit.report.map_faces import analysis_map, compression_map
from tests import documents
from tests.documents import ablation, document, graph_of, plain
from tests.htmlpage import percent, tree, without_data


def drawn(found):
    return tree(found.svg).one("svg", "map")


def boxes(found):
    """Return by name of a layer the classes of its box."""
    return {
        box.all("text", "name")[0].text: box.attributes["class"].split()[1]
        for box in drawn(found).all("a", "box")
    }


def measured(**values):
    """Return an analysis whose layers have these values of prunability and redundancy."""
    rows = [ablation(name, first) for name, (first, _) in values.items()]
    rows += [plain("redundancy", name, second) for name, (_, second) in values.items()]
    found = document(*rows, layers=tuple(values))
    found["layer_graph"] = graph_of(found["sites"])
    return found


def test_boxes_are_of_the_kind_that_was_measured():
    found = analysis_map(measured(a=(0.6, 0.4), b=(0.4, 0.6), c=(0.6, 0.6), d=(0.4, 0.4)))
    kinds = {"a": "prunable", "b": "redundant", "c": "both", "d": "whole", "last": "skipped"}
    assert boxes(found) == kinds
    assert [css for css, _ in found.keys] == ["prunable", "redundant", "both", "whole"]
    first = drawn(found).all("a", "box")[0]
    track, filled = first.all("rect", "track")[0], first.all("rect", "prunable")[0]
    share = float(filled.attributes["width"]) / float(track.attributes["width"])
    assert share == pytest.approx(0.6, abs=0.01)


def test_undefined_values_and_other_metrics_leave_boxes_plain():
    found = document(plain("curvature", "a", -3.0), layers=("a", "b"))
    found["layer_graph"] = graph_of(found["sites"])
    assert boxes(analysis_map(found)) == {"a": "plain", "b": "plain", "last": "skipped"}
    unknown = measured(a=(None, None))
    assert boxes(analysis_map(unknown))["a"] == "plain"


def test_every_box_leads_to_its_row_and_back():
    page = tree(without_data(analysis_page(documents.mapped())))
    table = page.one("table", "sortable")
    rows = {row.attributes["id"]: row.one("th") for row in table.one("tbody").all("tr")}
    for box in page.all("a", "box")[:-1]:
        row = rows.pop(box.attributes["href"].removeprefix("#"))
        assert row.one("a").attributes["href"] == f"#{box.attributes['id']}"
    assert rows == {}
    assert page.all("a", "box")[-1].attributes["href"] == "#skipped"


def test_document_without_a_graph_has_no_map():
    assert analysis_map(documents.small()) is None
    assert tree(without_data(analysis_page(documents.small()))).all("svg", "map") == []


def positions(found):
    """Return the corners of the boxes."""
    every = [*drawn(found).all("g", "box"), *drawn(found).all("a", "box")]
    return [tuple(map(int, re.findall(r"-?\d+", b.attributes["transform"]))) for b in every]


@pytest.mark.parametrize("count", [3, 12, 60, 300])
def test_deep_networks_are_folded_into_the_width_of_the_page(count):
    names = tuple(f"layers.{i}" for i in range(count))
    found = document(layers=names)
    found["layer_graph"] = graph_of(found["sites"])
    drawing = analysis_map(readable(found))
    corners = positions(drawing)
    assert len(set(corners)) == len(corners) == count + (2 if count >= 59 else 3)
    width, height = (float(drawn(drawing).attributes[key]) for key in ("width", "height"))
    assert width <= PAGE
    for x, y in corners:
        assert 0 <= x <= width - 148
        assert 0 <= y <= height - 52
    columns = len({x for x, _ in corners})
    assert height < 80 * (count / columns + 3)
    assert columns == {3: 1, 12: 3, 60: 4, 300: 4}[count]


@pytest.mark.parametrize("branches", [6, 30])
def test_wide_networks_fit_the_page(branches):
    found = document(layers=tuple(f"branch.{i}" for i in range(branches)))
    found["layer_graph"] = graph_of(found["sites"])
    found["layer_graph"]["edges"] = [
        {"from": a, "to": b, "merges": False}
        for i in range(1, branches + 1)
        for a, b in ((0, i), (i, branches + 1))
    ]
    corners = positions(analysis_map(found))
    assert len(set(corners)) == branches + 3
    assert max(x for x, _ in corners) + 148 <= PAGE
    assert len({x for x, _ in corners[2:]}) <= 5


def test_small_pieces_of_large_graphs_are_connected_past_what_is_left_out():
    kinds = ["input", *["layer"] * 70, "skipped", "layer", "output"]
    nodes = [{"kind": kind} for kind in kinds]
    edges = [{"from": i, "to": i + 1, "merges": False} for i in range(len(kinds) - 1)]
    edges.append({"from": 69, "to": 71, "merges": True})
    kept, ways = ways_between_units({"nodes": nodes, "edges": edges})
    assert 71 not in kept
    assert {(70, 72), (69, 72)} <= {way.ends for way in ways}


def test_densely_connected_network_is_drawn_by_its_chain():
    found = document(layers=tuple(f"l{i}" for i in range(64)))
    found["layer_graph"] = graph_of(found["sites"])
    found["layer_graph"]["edges"] = [
        {"from": i, "to": j, "merges": False} for i in range(66) for j in range(i + 1, 67)
    ]
    drawing = analysis_map(found)
    assert len(drawn(drawing).all("path", "way")) == 65  # 66 boxes in a chain
    assert "Left out: connections that also lead through other boxes." in drawing.notes


def compressed(**layers):
    """Return the parts of a compression that its map is made of."""
    rows = [
        {"layer": n, "units_before": 32, "units_after": 32 - sum(r.values()), "removed": r}
        for n, r in layers.items()
    ]
    sites = document(layers=tuple(layers))["sites"]
    return {"layers": rows, "layer_graph": graph_of(sites)}


def test_map_of_a_compression_shows_widths_and_what_left():
    none = dict.fromkeys(("prunable", "redundant", "both", "neither"), 0)
    found = compression_map(
        compressed(a=none, b=none | {"prunable": 3, "redundant": 5}, c=none | {"neither": 8})
    )
    assert boxes(found) == {"a": "whole", "b": "redundant", "c": "neither", "last": "skipped"}
    lines = [box.all("text", "line")[0].text for box in drawn(found).all("a", "box")]
    assert lines[:3] == ["32 units", "32 → 24 · redundant", "32 → 24 · neither"]
    parts = [
        float(part.attributes["width"])
        for css in ("kept", "prunable", "redundant")
        for part in drawn(found).all("a", "box")[1].all("rect", css)
    ]
    assert [part / sum(parts) for part in parts] == pytest.approx(
        [24 / 32, 3 / 32, 5 / 32], abs=0.01
    )


def test_older_document_without_kinds_shows_widths_only():
    found = compressed(a={}, b={})
    for row in found["layers"]:
        del row["removed"]
    found["layers"][1]["units_after"] = 8
    assert boxes(compression_map(found)) == {"a": "whole", "b": "removed", "last": "skipped"}


def test_couplings_and_residual_connections_are_seen():
    page = tree(without_data(analysis_page(documents.mapped())))
    assert len(page.all("path", "merges")) == 1
    tagged = [box for box in page.all("a", "box") if "data-coupling" in box.attributes]
    assert [box.all("text", "tag")[0].text for box in tagged] == ["c1", "c1"]


def test_distributions_are_drawn_where_the_numbers_are():
    page = tree(without_data(analysis_page(documents.mapped())))
    areas = page.all("polyline", "area")
    assert len(areas) == len(documents.HOSTILE) + 2
    points = [tuple(map(float, p.split(","))) for p in areas[0].attributes["points"].split()]
    assert points[:3] == [(0, 1), (0.0312, 0.5), (0.0625, 0.25)]
    figure = next(f for f in page.all("figure") if f.all("polyline", "area"))
    rings = [percent(c.attributes["cx"]) for c in figure.all("circle", "crossing")]
    assert rings == pytest.approx([i / 32 for i in range(9)], abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"explained": None},
        {"explained": [0.5, None]},
        {"explained": [0.5, 2.0]},
        {"units": 1},
        {"units": None},
        {"rank": "many"},
        {"tolerance": "none"},
        {"histogram": [1, -1]},
        {"histogram": [0, 0]},
        {"histogram": "none"},
    ],
    ids=str,
)
def test_details_that_are_no_distribution_do_no_harm(change):
    found = copy.deepcopy(documents.mapped())
    for row in found["measurements"]:
        row["detail"] |= change
    tree(without_data(analysis_page(found)))
