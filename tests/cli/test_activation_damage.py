"""Damaged activation files, finished and unfinished: an error, or the arrays that are due."""

import pytest

from frivkit.digests import LINE_BYTES, digest_state, split_digest
from tests.cli.test_activations import arrays, folder, run, same, stop_at

__all__ = ["folder"]  # the fixture, used by each test


@pytest.mark.filterwarnings("always")
def test_one_changed_byte_of_a_finished_file_is_found(folder, capsys):
    assert run("--layer", "b", "--examples", "3") == 0
    path = folder / "acts.h5"
    whole = path.read_bytes()
    due = arrays(path)
    for position in range(0, len(whole), 61):
        path.write_bytes(flipped(whole, position))
        if digest_state(path) != "wrong":
            assert position >= len(whole) - LINE_BYTES
            assert same(arrays(path), due)
    path.write_bytes(flipped(whole, 5000))
    assert run("--layer", "b", "--examples", "3") == 1
    assert "acts.h5 is damaged: give another -o, or --force" in capsys.readouterr().err
    path.write_bytes(split_digest(whole)[0])  # as an earlier version wrote it
    capsys.readouterr()
    assert run("--layer", "b", "--examples", "3") == 0
    assert "acts.h5 cannot be checked for damage: it has no digest" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".part", ".part.log"])
def test_a_changed_byte_of_an_unfinished_file_never_reaches_the_finished_one(
    suffix, folder, monkeypatch
):
    stop_at(3, KeyboardInterrupt(), monkeypatch)
    assert run("--layer", "b") == 130
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    part, log = folder / "acts.h5.part", folder / "acts.h5.part.log"
    held = {part: part.read_bytes(), log: log.read_bytes()}
    assert run("--layer", "b") == 0
    due = arrays(folder / "acts.h5")
    damaged = folder / f"acts.h5{suffix}"
    whole = held[damaged]
    refused = 0
    for position in range(11, len(whole), len(whole) // 6):
        (folder / "acts.h5").unlink(missing_ok=True)
        for path, content in held.items():
            path.write_bytes(content)
        damaged.write_bytes(flipped(whole, position))
        if run("--layer", "b") == 0:
            assert same(arrays(folder / "acts.h5"), due), position
        else:
            refused += 1
    assert refused > 0


def flipped(whole: bytes, position: int) -> bytes:
    changed = bytearray(whole)
    changed[position] ^= 1 << position % 8
    return bytes(changed)
