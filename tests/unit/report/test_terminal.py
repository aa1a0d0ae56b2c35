"""What a terminal shows: never wider than 80 columns, never what moves the cursor."""

import re
import unicodedata

import pytest

from frivkit.report.format import number, percent, readable, short
from frivkit.report.terminal import analysis_text, inspection_text
from tests import documents
from tests.documents import ablation, document, plain


def inspection(**more):
    found = documents.small()
    found |= {"schema": "frivkit.inspection/1", "couplings": [], "advice": []}
    found |= {"branches": [], "factors": []}
    found["model"] |= {
        "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 28, None]}],
        "outputs": ["logits"],
        "batch": None,
        "metadata": {},
    }
    for site in found["sites"]:
        site |= {
            "writers": [f"/{site['layer']}/Conv"],
            "readers": [],
            "not_followed": [],
            "held": None,
            "cut_only": False,
            "parameters": 18496,
            "macs": 3612672,
        }
    return found | more


def drawn(text: str) -> list[str]:
    """Return the rows of the curve from 100 % down to 0 %."""
    return [line.partition("┤")[2] for line in text.splitlines() if "┤" in line]


class TestAnalysis:
    def test_first_lines_say_what_was_measured_on_what(self):
        lines = analysis_text(documents.small()).splitlines()
        assert lines[0] == "model  small.onnx, 422 k parameters, 4.24 M MACs, 3 layers with units"
        assert lines[1] == "data   500 examples of npz:digits.npz?n=500, accuracy 99.6 %"

    def test_table_has_a_row_for_the_network_and_each_layer(self):
        text = analysis_text(documents.small())
        assert "prunability (paper protocol, units: location)\n" in text
        assert re.findall(r"^(\w+) +4096  (0\.\d+)  (\S+ to \S+)  (█*)·*$", text, re.M) == [
            ("network", "0.665", "0.635 to 0.685", "█" * 13),
            ("a", "0.934", "0.904 to 0.954", "█" * 19),
            ("b", "0.929", "0.899 to 0.949", "█" * 19),
            ("c", "0.772", "0.742 to 0.792", "█" * 15),
        ]

    def test_last_lines_say_what_it_means(self):
        lines = analysis_text(documents.small()).splitlines()
        assert " ".join(lines[-2:]) == (
            "66.5 % of the network's units can be switched off at random before more than 20 % of "
            "the labels change (95 % interval 63.5 % to 68.5 %)."
        )

    def test_curve_stands_where_the_numbers_are(self):
        row = ablation(None, 0.8)
        row["detail"] |= {"levels": [0, 1], "unchanged": [[1, 0]], "chosen_repeat": 0}
        text = analysis_text(document(row))
        rows = drawn(text)
        assert len(rows) == 11
        for column in range(61):  # a straight line from the upper left to the lower right
            (at,) = (i for i, row in enumerate(rows) if row[column : column + 1] == "•")
            assert abs(at - column / 6) <= 0.5
        assert [i for i, row in enumerate(rows) if "╌" in row] == [2]
        lines = text.splitlines()
        (bottom,) = (i for i, line in enumerate(lines) if "└" in line)
        assert lines[bottom].index("┴") == 10 + 48
        said = lines[bottom + 1].index("80.0 %")
        assert said <= 10 + 48 < said + len("80.0 %")

    @pytest.mark.parametrize("value", [0.0, 0.004, 0.5, 0.996, 1.0])
    def test_mark_of_the_crossing_keeps_the_axis_readable(self, value):
        row = ablation(None, value)
        (below,) = (line for line in analysis_text(document(row)).splitlines() if "  0 %  " in line)
        assert below.split("  ")[-1] == "100 %" or below.endswith(" 100 %")
        assert percent(value).replace("\xa0", " ") in below

    def test_curve_with_gaps_is_drawn_through_them(self):
        row = ablation(None, 0.5)
        row["detail"] |= {"levels": [0, 0.3, 1], "unchanged": [[1, None, 0]], "chosen_repeat": 0}
        assert all("•" in line for line in drawn(analysis_text(document(row))))

    def test_undefined_is_said(self):
        text = analysis_text(document(ablation(None, None), plain("m", "a", None)))
        assert len(re.findall(r" undefined$", text, re.M)) == 2
        assert "┴" not in text
        assert "could not be determined" in text.replace("\n", " ")

    def test_metric_with_values_only_needs_no_more(self):
        text = analysis_text(document(plain("label-entropy", None, 3.3219)))
        assert text.splitlines()[-2:] == ["         value", "network  3.322"]

    def test_bars_are_left_out_where_values_are_no_shares(self):
        text = analysis_text(document(plain("m", "a", 0.5), plain("m", "b", -2.0)))
        assert "█" not in text

    def test_accuracy_is_left_out_where_it_is_not_known(self):
        found = documents.small()
        found["data"]["accuracy"] = None
        assert "accuracy" not in analysis_text(found)

    def test_nothing_measured_shows_the_model_and_the_data(self):
        assert len(analysis_text(document()).splitlines()) == 3


class TestInspection:
    def test_table_shows_each_layer_with_what_reads_it(self):
        found = inspection()
        found["sites"][0]["readers"] = ["/b/Conv", "/c/Conv"]
        found["sites"][1]["readers"] = ["last"]
        found["sites"][2]["not_followed"] = ["Reshape: units are split"]
        rows = [line.split() for line in inspection_text(found).splitlines()[4:8]]
        assert rows == [
            ["layer", "op", "units", "places", "weights", "MACs", "read", "by"],
            ["a", "Conv", "32", "28×28", "18.5", "k", "3.61", "M", "b", "+1"],
            ["b", "Conv", "32", "28×28", "18.5", "k", "3.61", "M", "last"],
            ["c", "Conv", "32", "28×28", "18.5", "k", "3.61", "M", "?"],
        ]

    @pytest.mark.parametrize(("batch", "shown"), [(None, "n×1×28×?"), (4, "4×1×28×?")])
    def test_input_shows_the_batch_size_the_file_insists_on(self, batch, shown):
        found = inspection()
        found["model"]["batch"] = batch
        assert f"input  image float32 {shown}\noutput logits\n" in inspection_text(found)

    def test_coupled_layers_are_named_with_the_kind(self):
        found = inspection()
        found["sites"][0]["coupling"] = found["sites"][2]["coupling"] = "coupling 1"
        merge_point = {"tensor": "sum", "kind": "sum", "parts": []}
        names = [found["sites"][i]["name"] for i in (0, 2)]
        found["couplings"] = [
            {"name": "coupling 1", "sites": names, "junctions": [merge_point] * 2}
        ]
        text = inspection_text(found)
        assert "\n  1  sum: a, c\n" in text
        assert [line[-1] for line in text.splitlines()[5:8]] == ["1", "M", "1"]

    def test_nodes_are_gathered_by_the_reason(self):
        skipped = [{"node": f"n{i}", "op": "MatMul", "reason": "left"} for i in range(11)]
        skipped.insert(3, {"node": "g", "op": "Gemm", "reason": "right"})
        lines = inspection_text(inspection(skipped=skipped)).splitlines()
        lines = lines[
            lines.index("not analysed") + 1 : lines.index("", lines.index("not analysed"))
        ]
        assert lines == [
            "  left",
            *(f"    MatMul  n{i}" for i in range(8)),
            "    and 3 more (see -v or --json)",
            "  right",
            "    Gemm  g",
        ]

    def test_the_end_says_in_short_what_to_expect_and_what_to_do(self):
        found = inspection(advice=["give real inputs by --data"])
        found["sites"][1]["held"] = "/n/Softmax: Softmax rescales each unit by all of them"
        found["sites"][1]["cut_only"] = True
        found["branches"] = [{"node": "/Add", "layers": ["b"]}] * 2
        found["factors"] = [{"node": "/c/Conv", "held": None}, {"node": "/d/Conv", "held": "no"}]
        assert inspection_text(found).splitlines()[-7:] == [
            "in short: 3 layers with 96 units will be analysed, 1 node with weights will not;",
            "  units of 2 can be removed by compress, those of 1 cannot (1 of them with",
            "  --refit none):",
            "    1 Softmax rescales each unit by all of them",
            "- compress can also drop the residual branch added at /Add, and factorize 1 of 2",
            "  nodes",
            "- give real inputs by --data",
        ]

    def test_a_long_table_is_cut_unless_all_is_asked_for(self):
        found = inspection()
        found["sites"] = [found["sites"][0] | {"layer": f"layer{i}"} for i in range(40)]
        text, whole = inspection_text(found), inspection_text(found, everything=True)
        assert "layer0 " in text
        assert "layer39 " in text
        assert "layer20 " not in text
        assert "more lines (see -v or --json)" in text
        assert all(f"layer{i} " in whole for i in range(40))

    def test_every_list_is_whole_if_all_is_asked_for(self):
        skipped = [{"node": f"n{i}", "op": "MatMul", "reason": "left"} for i in range(11)]
        found = inspection(skipped=skipped)
        found["sites"][0] |= {"readers": ["p", "q"], "coupling": "coupling 1"}
        name = found["sites"][0]["name"]
        merge_point = {"tensor": "sum", "kind": "sum", "parts": []}
        found["couplings"] = [
            {"name": "coupling 1", "sites": [name] * 11, "junctions": [merge_point]}
        ]
        found["sites"] += [
            found["sites"][1] | {"layer": f"l{i}", "held": f"why {i}"} for i in range(9)
        ]
        found["branches"] = [{"node": f"/Add{i}", "layers": []} for i in range(11)]
        text = " ".join(inspection_text(found, everything=True).split())
        assert "more" not in text
        for one in ("n10", "p, q", "why 8", "/Add10", "sum: " + ", ".join(["a"] * 11)):
            assert one in text
        assert inspection_text(found).count("more") == 4

    def test_model_without_layers_says_so(self):
        found = inspection(sites=[])
        assert "no layer with units was found: there is nothing to analyse" in inspection_text(
            found
        )


@pytest.mark.parametrize(
    "names", [documents.named(), documents.hostile()], ids=["plain", "hostile"]
)
@pytest.mark.parametrize("what", ["analysis", "inspection"])
def test_no_line_is_wider_than_a_terminal(names, what):
    found = documents.large(names)
    if what == "inspection":
        found = inspection(
            sites=[
                site
                | {
                    "coupling": "coupling 1",
                    "writers": ["w"],
                    "readers": list(names[:2]),
                    "not_followed": [],
                    "held": f"{names[0]}: held for a reason that is long enough to be wrapped",
                    "cut_only": True,
                    "parameters": 10**9,
                    "macs": None,
                }
                for site in found["sites"]
            ]
        )
        kinds = [{"tensor": "t", "kind": kind, "parts": []} for kind in ("sum", "concat")]
        sites = [site["name"] for site in found["sites"]]
        found["couplings"] = [{"name": "coupling 1", "sites": sites, "junctions": kinds}]
        found["branches"] = [{"node": n, "layers": list(names)} for n in names]
        found["skipped"] = [
            {"node": n, "op": "ConvTranspose", "reason": "why " * 30} for n in names
        ]
    text = (analysis_text if what == "analysis" else inspection_text)(found)
    assert max(map(len, text.splitlines())) <= 80
    assert {unicodedata.category(c) for c in text.replace("\n", "")}.isdisjoint(
        {"Cc", "Cf", "Cs", "Zl", "Zp"}
    )
    assert text.encode()


def test_long_names_stay_apart_by_their_ends():
    text = analysis_text(documents.large(documents.named()))
    for i in range(120):
        assert f"s.{i}/self_attn/out_proj/MatMul " in text


class TestWords:
    def test_names_of_any_script_are_left_alone(self):
        for name in ("schön", "слой", "畳み込み", "a b", "naïve\u0301"):
            assert readable(name) == name

    @pytest.mark.parametrize("share", [1e-9, 0.0004999, 0.0005, 0.9994999, 0.9995, 1 - 1e-12])
    def test_percent_never_says_none_or_all_of_some(self, share):
        assert percent(share) not in ("0.0\xa0%", "100.0\xa0%", "0\xa0%", "100\xa0%")

    @pytest.mark.parametrize("value", [-1e300, -0.5, 1e-300, 0.001, 9999.9994, 1e4, 1e300])
    def test_number_keeps_what_matters(self, value):
        assert float(number(value)) == pytest.approx(value, rel=5e-3)

    @pytest.mark.parametrize("most", [1, 2, 5, 100])
    def test_short_is_no_longer_than_asked(self, most):
        for name in ("", "a", "a.b.c.d.e.f", "......", "x" * 99):
            assert len(short(name, most)) <= most
