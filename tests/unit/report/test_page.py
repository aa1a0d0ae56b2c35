"""The page: safe whatever it is given, complete, and drawn where the numbers say."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.report.analysis_html import analysis_page
from tests import documents
from tests.documents import ablation, document, plain
from tests.htmlpage import cells, data_of, keep_all, percent, skeleton, tree, without_data


def parsed(found):
    return tree(without_data(analysis_page(found)))


@pytest.fixture(scope="module")
def page():
    return parsed(documents.small())


@pytest.fixture(scope="module")
def hostile_page():
    return parsed(documents.large(documents.hostile()))


class TestSafety:
    def test_hostile_names_build_the_same_page_as_harmless_ones(self, hostile_page):
        assert skeleton(hostile_page) == skeleton(parsed(documents.large(documents.named())))

    def test_nothing_runs_and_nothing_is_fetched(self, hostile_page):
        allowed = {"html", "head", "meta", "link", "title", "style", "body", "header", "main"}
        allowed |= {"section", "h1", "h2", "p", "div", "span", "b", "strong", "br", "ul", "li"}
        allowed |= {"dl", "dt", "dd", "figure", "figcaption", "details", "summary", "table"}
        allowed |= {"thead", "tbody", "tr", "th", "td"}
        allowed |= {"svg", "line", "rect", "circle", "polyline", "text", "small"}
        allowed |= {"nav", "footer", "a", "label", "input", "output", "script"}
        assert {each.tag for each in keep_all(hostile_page)} <= allowed
        for each in keep_all(hostile_page):
            assert not [name for name in each.attributes if name.startswith("on")], each.tag
            assert not {"style", "src", "srcset", "action"} & set(each.attributes)
        links = [e.attributes["href"] for e in keep_all(hostile_page) if "href" in e.attributes]
        assert {link for link in links if not link.startswith("#")} == {"data:,"}
        ids = [e.attributes["id"] for e in keep_all(hostile_page) if "id" in e.attributes]
        assert len(set(ids)) == len(ids)
        assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
        assert not re.search(r"url\(|@import|https?:", hostile_page.one("style").text)

    def test_content_security_policy_allows_its_own_script_and_style_only(self, hostile_page):
        (policy,) = (
            meta.attributes["content"]
            for meta in hostile_page.all("meta")
            if meta.attributes.get("http-equiv") == "Content-Security-Policy"
        )
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        (style,), (data, script) = hostile_page.all("style"), hostile_page.all("script")
        assert data.attributes["type"] == "application/json"
        for name, element in (("style-src", style), ("script-src", script)):
            digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
            assert rules.pop(name) == f"'sha256-{digest}'"
        assert rules == {
            "default-src": "'none'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        first = hostile_page.one("head").children
        assert [each.attributes.get("http-equiv") for each in first[:2]] == [
            None,
            "Content-Security-Policy",
        ]

    @pytest.mark.parametrize("found", [documents.small(), documents.large(documents.hostile())])
    def test_document_is_embedded_whole_and_as_data(self, found):
        page = analysis_page(found)
        assert json.loads(data_of(page)) == found
        assert tree(page).all("a", "save")[0].attributes["download"] == "small.onnx.analysis.json"

    def test_large_document_is_embedded_without_values_of_single_units(self):
        found = documents.small()
        found["measurements"][1]["detail"]["per_unit"] = {"value": [0.123456789] * 50_000}
        page = analysis_page(found)
        del found["measurements"][1]["detail"]["per_unit"]
        assert json.loads(data_of(page)) == found
        assert "Without the values of single units" in page
        assert len(page) < 300_000

    def test_names_are_shown_as_they_are_written(self, hostile_page):
        shown = {row[1] for row in cells(hostile_page.one("table", "measurements"))}
        assert set(documents.HOSTILE[:6]) <= shown

    def test_what_cannot_be_seen_is_spelt_out(self, hostile_page):
        assert r"\x1b[31mred\x1b[0m\x00\r\n\u202egnp.exe\u2028\ud800" in hostile_page.text
        assert not re.search(
            "[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile_page.text
        )

    def test_page_can_be_written_whatever_the_path_is_called(self):
        found = documents.small()
        found["model"]["path"] = "nets/caf\udce9<b>.onnx"
        analysis_page(found).encode()
        assert parsed(found).one("h1").text == r"caf\udce9<b>.onnx"

    def test_very_long_names_are_cut_everywhere(self, hostile_page):
        assert "x" * 159 in hostile_page.text
        page = analysis_page(documents.large(documents.hostile()))
        assert "x" * 160 not in without_data(page)

    def test_texts_of_every_other_place_are_escaped(self):
        """One marker for each text of the document that the names above do not reach."""
        found = document(plain("<m>", "<l>", 1.0, units="<u>", protocol="<p>", scope="<s>"))
        found["measurements"][0]["detail"] = {"<k>": "<v>"}
        found["model"] |= {"path": "<file>", "format": "<format>", "sha256": "<sum>"}
        found["data"] |= {"spec": "<spec>", "sha256": "<dsum>", "warnings": ["<warning>"]}
        found["warnings"] = ["<second>"]
        found["sites"][0] = dict.fromkeys(("name", "layer", "op", "coupling"), "<site>") | {
            "units": 1,
            "spatial": ["<places>"],
        }
        found["skipped"] = [dict.fromkeys(("node", "op", "reason"), "<skipped>")]
        found["provenance"] |= {
            "frivkit": "<f>",
            "python": "<py>",
            "packages": {"<pk>": "<pv>"},
            "plugins": {"<gk>": "<gv>"},
            "command": ["<command>"],
            "started": "<started>",
            "reused": {"<reused>": 1},
        }
        page = parsed(found)
        markers = set(re.findall(r"<\w+>", repr(found)))
        assert markers - {marker for marker in markers if marker in page.text} == {"<s>"}
        assert not {each.tag for each in keep_all(page)} & {marker[1:-1] for marker in markers} - {
            "p"
        }


class TestContent:
    def test_page_has_language_title_and_fits_a_phone(self, page):
        assert page.one("html").attributes["lang"] == "en"
        assert page.one("head").one("title").text == "small.onnx: prunability (frivkit)"
        assert "width=device-width" in {
            meta.attributes["content"].partition(",")[0] for meta in page.all("meta")[2:3]
        }

    def test_style_covers_dark_screens_and_paper(self, page):
        style = page.one("style").text
        assert "@media (prefers-color-scheme: dark)" in style
        assert "@media print" in style
        assert "<" not in style

    def test_every_class_that_is_drawn_has_a_style(self):
        page = parsed(documents.large(documents.named()))
        style = page.one("style").text
        used = {
            name
            for svg in page.all("svg")
            for each in (svg, *keep_all(svg))
            for name in each.attributes.get("class", "").split()
        }
        assert {"chosen", "repeat", "limit", "band", "crossing", "bar"} <= used
        assert {name for name in used - {"tick"} if f".{name}" not in style} == set()

    def test_answer_comes_first_and_then_how_it_was_found(self, page):
        answer, method = (p.text.replace("\xa0", " ") for p in page.one("div", "lead").all("p"))
        assert answer == (
            "66.5 % of the network's units can be switched off at random before more than 20 % of "
            "the labels change (95 % interval 63.5 % to 68.5 %)."
        )
        assert "perturbed at random" in method
        assert "500 examples of npz:digits.npz?n=500" in method
        assert page.one("p", "headline").one("strong").text == "66.5\xa0%"

    def test_facts_tell_model_data_and_provenance(self, page):
        facts = dict(
            zip([e.text for e in page.all("dt")], [e.text for e in page.all("dd")], strict=True)
        )
        assert facts["parameters"].split() == ["421", "642"]
        assert facts["accuracy of the network"] == "99.6\xa0%"
        assert facts["seed"] == "0"
        assert facts["command"] == "frivkit analyze nets/small.onnx"
        assert facts["packages"] == "numpy 2.4.6"
        assert facts["model's sha256"] == "a" * 64
        assert "parameters in training" not in facts

    def test_facts_say_what_only_some_documents_know(self):
        found = documents.small()
        found["model"]["trainable_parameters"] = 77
        found["model"]["macs"] = found["data"]["accuracy"] = None
        found["provenance"]["layers"] = ["a"]
        found["provenance"]["reused"] = {"ablation runs": 9}
        page = parsed(found)
        facts = dict(
            zip([e.text for e in page.all("dt")], [e.text for e in page.all("dd")], strict=True)
        )
        assert facts["parameters in training"] == "77"
        assert facts["multiply-accumulates for one example"] == "unknown"
        assert facts["accuracy of the network"] == "unknown"
        assert facts["layers with units"] == "3, 1 of them analysed"
        assert facts["seconds"] == "3.083 (from the cache: 9 ablation runs)"

    def test_warnings_of_data_and_metrics_are_in_one_box(self):
        found = documents.small()
        assert parsed(found).all("section", "warning") == []
        found["data"]["warnings"], found["warnings"] = ["noise stands in"], ["gave NaN"]
        box = parsed(found).one("section", "warning")
        assert [item.text for item in box.all("li")] == ["noise stands in", "gave NaN"]
        assert box.one("h2").text == "Warnings"

    def test_every_figure_has_label_caption_and_numbers(self, page):
        figures = page.all("figure")
        assert len(figures) == 3
        for i, figure in enumerate(figures, start=1):
            assert figure.attributes["aria-label"] == f"Figure {i}"
            assert figure.one("figcaption").text.startswith(f"Figure {i}.")
            assert cells(figure.one("details").one("table"))
            for svg in figure.all("svg", "plot"):
                assert svg.attributes["role"] == "img"
                assert len(svg.attributes["aria-label"]) > 20

    def test_tables_hold_measurements_sites_and_what_was_skipped(self, page):
        rows = cells(page.one("table", "measurements"))
        assert [row[1] for row in rows] == ["network", "a", "b", "c"]
        said = [cell.replace("\xa0", " ").replace("\u202f", " ") for cell in rows[0]]
        assert said == ["prunability", "network", "4 096", "66.5 %", "63.5 % to 68.5 %", "500"]
        first = cells(page.one("table", "sortable"))[0]
        assert [cell.replace("\xa0", " ") for cell in first] == [
            *("1", "a", "Conv", "32", "28×28", "93.4 %90.4 % to 95.4 %")
        ]
        reason = page.one("p", "reason").text
        assert reason == "last: its units are the outputs."

    def test_like_reasons_are_said_once(self):
        found = documents.small()
        found["skipped"] = [
            {"node": f"node {i}", "op": "Gemm", "reason": f"its {i + 2} inputs are strange"}
            for i in range(60)
        ]
        (group,) = parsed(found).all("details", "reason")
        assert group.one("summary").text == "60 nodes: its … inputs are strange"
        assert [name.text for name in group.all("li")] == [f"node {i}" for i in range(60)]

    def test_page_says_when_nothing_was_skipped(self):
        found = documents.small()
        found["skipped"] = []
        page = parsed(found)
        assert page.all("p", "reason") == []
        assert "Every layer was analysed." in page.text


class TestCurves:
    def test_network_curve_is_drawn_where_the_numbers_are(self):
        plot = parsed(documents.small()).all("svg", "curve")[0]
        drawn = [
            (
                line.attributes["class"],
                [
                    tuple(map(float, point.split(",")))
                    for point in line.attributes["points"].split()
                ],
            )
            for line in plot.all("polyline")
        ]
        assert drawn == [
            ("repeat", [(0, 0), (0.3325, 0.1), (1, 0.9)]),
            ("chosen", [(0, 0), (0.3325, 0.05), (0.665, 0.2), (1, 0.9)]),
        ]
        (limit,) = plot.all("line", "limit")
        assert percent(limit.attributes["y1"]) == percent(limit.attributes["y2"]) == 0.2
        ring = plot.one("circle", "crossing").attributes
        assert (percent(ring["cx"]), percent(ring["cy"])) == pytest.approx((0.665, 0.2))
        band = plot.one("rect", "band").attributes
        assert percent(band["x"]) == pytest.approx(0.635)
        assert percent(band["width"]) == pytest.approx(0.05)
        assert len(plot.all("circle", "point")) == 4

    def test_curve_that_never_falls_has_no_crossing(self):
        page = parsed(document(ablation(None, 1.0, crossed=False)))
        assert page.all("circle", "crossing") == []
        assert page.all("rect", "band") == []
        assert "It never falls below 80\xa0%" in page.one("figcaption").text
        assert "can be switched off, and 20\xa0% of the labels change at most" in page.text

    def test_undefined_value_is_said_and_not_drawn(self):
        page = parsed(document(ablation(None, None)))
        assert page.all("circle", "crossing") == []
        assert page.one("p", "headline").one("strong").text == "undefined"
        assert "could not be determined" in page.text

    def test_single_layer_takes_the_place_of_the_network(self):
        page = parsed(document(ablation("b", 0.4)))
        (figure,) = page.all("figure")
        assert len(figure.all("svg", "curve")) == 1
        assert figure.all("svg", "small") == []
        assert page.all("p", "headline") == []

    def test_numbers_beside_the_curve_leave_gaps_where_nothing_was_tried(self):
        table = parsed(documents.small()).all("figure")[0].one("table")
        assert [cell.text for cell in table.all("th")] == [
            "units switched off",
            "repeat 1",
            "repeat 2 (best)",
        ]
        assert [[c.replace("\xa0", " ") for c in row] for row in cells(table)] == [
            ["0 %", "100 %", "100 %"],
            ["33.2 %", "90.0 %", "95.0 %"],
            ["66.5 %", "", "80.0 %"],
            ["100 %", "10.0 %", "10.0 %"],
        ]

    def test_small_multiples_show_every_layer(self):
        panels = parsed(documents.small()).all("figure")[2]
        assert [title.text.split()[0] for title in panels.all("p", "panel")] == ["a", "b", "c"]
        at = [percent(c.attributes["cx"]) for c in panels.all("circle", "crossing")]
        assert at == pytest.approx([0.934, 0.929, 0.772])

    def test_many_layers_show_the_curves_of_the_extremes_in_order(self):
        names = documents.named()
        page = parsed(documents.large(names))
        panels = page.all("figure")[2]
        shown = [span.attributes["title"] for span in panels.all("span")]
        # Values rise with the index, save for the third (undefined) and the fourth (all).
        assert shown == [names[i] for i in (0, 1, 2, 3, *range(4, 13), *range(109, 120))]
        assert "the 12 layers of the lowest and the 12 of the highest value" in panels.text
        assert len(cells(page.one("table", "measurements"))) == 121 + 1 + 9

    @pytest.mark.parametrize(
        "change",
        [
            {"levels": [0.0, 0.5, 0.4, 1.0]},
            {"levels": [0.0, 0.5, 0.5, 1.0]},
            {"levels": [0.0, 0.5, 1.0]},
            {"levels": [0.0, 0.5, 0.6, 1.5]},
            {"unchanged": [[1.0, 0.9, 0.5, 0.1], [1.0, None, None, None]]},
            {"unchanged": [[1.0, 0.9, 0.5, "0"], [1.0, 0.9, 0.5, 0.1]]},
            {"chosen_repeat": 2},
            {"chosen_repeat": True},
            {"tolerance": 0},
            {"tolerance": 1.0},
            {"tolerance": None},
        ],
        ids=str,
    )
    def test_details_that_are_no_curves_are_not_drawn(self, change):
        row = ablation(None, 0.5)
        assert len(parsed(document(row)).all("svg", "curve")) == 1
        row["detail"] |= change
        assert parsed(document(row)).all("svg", "curve") == []

    def test_value_that_is_no_share_is_not_put_on_a_curve(self):
        row = ablation(None, 0.5) | {"value": 3.5}
        page = parsed(document(row))
        assert page.all("svg", "curve") == []
        assert page.one("p", "headline").one("strong").text == "3.500"


class TestBars:
    def test_bars_are_as_long_as_values_with_whiskers_at_the_interval(self):
        plot = parsed(documents.small()).one("svg", "bars")
        widths = [percent(bar.attributes["width"]) for bar in plot.all("rect", "bar")]
        assert widths == pytest.approx([0.934, 0.929, 0.772])
        span = plot.all("line", "whisker")[0].attributes
        assert (percent(span["x1"]), percent(span["x2"])) == pytest.approx((0.904, 0.954))
        mark = plot.one("line", "limit").attributes
        assert percent(mark["x1"]) == pytest.approx(0.665)
        assert [name.text for name in plot.all("text", "name")] == ["a", "b", "c"]

    def test_many_layers_become_numbered_columns(self):
        page = parsed(documents.large(documents.named()))
        plot = page.one("svg", "columns")
        heights = [percent(bar.attributes["height"]) for bar in plot.all("rect", "bar")]
        expected = [0.2 + i / 200 for i in range(120)]
        expected[3] = 1.0
        del expected[2]  # undefined
        assert heights == pytest.approx(expected, abs=1e-4)
        assert [text.text for text in plot.all("text", "value")] == ["?"]
        numbers = [t.text for t in plot.all("text", "tick") if not t.text.endswith("%")]
        assert numbers == ["1", "20", "40", "60", "80", "100", "120"]

    def test_values_of_any_size_get_an_axis_with_zero(self):
        values = [-3.2, 1e-7, None, 12.5]
        rows = [plain("curvature", name, value) for name, value in zip("abcd", values, strict=True)]
        rows[0]["interval"], rows[3]["interval"] = [-4.0, -3.0], [None, 13.0]
        plot = parsed(document(*rows)).one("svg", "bars")
        assert [t.text for t in plot.all("text", "tick")] == ["-5", "0", "5", "10", "15"]
        first, _, last = (bar.attributes for bar in plot.all("rect", "bar"))
        assert (percent(first["x"]), percent(first["width"])) == pytest.approx((0.09, 0.16))
        assert (percent(last["x"]), percent(last["width"])) == pytest.approx((0.25, 0.625))
        assert len(plot.all("line", "whisker")) == 3
        assert [t.text for t in plot.all("text", "value")] == [
            "-3.200",
            "1.00e-07",
            "undefined",
            "12.500",
        ]

    @pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, 0.0])
    def test_extreme_values_are_in_the_table_if_not_on_an_axis(self, value):
        page = parsed(document(plain("m", "a", value), plain("m", "b", -value)))
        assert len(cells(page.one("table", "measurements"))) == 2
        for bar in page.all("rect", "bar"):
            assert 0 <= percent(bar.attributes["width"]) <= 1

    def test_metric_with_a_value_only_needs_no_figure(self):
        page = parsed(document(plain("label-entropy", None, 3.3219)))
        assert page.all("figure") == []
        assert page.one("p", "headline").one("strong").text == "3.322"
        assert "The network has label-entropy 3.322." in page.one("div", "lead").text
        assert cells(page.one("table", "measurements")) == [
            ["label-entropy", "network", "", "3.322", "", "500"]
        ]

    def test_details_common_to_all_are_said_once_and_others_in_the_table(self):
        rows = [
            plain("m", name, 1.0, detail={"rows": 7, "rank": i, "lists": [1]})
            for i, name in enumerate("ab")
        ]
        page = parsed(document(*rows))
        assert "rows: 7" in "".join(p.text for p in page.all("p", "quiet"))
        assert [row[-1] for row in cells(page.one("table", "measurements"))] == [
            "rank: 0",
            "rank: 1",
        ]

    def test_details_are_shown_whole_however_many_there_are(self):
        detail = {f"share_of_{i}": i / 7 for i in range(20)}
        rows = [plain("m", "a", 1.0, detail=detail), plain("m", "b", 1.0)]
        (shown, none) = (
            row[-1] for row in cells(parsed(document(*rows)).one("table", "measurements"))
        )
        assert shown == ", ".join(f"{key}: {value:.4g}" for key, value in detail.items())
        assert none == ""

    def test_nothing_measured_is_said(self):
        page = parsed(document())
        assert "Nothing was measured on 500 examples" in page.one("div", "lead").text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["levels", "unchanged", "chosen_repeat", "tolerance", "crossed", "units"])
SHARES = st.floats(-0.1, 1.1) | st.none() | st.booleans()


@settings(max_examples=150)
@given(
    detail=st.fixed_dictionaries(
        {},
        optional={
            "levels": JSON | st.lists(SHARES, max_size=4),
            "unchanged": JSON | st.lists(st.lists(SHARES, max_size=4), max_size=3),
            "chosen_repeat": JSON | st.integers(-1, 3),
            "tolerance": JSON | SHARES,
            "crossed": JSON,
            "units": JSON,
        },
    )
    | st.dictionaries(KEYS | st.text(max_size=5), JSON, max_size=5),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    layer=st.none() | st.text(max_size=5),
)
def test_no_detail_of_a_third_party_breaks_the_page(detail, value, layer):
    parsed(document(plain("theirs", layer, value, detail=detail), ablation("a", 0.4)))


def test_stylesheet_and_template_stand_beside_the_module():
    folder = Path(analysis_page.__code__.co_filename).parent
    assert {path.name for path in folder.iterdir()} >= {"analysis.html.j2", "page.css"}
