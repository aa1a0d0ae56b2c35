"""One changed byte in a file that is read back gives no other content: an error, or the same.

Cache entries and activation files, whose readers hold more, have tests of their own.
"""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frivkit.cli.output import write_json
from frivkit.compression.plan_file import read_document, warnings_of, write_plan
from frivkit.digests import digest_state, with_checksum
from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.arrays import write_arrays
from frivkit.experiments.figure import read_curves
from frivkit.experiments.results import (
    Results,
    encoded_journal,
    encoded_row,
    read_journal,
    read_rows,
)
from frivkit.report.comparison import read_analysis
from frivkit_featurevis import figures
from frivkit_featurevis.pieces import packed, read_piece
from frivkit_trainers.loaders import ShuffledLoader
from frivkit_trainers.snapshot import NAME, Snapshot, TrainingState
from tests.documents import document, plain

ROWS = [
    {"work": "a", "rows": 2, "width": 1, "measurement": "m", "value": 0.25},
    {"work": "a", "rows": 2, "width": 2, "measurement": "m", "value": 12345},
    {"figure": "4d", "panel": "p", "series": "s", "width": 1, "trial": 0, "value": None},
    {"figure": "4d", "panel": "p", "series": "s", "width": 2, "trial": 0, "value": 0.75},
]
JOURNAL = {
    "schema": "frivkit.sweep/1",
    "settings": {"seed": 3},
    "runs": [{"figures": ["4d"], "scale": {"reductions": "few"}, "seconds": 1.5}],
}
PLAN = {"schema": "frivkit.plan/1", "model": {"sha256": "a" * 64}, "predicted_error": 0.25}
VISUALIZATION = {"schema": "frivkit.visualization/1", "layers": [{"after": [1.5]}]}
ANALYSIS = document(plain("prunability", None, 0.5), plain("prunability", "a", 0.25))
PIECE = tuple(np.arange(4, dtype=dtype) / 7 for dtype in ("float32", "float64", "float64"))


def curves(path: Path) -> Any:
    return read_curves(path.parent)


def rows_of_a_sweep(path: Path) -> Any:
    """Return what a sweep goes on from: it trains the rest, and draws its figures, again."""
    whole = Results(path).rows
    return ROWS if whole == [row for row in ROWS if row in whole] else whole


def write_snapshot(path: Path) -> None:
    snapshot(path).save(TrainingState(1, [0.5]))


def read_snapshot(path: Path) -> Any:
    restored = snapshot(path)
    state = restored.load()
    weights = {name: value.tolist() for name, value in restored.network.state_dict().items()}
    return state.epochs, state.losses, weights


def snapshot(path: Path) -> Snapshot:
    class Nothing(ShuffledLoader):
        state = ""

        def __init__(self) -> None:
            """Read no data."""

    torch.manual_seed(0)
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(network.parameters())
    return Snapshot(path.parent, "{}", network, optimiser, Nothing(), "cpu")


def plan(path: Path) -> Any:
    for warning in warnings_of(path):
        warnings.warn(warning, stacklevel=2)
    return read_document(path)


def arrays_of(path: Path) -> Any:
    """Return what nothing in frivkit reads but people do, by the digest that is documented."""
    if digest_state(path) == "wrong":
        raise DataError("damaged")
    return "whole"


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, how an example is written, and how it is read."""

    name: str
    write: Any
    read: Any


KINDS = {
    "analysis": Kind(
        "a.json", lambda path: write_json(with_checksum(ANALYSIS), str(path)), read_analysis
    ),
    "rows": Kind(
        "r.jsonl", lambda path: path.write_bytes(b"".join(map(encoded_row, ROWS))), read_rows
    ),
    "rows of a sweep": Kind(
        "results.jsonl",
        lambda path: path.write_bytes(b"".join(map(encoded_row, ROWS))),
        rows_of_a_sweep,
    ),
    "rows of a figure": Kind(
        "results.jsonl", lambda path: path.write_bytes(b"".join(map(encoded_row, ROWS))), curves
    ),
    "journal": Kind(
        "run.json", lambda path: path.write_bytes(encoded_journal(JOURNAL)), read_journal
    ),
    "plan": Kind("plan.json", lambda path: write_plan(PLAN, path), plan),
    "visualization": Kind(
        "results.json",
        lambda path: write_json(with_checksum({**VISUALIZATION, "provenance": {}}), str(path)),
        lambda path: figures._read(path.parent),
    ),
    "piece": Kind(
        "p.npz",
        lambda path: path.write_bytes(packed(*PIECE)),
        lambda path: [part.tolist() for part in read_piece(path)],
    ),
    "arrays": Kind(
        "a.h5",
        lambda path: write_arrays(path, {"x": np.arange(3.0)}, settings={}, provenance={}),
        arrays_of,
    ),
    "checkpoint": Kind(NAME, write_snapshot, read_snapshot),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_an_error_or_changes_nothing(kind, tmp_path):
    path = tmp_path / KINDS[kind].name
    KINDS[kind].write(path)
    whole, due = path.read_bytes(), KINDS[kind].read(path)
    refused = 0
    step = max(1, len(whole) // 250)
    for position in range(len(whole)):
        if position % step and len(whole) - position > 100:
            continue
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = KINDS[kind].read(path)
            except (FrivkitError, ValueError):
                refused += 1
                continue
        # The name of a checksum may be what was hit: then the file is named as unchecked.
        assert found == due or (told and str(path.name) in str(told[0].message)), position
        if kind != "plan":  # which is there to be edited, so a change is named and taken
            assert _without_unknown(found, due) == due, position
            assert not told or "damage" in str(told[0].message)
    assert kind == "plan" or refused > len(whole) / step / 2


def _without_unknown(found: Any, due: Any) -> Any:
    """Return what was found without keys that are not due: a damaged name of a checksum is one."""
    if isinstance(found, dict) and isinstance(due, dict):
        return {key: _without_unknown(found[key], due[key]) for key in due if key in found}
    if isinstance(found, list | tuple) and isinstance(due, list | tuple):
        pairs = zip(found, due, strict=True)
        return type(due)(_without_unknown(one, other) for one, other in pairs)
    return found


@pytest.mark.parametrize("kind", ["rows", "rows of a sweep", "journal", "analysis", "piece"])
def test_a_file_without_its_digest_is_read_and_named(kind, tmp_path):
    path = tmp_path / KINDS[kind].name
    KINDS[kind].write(path)
    due, content = KINDS[kind].read(path), path.read_bytes()
    if kind == "piece":
        content = content[:-81]
    elif kind.startswith("rows"):
        content = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    else:
        plain_document = json.loads(content)
        plain_document.pop("crc32", None)
        plain_document.get("provenance", {}).pop("crc32", None)
        content = json.dumps(plain_document).encode()
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{path.name} cannot be checked for damage: .* has no|of"):
        assert KINDS[kind].read(path) == due


def test_an_indented_document_keeps_its_checksum_and_a_changed_one_says_the_way_out(tmp_path):
    path = tmp_path / "a.json"
    write_json(with_checksum(ANALYSIS), str(path))
    stored = json.loads(path.read_bytes())
    path.write_text(json.dumps(stored, indent=7, sort_keys=True))
    assert read_analysis(path) == ANALYSIS
    path.write_text(json.dumps({**stored, "model": {**stored["model"], "path": "mine.onnx"}}))
    with pytest.raises(DataError, match=r"a.json was changed .* take out crc32"):
        read_analysis(path)


def test_an_edited_plan_is_applied_and_named(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(PLAN, path)
    assert read_document(path) == PLAN
    assert warnings_of(path) == ()
    edited = json.loads(path.read_bytes()) | {"predicted_error": 0.5}
    path.write_text(json.dumps(edited))
    assert read_document(path) == PLAN | {"predicted_error": 0.5}
    assert "plan.json is not as frivkit wrote it: it was edited, or is" in warnings_of(path)[0]
    path.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="nested too deeply"):
        read_document(path)


def test_the_line_that_a_kill_cut_is_ignored_and_a_damaged_one_named(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = [encoded_row(row) for row in ROWS]
    path.write_bytes(b"".join(lines) + b'{"work": "a", "ro')
    assert [row for _, row in read_rows(path)] == ROWS
    assert Results(path).rows == ROWS
    path.write_bytes(lines[0] + lines[1].replace(b"12345", b"12845") + lines[2])
    with pytest.raises(DataError, match=r"line 2 cannot be read \(its checksum is wrong"):
        Results(path)
    path.write_bytes(b"".join(lines)[:-1] + b"\x1a")
    with pytest.raises(ValueError, match="line 4: its line break is damaged"):
        read_rows(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rows of a sweep", "checkpoint"}))
def test_a_pipe_in_the_place_of_a_file_does_not_wait(kind, tmp_path):
    path = tmp_path / KINDS[kind].name
    os.mkfifo(path)
    with pytest.raises((FrivkitError, OSError)):
        KINDS[kind].read(path)
