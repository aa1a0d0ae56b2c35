"""One changed byte in the files of a sweep gives no other number: an error, or the same values."""

import json

import numpy as np
import pytest

from frivkit.digests import digest_state
from frivkit.errors import DataError
from frivkit.experiments.arrays import write_arrays
from frivkit.experiments.results import (
    Results,
    decoded_journal,
    decoded_row,
    encoded_journal,
    encoded_row,
)

ROWS = [
    {"work": "a", "rows": 2, "width": 1, "value": 0.25},
    {"work": "a", "rows": 2, "width": 2, "value": 12345},
    {"figure": "4d", "panel": "p", "value": None},
]


def flips(content: bytes):
    """Yield the content with one bit of each byte changed, for two bits."""
    for position in range(len(content)):
        for bit in (position % 8, (position + 3) % 8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def known(row):
    """Return the fields of a row that its writer gave: damage may add one beside them."""
    return {name: row[name] for name in ("work", "rows", "width", "value", "figure") if name in row}


def test_rows_come_back_or_are_refused():
    for row in ROWS:
        for line in flips(encoded_row(row)[:-1]):
            try:
                found = decoded_row(line)
            except ValueError:
                continue
            assert known(found) == known(row)


def test_a_journal_comes_back_or_is_refused():
    journal = {"schema": "frivkit.sweep/1", "settings": {"seed": 3}, "runs": [{"seconds": 1.5}]}
    assert decoded_journal(encoded_journal(journal)) == journal
    for content in flips(encoded_journal(journal)):
        try:
            found = decoded_journal(content)
        except ValueError:
            continue
        assert {name: found[name] for name in journal} == journal


def test_rows_of_earlier_versions_have_no_checksum_which_is_said(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.warns(UserWarning, match="3 of its 3 lines have no checksum"):
        assert Results(path).rows == ROWS
    path.write_bytes(b"".join(map(encoded_row, ROWS)) + b'{"work": "a", "ro')  # cut by a kill
    assert Results(path).rows == ROWS
    assert decoded_journal(b'{"runs": []}') == {"runs": []}


def test_a_damaged_row_is_refused_by_its_line(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = [encoded_row(row) for row in ROWS]
    path.write_bytes(lines[0] + lines[1].replace(b"12345", b"12845") + lines[2])
    with pytest.raises(DataError, match=r"line 2 cannot be read \(its checksum is wrong"):
        Results(path)


def test_arrays_have_a_digest(tmp_path):
    path = tmp_path / "arrays.h5"
    write_arrays(path, {"levels": np.arange(3.0)}, settings={}, provenance={})
    assert digest_state(path) == "right"
