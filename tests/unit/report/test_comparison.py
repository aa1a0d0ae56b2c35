"""Comparisons: differences with honest intervals, layers that belong together, pages and text."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.errors import DataError, UsageError
from frivkit.provenance import Clock
from frivkit.report.analysis_shape import fault_of
from frivkit.report.comparison import check_analysis, comparison_document, comparison_text
from frivkit.report.comparison_html import comparison_page
from frivkit.report.differences import difference, match_layers, mean_interval
from tests import documents
from tests.contract import complaints
from tests.documents import ablation, document, plain
from tests.htmlpage import cells, data_of, keep_all, tree, without_data


def made(*found, labels=None):
    return comparison_document(found, labels or [f"n{i}" for i in range(len(found))], Clock.start())


def analysis(network, **layers):
    rows = [ablation(None, network), *(ablation(name, value) for name, value in layers.items())]
    return document(*rows, layers=tuple(layers))


def test_interval_of_a_difference_holds_the_true_one_as_often_as_it_says():
    """Shares of 200 examples each: of 4,000 pairs, 95 % of the intervals hold the difference."""
    draw = np.random.default_rng(0)
    p, q, n = 0.3, 0.45, 200
    held = 0
    for a, b in zip(draw.binomial(n, p, 4000) / n, draw.binomial(n, q, 4000) / n, strict=True):
        half = [1.96 * np.sqrt(x * (1 - x) / n) for x in (a, b)]
        low, high = difference(
            float(a), float(b), (a - half[0], a + half[0]), (b - half[1], b + half[1])
        ).interval
        held += low <= q - p <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3))
def test_interval_of_a_difference_lies_around_it_and_turns_with_it(a, b, s, t):
    there = difference(a, b, (a - s, a + t), (b - t, b + s))
    back = difference(b, a, (b - t, b + s), (a - s, a + t))
    assert there.interval[0] - 1e-9 <= there.value <= there.interval[1] + 1e-9
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert difference(a, b, None, (b, b)).interval is None
    assert difference(a, None, (a, a), None).value is None


def test_mean_over_networks_is_that_of_scipy():
    from scipy import stats

    values = [0.31, 0.36, 0.29, 0.4]
    mean, interval = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean == pytest.approx(np.mean(values))
    assert interval == pytest.approx((expected.low, expected.high))
    assert mean_interval(values[:2]) is None


def test_document_is_what_the_schema_says():
    found = made(analysis(0.5, a=0.4, b=0.6), analysis(0.7, a=0.4, b=None), analysis(0.6, a=0.5))
    assert complaints(found) == []
    (metric,) = found["metrics"]
    network, first, second = metric["rows"]
    assert network["differences"][0]["value"] == pytest.approx(0.2)
    assert network["differences"][0]["verdict"] == "higher"
    assert first["differences"][0]["verdict"] == "undecided"
    assert second["values"] == [0.6, None, None]
    undefined = {"value": None, "interval": None, "resolution": 1 / 4096, "verdict": None}
    assert second["differences"][0] == undefined
    assert found["layers"][1] == {"names": ["b", "b", None], "units": [32, 32, None]}


@pytest.mark.parametrize(
    ("units", "removed", "verdict"),
    [
        ((64, 64), (20, 20), "undecided"),
        ((64, 64), (20, 21), "undecided"),
        ((64, 64), (20, 22), "higher"),
        ((64, 64), (22, 20), "lower"),
        ((64, 32), (20, 10.9), "undecided"),
        ((1024, 32), (320, 11), "undecided"),  # a unit of the narrower layer
    ],
)
def test_differences_of_a_unit_are_undecided_although_intervals_have_no_width(
    units, removed, verdict
):
    def redundant(width, count):
        share = count / width
        whole = {"units": width + 10, "layers": [share, 0.5]}
        rows = [plain("redundancy", None, (share + 0.5) / 2, detail=whole)]
        rows += [plain("redundancy", "a", share, detail={"units": width})]
        rows += [plain("redundancy", "b", 0.5, detail={"units": 10})]
        for row in rows:
            row["interval"] = [row["value"]] * 2
        return document(*rows, layers=("a", "b"))

    found = made(*map(redundant, units, removed))
    network, layer, _ = found["metrics"][0]["rows"]
    (difference,) = layer["differences"]
    assert difference["verdict"] == verdict
    assert difference["resolution"] == 1 / min(units)
    (of_network,) = network["differences"]
    assert of_network["resolution"] == pytest.approx((1 / min(units) + 1 / 10) / 2)
    assert of_network["verdict"] == "undecided"
    assert "one unit of a layer or less is undecided" in " ".join(comparison_text(found).split())
    assert "one unit of a layer or less is undecided" in comparison_page(found)


def test_networks_of_one_width_are_averaged_and_others_are_not():
    found = made(*(analysis(value, a=value) for value in (0.5, 0.6, 0.7)))
    assert found["metrics"][0]["rows"][0]["over_networks"]["mean"] == pytest.approx(0.6)
    wider = analysis(0.7, a=0.7)
    wider["sites"][0]["units"] = 64
    found = made(analysis(0.5, a=0.5), analysis(0.6, a=0.6), wider)
    assert found["metrics"][0]["rows"][0]["over_networks"] is None


def test_layers_are_matched_by_name_or_else_by_order():
    def of(*names):
        return document(layers=names)

    assert match_layers([of("a", "b"), of("b", "c")]) == [("a", None), ("b", "b"), (None, "c")]
    assert match_layers([of("a", "b"), of("x", "y")]) == [("a", "x"), ("b", "y")]
    assert match_layers([of("a"), of("x", "y")]) == [("a", None), (None, "x"), (None, "y")]


def test_warnings_say_what_differs_in_how_it_was_measured():
    first, second = analysis(0.5, a=0.4), analysis(0.5, a=0.4)
    assert made(first, second)["warnings"] == []
    second["data"]["sha256"] = "c" * 64
    second["measurements"][0]["detail"]["tolerance"] = 0.1
    second["measurements"].append(plain("correlation", "a", 0.5))
    others, way, left = made(first, second)["warnings"]
    assert "n1 was measured on other examples than n0" in others
    assert "prunability of n1 was measured with another tolerance" in way
    assert left == "not compared, since not all analyses have it: correlation"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match="at least two"):
        made(analysis(0.5))
    with pytest.raises(UsageError, match="no metric in common: n0 measures prunability; n1"):
        made(analysis(0.5), document(plain("m", None, 1.0)))
    with pytest.raises(DataError, match=r"x\.json is a frivkit\.plan/1; give"):
        check_analysis({"schema": "frivkit.plan/1"}, "x.json")
    with pytest.raises(DataError, match="no known kind"):
        check_analysis([1], "x.json")


def places(found, path=()):
    """Return the path of each value in a document that a comparison reads."""
    read = {"model", "path", "sha256", "parameters", "macs", "data", "spec", "examples", "accuracy"}
    read |= {"sites", "layer", "units", "measurements", "metric", "scope", "protocol", "value"}
    read |= {"interval", "detail"}
    if isinstance(found, dict):
        for key, value in found.items():
            if key in read and (*path[:1], key) != ("measurements", "examples"):
                yield (*path, key)
                if key != "detail":
                    yield from places(value, (*path, key))
    elif isinstance(found, list) and path[-1] != "interval":
        for i, value in enumerate(found[:1]):
            yield from places(value, (*path, i))


@pytest.mark.parametrize("wrong", [..., [[]], {"a": {}}, True, -1e400, 10**400], ids=repr)
def test_damage_is_found_before_anything_is_compared(wrong):
    whole = analysis(0.5, a=0.4)
    assert fault_of(whole) is None
    for *path, last in places(whole):
        found = copy.deepcopy(whole)
        spot = found
        for step in path:
            spot = spot[step]
        if wrong is ...:
            del spot[last]
        elif isinstance(wrong, type(spot[last])) and not isinstance(wrong, bool | float | int):
            continue
        else:
            spot[last] = wrong
        assert fault_of(found) is not None, (path, last)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_text_fits_a_terminal_and_names_what_differs(count):
    text = comparison_text(made(*(analysis(0.5 + i / 20, a=0.4, b=0.6) for i in range(count))))
    assert max(map(len, text.splitlines())) <= 80
    last = 50 + 5 * (count - 1)
    assert f"is 50.0 % in n0 and {last}.0 % in n{count - 1}" in " ".join(text.split())


@pytest.fixture(scope="module")
def hostile():
    rows = [analysis(0.5, **dict.fromkeys(documents.HOSTILE, 0.4)) for _ in range(2)]
    rows[1]["measurements"][2] = ablation(documents.HOSTILE[1], 0.9)
    return made(*rows, labels=list(documents.HOSTILE[:2]))


def test_names_stay_text_on_the_page(hostile):
    page = comparison_page(hostile)
    root = tree(without_data(page))
    assert not {"img", "b>"} & {each.tag for each in keep_all(root)}
    assert len(root.all("script")) == 2
    assert not [e for e in keep_all(root) if any(k.startswith("on") for k in e.attributes)]
    assert "\\u003cscript>alert" in data_of(page)


def test_table_on_the_page_holds_differences_with_intervals(hostile):
    root = tree(without_data(comparison_page(hostile)))
    rows = cells(root.all("table", "sortable")[0])
    assert rows[0][0] == "the network"
    changed = next(row for row in rows if row[0] == documents.HOSTILE[1])
    assert changed[3].replace("\xa0", " ").startswith("+50.0 pphigher, +46.4 pp to")


def test_curves_lie_over_each_other(hostile):
    root = tree(without_data(comparison_page(hostile)))
    first = root.all("svg", "curve")[0]
    assert [line.attributes["class"] for line in first.all("polyline")] == [
        "series s0",
        "series s1",
    ]
    dots = root.one("svg", "dots").all("circle")
    assert len(dots) == 2 * len(documents.HOSTILE)
