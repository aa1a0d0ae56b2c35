"""What is read from the results of a sweep, and which of it a figure takes."""

import json

import pytest

from frivkit.digests import with_checksum
from frivkit.errors import DataError
from frivkit.experiments.figure import Figure, read_curves
from frivkit.experiments.gain import WidthCurve
from frivkit.experiments.results import encoded_row
from tests.papercurves import TARGETS, paper_rows, write_results

ROW = {"figure": "4d", "panel": "prunable", "series": "MLP", "width": 1, "trial": 0, "value": 0.5}


def as_line(row):
    """Return a row as a sweep writes it; a text, and what no sweep writes, as it is."""
    if isinstance(row, str):
        return row.encode()
    is_finite = row.get("value") == row.get("value")
    return encoded_row(row) if is_finite else json.dumps(row).encode() + b"\n"


def read(folder, *lines):
    (folder / "results.jsonl").write_bytes(b"".join(map(as_line, lines)))
    return read_curves(folder)


def test_every_curve_of_the_paper_comes_back_as_it_was_written(tmp_path):
    found = read_curves(write_results(tmp_path))
    written = {(row["figure"], row["panel"], row["series"]) for row in paper_rows()}
    assert {(curve.figure, curve.panel, curve.series) for curve in found} == written
    assert len(found) == len(written)
    (he,) = (c for c in found if (c.figure, c.panel, c.series) == ("4c", "redundant", "He-N"))
    wanted = TARGETS["plots"]["red/cifar_init"]
    place = wanted["labels"].index("He-N")
    assert [w * y / 4 for w, y in zip(he.widths, he.means, strict=True)] == pytest.approx(
        wanted["Y"][place]
    )
    assert [w * y / 4 for w, y in zip(he.widths, he.deviations, strict=True)] == pytest.approx(
        wanted["E"][place]
    )
    assert [c.series for c in found if c.fixed] == ["13", "15"] * 2


def test_rows_come_in_any_order_and_widths_are_those_of_the_panel(tmp_path):
    other = {**ROW, "series": "CNN", "width": 0.5}
    first, second = read(tmp_path, {**ROW, "width": 2}, other, ROW)
    assert first == WidthCurve("prunable", "MLP", (0.5, 1, 2), ((), (0.5,), (0.5,)), "4d")
    assert second == WidthCurve("prunable", "CNN", (0.5, 1, 2), ((0.5,), (), ()), "4d")


def test_rows_without_a_panel_and_empty_lines_are_passed_over(tmp_path):
    assert len(read(tmp_path, {"seconds": 3}, "\n", ROW)) == 1


def test_last_line_that_breaks_off_is_passed_over(tmp_path):
    (curve,) = read(tmp_path, ROW, '{"figure": "4d", "pan')
    assert curve.values == ((0.5,),)


def test_trial_that_comes_twice_counts_as_it_was_last(tmp_path):
    (curve,) = read(tmp_path, ROW, {**ROW, "trial": 1}, {**ROW, "value": 0.25})
    assert sorted(curve.values[0]) == [0.25, 0.5]


def journal(*runs):
    made = {"runs": [{"figures": list(labels), **more} for labels, more in runs]}
    return json.dumps(with_checksum(made))


def test_reductions_of_the_last_run_of_a_figure_become_its_note(tmp_path):
    less, least = ({"scale": {"reductions": words}} for words in ("less", "least"))
    runs = (("4d", "4a"), least), (("4d",), less), (("E1a",), {})
    (tmp_path / "run.json").write_text(journal(*runs))
    curves = read(tmp_path, ROW, {**ROW, "figure": "4a"}, {**ROW, "figure": "E1a"})
    assert [curve.note for curve in curves] == ["less", "least", ""]
    assert curves[0].complement().note == "less"


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": [1]}', '{"runs": [{"figures": 1}]}'])
def test_journal_that_is_not_valid_is_refused(tmp_path, text):
    if text.startswith("{") and text.endswith("}"):
        text = json.dumps(with_checksum(json.loads(text)))
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json is no journal of a sweep"):
        read(tmp_path, ROW)


@pytest.mark.filterwarnings("ignore:.*no checksum")  # a sweep writes no NaN
@pytest.mark.parametrize("value", [None, float("nan")])
def test_trial_without_a_value_is_left_out_and_its_width_stays(tmp_path, value):
    (curve,) = read(tmp_path, ROW, {**ROW, "width": 2, "value": value})
    assert (curve.widths, curve.values) == ((1, 2), ((0.5,), ()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no json\n", r"cannot be read \(line 2: Expecting value"),
        ("[1]\n", r"cannot be read \(line 2: \[1\] is no JSON object"),
        ({"panel": "prunable"}, "line 2 of .* has a panel but no 'figure'"),
        ({**ROW, "series": 5}, "line 2 of .* has series 5; it must be a text"),
        ({**ROW, "value": "0.5"}, "line 2 of .* has value '0.5'; it must be a number"),
        ({**ROW, "value": True}, "line 2 of .* has value True; it must be a number"),
        ({**ROW, "width": None}, "line 2 of .* has the width None"),
        ({**ROW, "width": -1}, "line 2 of .* has the width -1"),
        ({**ROW, "value": 50}, "'MLP' of 'prunable' holds the value 50.0"),
    ],
)
def test_row_that_cannot_be_is_named_by_its_line(tmp_path, line, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, ROW, line)


def test_folder_without_results_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no results\.jsonl; give the folder that a sweep"):
        read_curves(tmp_path)


class TestChoice:
    curves = (
        WidthCurve("prunable", "MLP", (1,), ((0.25,),), "4A"),
        WidthCurve("redundant", "MLP", (1,), ((0.5,),), "4a"),
        WidthCurve("prunable", "MLP", (1,), ((0.75,),), "4b"),
        WidthCurve("test accuracy", "MLP", (1,), ((0.9,),), "4a"),
    )

    def test_figure_without_wishes_takes_all(self):
        assert Figure(print).choose(self.curves) == list(self.curves)

    def test_figure_takes_what_is_measured_for_it(self):
        found = Figure(print, ("4a",), ("prunable", "redundant")).choose(self.curves)
        assert found == list(self.curves[:2])

    def test_other_units_follow_from_the_frivolous_unless_they_were_written(self):
        others = Figure(print, panels=("not prunable",))
        assert [c.values for c in others.choose(self.curves)] == [((0.75,),), ((0.25,),)]
        written = WidthCurve("not prunable", "MLP", (1,), ((0.6,),), "4b")
        found = others.choose([*self.curves, written])
        assert [c.values for c in found] == [((0.75,),), ((0.6,),)]
