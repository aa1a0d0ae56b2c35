"""What goes to stdout, what to stderr, and what happens when nobody listens."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract import check_analysis, results
from tests.program import Outcome, ended, start

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")


def test_json_on_stdout_is_one_document_whatever_there_is_to_say(files: Path, frivkit: Run) -> None:
    ran = frivkit("analyze", "net.onnx", "--json", "-", "-v")
    check_analysis(json.loads(ran.out))
    assert "warning: no data was named" in ran.err
    assert "prunability of layer: " in ran.err
    assert len(ran.document["data"]["warnings"]) == 1
    del files


@pytest.mark.parametrize("command", ["inspect", "plugins", "doctor"])
def test_other_commands_write_one_document_too(files: Path, frivkit: Run, command: str) -> None:
    ran = frivkit(command, *(["net.onnx"] if command == "inspect" else []), "--json", "-")
    assert ran.code == 0
    assert json.loads(ran.out)["schema"].startswith("frivkit.")
    assert ran.err == ""
    del files


def test_quiet_run_says_nothing_but_errors(files: Path, frivkit: Run) -> None:
    for _ in range(2):  # the second has something to tell about the cache
        ran = frivkit("analyze", "net.onnx", "-q")
        assert (ran.code, ran.err) == (0, "")
        assert "prunability" in ran.out
    assert "missing.onnx" in frivkit("analyze", "missing.onnx", "-q").error()
    del files


def test_warnings_of_a_metric_are_quiet_too(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frivkit_ablation.prunability import METRIC, measure

    def careless(study, options):
        warnings.warn("divide by zero encountered in log2", RuntimeWarning, stacklevel=1)
        yield from measure(study, options)

    monkeypatch.setattr(
        "frivkit_ablation.prunability.METRIC", type(METRIC)(careless, METRIC.options)
    )
    ran = frivkit("analyze", "net.onnx", *DATA, "-q")
    assert (ran.code, ran.err) == (0, "")
    del files


def test_what_a_metric_prints_stays_out_of_the_results(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frivkit_ablation.prunability import METRIC, measure

    def talkative(study, options):
        print("hello from a plugin")
        yield from measure(study, options)

    monkeypatch.setattr(
        "frivkit_ablation.prunability.METRIC", type(METRIC)(talkative, METRIC.options)
    )
    ran = frivkit("analyze", "net.onnx", *DATA, "--json", "-")
    check_analysis(json.loads(ran.out))
    assert "hello from a plugin" in ran.err
    del files


def test_debug_shows_where_an_error_arose(files: Path, frivkit: Run) -> None:
    ran = frivkit("analyze", "missing.onnx", "--debug")
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("frivkit: model file missing.onnx does not exist")
    assert frivkit("analyze", "missing.onnx").error() == lines[-1]
    del files


def test_bug_is_one_line_that_says_so(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("at\nhome")

    monkeypatch.setattr("frivkit.measure.pipeline.find_sites", crash)
    ran = frivkit("inspect", "net.onnx")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "frivkit: a bug in frivkit or a plugin: ZeroDivisionError: at home; "
        "run again with --debug and report it\n"
    )
    del files


def test_end_of_a_file_inside_is_no_interruption(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise EOFError("file ends too soon")

    monkeypatch.setattr("frivkit.measure.pipeline.find_sites", cut)
    ran = frivkit("inspect", "net.onnx")
    assert ran.code == 1
    assert "file ends too soon" in ran.err
    assert "interrupted" not in ran.err
    del files


def test_closed_pipe_ends_quietly_and_the_json_is_written(files: Path) -> None:
    pipe, writing = os.pipe()
    os.close(pipe)  # as `| head` leaves it
    with os.fdopen(writing, "wb") as closed:
        process = start("analyze", "net.onnx", *DATA, "--json", "result.json", stdout=closed)
    ran = ended(process)
    assert (ran.code, ran.err) == (1, "")
    check_analysis(json.loads((files / "result.json").read_text()))


def test_full_stdout_is_one_line_and_the_json_is_written(files: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = ended(start("analyze", "net.onnx", *DATA, "--json", "result.json", stdout=full))
    assert ran.code == 1
    assert "No space left on device" in ran.error()
    check_analysis(json.loads((files / "result.json").read_text()))


def test_closed_streams_change_nothing(files: Path) -> None:
    line = 'exec "$0" -m frivkit analyze net.onnx --data npz:x.npz -q --json result.json >&- 2>&-'
    assert subprocess.run(["sh", "-c", line, sys.executable], check=False).returncode == 0
    check_analysis(json.loads((files / "result.json").read_text()))


def test_terminal_that_knows_few_characters_gets_what_it_can_show(files: Path) -> None:
    ran = ended(
        start("analyze", "net.onnx", *DATA, env={"PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    )
    assert (ran.code, ran.err) == (0, "")
    assert "prunability" in ran.out
    assert "?" in ran.out
    del files


def test_same_command_gives_the_same_results(files: Path, frivkit: Run) -> None:
    first, second = (
        frivkit("analyze", "net.onnx", *DATA, "--json", "-", "--no-cache") for _ in range(2)
    )
    assert results(first.document) == results(second.document)
    assert first.err == second.err == ""
    del files
