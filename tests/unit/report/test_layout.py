"""Text as terminals show it: columns that characters take, widths that terminals have."""

import unicodedata

import pytest

from frivkit.report.layout import cells, columns, cut, fitted, padded, room, wrapped
from frivkit.report.terminal import analysis_text
from tests.documents import document, plain

CHINESE, EMOJI = "编码器.第十一层.输出", "block🚀"


def east_asian(text: str) -> int:
    """Count columns by the Unicode tables of Python, independently of rich."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


@pytest.mark.parametrize("text", ["dense", CHINESE, EMOJI, "größe", "e\u0301te\u0301", "×…█"])
def test_cells_are_those_of_unicode(text):
    assert cells(text) == east_asian(text)
    assert east_asian(padded(text, 30)) == east_asian(padded(text, 30, right=True)) == 30


def test_columns_are_aligned_whatever_the_characters_take():
    rows = [["layer", "units"], [CHINESE, "16"], [EMOJI, "8"], ["fc", "1024"]]
    lines = columns(rows, right={1}, names={0})
    assert len({east_asian(line) for line in lines}) == 1
    assert lines[1] == f"{CHINESE}     16"


@pytest.mark.parametrize("most", range(1, 22))
def test_cut_names_keep_their_end_and_fit(most):
    for name in (CHINESE, EMOJI, "encoder.layer.11.output.dense"):
        short = cut(name, most)
        assert east_asian(short) <= max(most, 1)
        assert short == name or (short[0] == "…" and name.endswith(short[1:]))


def test_prose_of_wide_characters_fits():
    text = " ".join([CHINESE, "and", EMOJI] * 20)
    lines = wrapped(text, "  ")
    assert max(map(east_asian, lines)) <= 80
    assert " ".join(line.strip() for line in lines) == text
    assert all(line.startswith("  ") for line in lines[1:])


LONG = "encoder.layer.11.attention.output.dense.of.the.second.tower.in.this.network"


def test_table_takes_the_room_that_there_is():
    rows = [["layer", "op"], [LONG, "MatMul"]]
    for most in (40, 60, 200):
        with room(most):
            _, line = columns(rows, right=set(), names={0})
        assert len(line) <= most
        assert (LONG in line) is (most == 200)


def test_programs_read_names_that_are_whole():
    with room(None):
        assert fitted(LONG, 20) == LONG
        assert columns([["layer"], [LONG]], right=set(), names={0})[1] == LONG
        assert LONG * 2 in wrapped(f"a sentence with {LONG * 2} in it", "")
    assert fitted(LONG, 20) != LONG


def test_analysis_for_programs_has_every_name_whole():
    found = document(plain("dead-units", LONG * 2, 0.5), layers=(LONG * 2,))
    assert LONG * 2 not in analysis_text(found)
    with room(None):
        assert LONG * 2 in analysis_text(found)
