"""Tables of single units: joined over metrics, complete as CSV, cut and safe on the page."""

import csv
import io
import json
import re

import pytest

from frivkit.report.analysis_html import MOST_UNITS, analysis_page
from frivkit.report.unit_table import unit_csv, unit_tables
from tests import documents
from tests.documents import document, plain

SECTION = re.compile(r'<section class="units".*?</section>', re.DOTALL)


def of_units(metric, layer, units="map", **columns):
    """Return a measurement whose detail has those columns."""
    return plain(metric, layer, 0.5, units=units, detail={"per_unit": columns})


def read(found):
    return list(csv.DictReader(io.StringIO(unit_csv(unit_tables(found)))))


def section(found):
    (text,) = SECTION.findall(analysis_page(found))
    return text


def cells(text):
    rows = re.findall(r"<tr>((?:<td>.*?</td>)+)</tr>", text)
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows]


class TestTable:
    def test_metrics_are_joined_by_layer_and_unit(self):
        found = document(
            of_units("m", None, value=[9.0]),
            of_units("m", "a", value=[0.1, None], other=[3, 4]),
            of_units("m", "b", value=[0.3]),
            of_units("k", "b", best=["x"]),
        )
        assert read(found) == [
            dict(zip(["layer", "unit", "units", "m", "m.other", "k.best"], row, strict=True))
            for row in (
                ("a", "0", "map", "0.1", "3", ""),
                ("a", "1", "map", "", "4", ""),
                ("b", "0", "map", "0.3", "", "x"),
            )
        ]

    def test_each_selector_has_rows_of_its_own(self):
        found = document(
            of_units("m", "b", value=[0.1, 0.2]),
            of_units("k", "b", units="location", value=[1, 2, 3]),
            of_units("k", "a", units="location", value=[4]),
        )
        rows = [
            (row["layer"], row["units"], row["unit"], row["m"], row["k"]) for row in read(found)
        ]
        assert rows == [
            ("a", "location", "0", "", "4"),  # in the order of the network
            ("b", "map", "0", "0.1", ""),
            ("b", "map", "1", "0.2", ""),
            ("b", "location", "0", "", "1"),
            ("b", "location", "1", "", "2"),
            ("b", "location", "2", "", "3"),
        ]

    def test_columns_of_a_metric_stand_together_wherever_they_first_occur(self):
        found = document(
            of_units("m", "a", value=[1]), of_units("k", "a", value=[1]),
            of_units("m", "b", late=[1]),
        )  # fmt: skip
        assert list(read(found)[0]) == ["layer", "unit", "units", "m", "m.late", "k"]

    def test_numbers_keep_all_their_digits(self):
        values = [0.1 + 0.2, 1e-300, 123456789, -0.0]
        found = read(document(of_units("m", "a", value=values)))
        assert [float(row["m"]) for row in found] == values
        assert found[0]["m"] == "0.30000000000000004"

    def test_names_that_need_quotes_are_read_back_unchanged(self):
        names = ('a,"b"\n\r\x1b[2J', "=1+1", "é")
        found = document(*(of_units("m", name, value=[1]) for name in names), layers=names)
        assert [row["layer"] for row in read(found)] == list(names)

    @pytest.mark.parametrize(
        "per_unit", [None, [1], {"value": 3}, {"value": [[1]]}, {"value": []}, {"value": [{}]}]
    )
    def test_what_is_no_column_is_passed_over(self, per_unit):
        found = document(plain("m", "a", 0.5, detail={"per_unit": per_unit}))
        assert unit_tables(found) == []
        assert not SECTION.search(analysis_page(found))

    def test_columns_of_unequal_length_leave_cells_empty(self):
        (row, other) = read(document(of_units("m", "a", value=[1, 2], short=[3])))
        assert (row["m.short"], other["m.short"]) == ("3", "")


class TestPage:
    def test_layer_has_a_folded_table_in_the_order_of_its_units(self):
        text = section(
            document(
                of_units("m", "a", value=[0.25, None], most_like=[1, 0]),
                of_units("k", "a", value=[1e-9, 2.0]),
            )
        )
        assert "<details>\n<summary>a <span" in text
        assert "2 units (map)" in text
        assert re.findall(r"<th[^>]*>(.*?)</th>", text) == ["unit", "m", "k", "value", "most like"]
        assert 'colspan="2">m<' in text
        assert 'rowspan="2">k<' in text
        assert cells(text) == [["0", "0.250", "1", "1.00e-09"], ["1", "–", "0", "2.000"]]

    def test_layer_of_many_units_shows_the_first_and_says_where_the_rest_is(self):
        text = section(document(of_units("m", "a", value=list(range(MOST_UNITS + 1)))))
        assert len(cells(text)) == MOST_UNITS
        assert f"the first {MOST_UNITS} of {MOST_UNITS + 1} units; " in text
        assert "--table FILE.csv" in text

    def test_layer_that_fits_says_nothing_of_a_rest(self):
        text = section(document(of_units("m", "a", value=list(range(MOST_UNITS)))))
        assert len(cells(text)) == MOST_UNITS
        assert "--table" not in text

    def test_hostile_names_and_values_are_escaped(self):
        def built(names):
            return section(
                document(
                    *(
                        of_units(name, name, units=name, **{name: [name], "n": [1]})
                        for name in names
                    ),
                    layers=names,
                )
            )

        hostile = built(documents.HOSTILE)
        tags = re.findall(r"<[^>]*>", re.sub(r'"[^"]*"', "", hostile))
        harmless = built(tuple(f"n{i}" for i in range(len(documents.HOSTILE))))
        assert tags == re.findall(r"<[^>]*>", re.sub(r'"[^"]*"', "", harmless))
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\u2028\ud800]", hostile)

    def test_measurements_table_does_not_repeat_it(self):
        found = document(of_units("m", "a", value=[0.123456]))
        page = analysis_page(found)
        assert "0.1235" not in page
        assert json.dumps(found["measurements"][0]["detail"]) not in page
