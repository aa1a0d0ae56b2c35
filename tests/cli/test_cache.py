"""``frivkit cache``: what it prints, and what it removes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from frivkit.cache import Cache
from frivkit.cli.cache import command
from frivkit.errors import CacheError, UsageError
from tests.cachekit import KEY, numbered, store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder that the environment names, with three entries of known age."""
    import os

    folder = tmp_path / "cache"
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(folder))
    monkeypatch.delenv("FRIVKIT_CACHE_LIMIT", raising=False)
    cache = Cache(folder)
    for number, size in [(1, 1000), (2, 20_000), (3, 300_000)]:
        path = store(cache, numbered(number), size)
        os.utime(path, (1_700_000_000 + number * 86_400,) * 2)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def sizes(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in folder.iterdir())


def test_ls_shows_each_entry_the_last_used_first_and_the_total(folder: Path) -> None:
    result = run("ls")
    assert result.exit_code == 0
    assert result.stderr == ""
    heading, *rows, total = result.stdout.splitlines()
    assert heading.split("  ")[0] == "WHAT"
    assert [row.split()[:4] for row in rows] == [
        ["entries", "aaaaaaaa", "bbbbbbbb", f"site{number}"] for number in (3, 2, 1)
    ]
    assert rows[0].endswith("2023-11-17 22:13")
    assert f"3 in {folder}: " in total
    assert total.endswith(" of 8.0 GiB")


def test_ls_of_an_empty_cache_says_where_and_makes_nothing(tmp_path: Path) -> None:
    result = run("ls", "--cache", str(tmp_path / "none"))
    assert result.exit_code == 0
    assert result.stdout == f"0 in {tmp_path / 'none'}: 0 B of 8.0 GiB\n"
    assert list(tmp_path.iterdir()) == []


def test_ls_json_on_stdout_is_one_document_and_nothing_else(folder: Path) -> None:
    result = run("ls", "--json", "-")
    document = json.loads(result.stdout)
    assert document["schema"] == "frivkit.cache/1"
    assert document["directory"] == str(folder)
    assert document["limit"] == 8 << 30
    assert document["bytes"] == sum(sizes(folder))
    assert [entry["site"] for entry in document["entries"]] == ["site3", "site2", "site1"]
    first = document["entries"][0]
    assert first["file"] == f"{numbered(3).digest}.h5"
    assert first["last_used"] == "2023-11-17T22:13:20+00:00"
    assert first["extra"] == {"dtype": "float32"}
    assert first["model"] == KEY.model


def test_ls_json_to_a_file_prints_the_table_too(folder: Path, tmp_path: Path) -> None:
    result = run("ls", "--json", str(tmp_path / "out.json"))
    assert "site1" in result.stdout
    assert len(json.loads((tmp_path / "out.json").read_text())["entries"]) == 3


def test_a_json_file_is_not_touched_when_the_cache_cannot_be_listed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    assert run("ls", "--json", str(out), "--cache", str(out)).exit_code == 2
    assert out.read_text() == "before"


def test_a_file_that_cannot_be_read_is_listed_without_its_fields(folder: Path) -> None:
    (folder / f"{'e' * 64}.h5").write_bytes(b"junk")
    assert run("ls").stdout.splitlines()[1].split()[:4] == ["?", "?", "?", "?"]
    (entry, *_) = json.loads(run("ls", "--json", "-").stdout)["entries"]
    assert (entry["what"], entry["bytes"]) == (None, 4)


def test_control_characters_of_a_tensors_name_do_not_reach_the_terminal(folder: Path) -> None:
    store(Cache(folder), replace(KEY, site="a\x1b[31m\nb"))
    result = run("ls")
    assert "\x1b" not in result.stdout
    assert "a?[31m?b" in result.stdout


def test_prune_keeps_what_fits_and_says_what_went(folder: Path) -> None:
    small, middle, _ = sizes(folder)
    result = run("prune", "--size", "310kB")
    assert result.exit_code == 0
    assert result.stdout.startswith("removed 2 files, ")
    assert result.stdout.endswith(f", from {folder}\n")
    assert len(sizes(folder)) == 1
    assert small + middle == pytest.approx(float(result.stdout.split()[3]) * 1024, rel=0.01)


def test_prune_without_a_size_goes_down_to_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("prune").stdout == f"removed 0 files, 0 B, from {folder}\n"
    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", str(sum(sizes(folder)) - 1))
    assert run("prune").stdout.startswith("removed 1 file, ")
    assert len(sizes(folder)) == 2


def test_clear_removes_the_entries_and_no_other_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    result = run("clear")
    assert result.exit_code == 0
    assert result.stdout.startswith("removed 3 files, ")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("subcommand", ["ls", "prune", "clear"])
def test_the_option_goes_before_the_environment(
    folder: Path, tmp_path: Path, subcommand: str
) -> None:
    result = run(subcommand, "--cache", str(tmp_path / "other"))
    assert result.exit_code == 0
    assert str(tmp_path / "other") in result.stdout
    assert len(sizes(folder)) == 3


@pytest.mark.parametrize(
    "arguments",
    [("prune", "--size", "lots"), ("prune", "--size", "-1"), ("ls", "--nothing"), ("burn",)],
)
def test_a_wrong_command_line_exits_2_and_removes_nothing(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert arguments[-1] in result.stderr
    assert len(sizes(folder)) == 3


def test_a_malformed_limit_is_a_usage_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", "lots")
    result = run("prune")
    assert isinstance(result.exception, UsageError)
    assert len(sizes(folder)) == 3


def test_a_folder_that_cannot_be_read_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path / "file"))
    result = run("ls")
    assert isinstance(result.exception, CacheError)
    assert str(result.exception) == f"cannot read the cache in {tmp_path}/file: Not a directory"


def test_the_command_imports_nothing_heavy() -> None:
    check = (
        "import sys, frivkit.cli.cache\n"
        "heavy = {'numpy', 'h5py', 'torch', 'onnx', 'onnxruntime', 'sklearn', 'filelock'}\n"
        "sys.exit(f'{heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
