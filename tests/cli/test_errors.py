"""What goes wrong ends in one line and the right exit code, and loses nothing that was there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from frivkit.runtime.selftest import run_once
from tests.handmade import written
from tests.program import CLASSES, EXAMPLES, INPUTS, Outcome, write_mlp, write_rows

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder: "loses nothing" means that this stays as it is."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def hostile(files: Path) -> Path:
    """Return the working folder with everything in it that a user might hand in by mistake."""
    (files / "folder.onnx").mkdir()
    (files / "text.onnx").write_text("This is no model.\n")
    (files / "empty.onnx").write_bytes(b"")
    whole = (files / "net.onnx").read_bytes()
    (files / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (files / "page.html").write_text("<html></html>")
    logits = "g (float[N, 8] x) => (float[N, 4] y) { y = Gemm <transB = 1> (x, w) }"
    onnx.save(written(logits, w=(CLASSES, INPUTS)), files / "logits.onnx")
    write_mlp(files / "log.onnx", last="Log")
    x = np.load(files / "x.npz")["x"]
    np.savez(files / "shape.npz", x=x[:, :5])
    np.savez(files / "words.npz", x=np.full((EXAMPLES, INPUTS), "cat"))
    np.savez(files / "nothing.npz", x=x[:0])
    np.savez(files / "otherwise.npz", images=x)
    x[17, 3] = np.nan
    np.savez(files / "nan.npz", x=x)
    (files / "text.npz").write_text("1 2 3\n")
    ids = "g (int64[N, 8] x) => (float[N, 4] y) { a = Cast <to = 1> (x) b = Gemm (a, v) "
    ids += "c = Relu (b) y = Gemm (c, w) }"
    onnx.save(written(ids, v=(INPUTS, 8), w=(8, CLASSES)), files / "ids.onnx")
    (files / "kept.json").write_text("an earlier result")
    return files


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        # Models.
        (["missing.onnx", *DATA], 1, ["missing.onnx", "does not exist"]),
        (["folder.onnx", *DATA], 1, ["folder.onnx", "is a folder"]),
        (["text.onnx", *DATA], 1, ["text.onnx", "ONNX"]),
        (["truncated.onnx", *DATA], 1, ["truncated.onnx", "ONNX"]),
        (["empty.onnx", *DATA], 1, ["empty.onnx", "ONNX"]),
        (["page.html", *DATA], 1, ["page.html", "ONNX"]),
        (["x.npz", *DATA], 1, ["x.npz", "ONNX"]),
        (["logits.onnx", *DATA], 1, ["logits.onnx", "frivkit inspect"]),
        (["log.onnx", *DATA], 1, ["log.onnx", "NaN", "npz:x.npz"]),
        (["net.onnx", *DATA, "--layer", "conv*"], 1, ["'conv*'", "layer"]),
        (["net.onnx", *DATA, "--layer", "layer", "--layer", "x"], 1, ["'x'", "layer"]),
        (["net.onnx", *DATA, "--output-name", "probs"], 1, ["'probs'", "logits"]),
        # Data.
        (["net.onnx", "--data", "npz:missing.npz"], 1, ["missing.npz"]),
        (["net.onnx", "--data", "npz:folder.onnx"], 1, ["folder.onnx"]),
        (["net.onnx", "--data", "npz:text.npz"], 1, ["text.npz", "np.savez"]),
        (["net.onnx", "--data", "npz:shape.npz"], 1, ["(5,)", "(8,)"]),
        (["net.onnx", "--data", "npz:words.npz"], 1, ["words.npz", "numbers"]),
        (["net.onnx", "--data", "npz:nothing.npz"], 1, ["no examples"]),
        (["net.onnx", "--data", "npz:otherwise.npz"], 1, ["'x'", "images"]),
        (["net.onnx", "--data", "npz:nan.npz"], 1, ["example 17", "nan"]),
        (["ids.onnx", *DATA], 1, ["float32", "int64", "dtype=int64"]),
        # Names that nothing has, the nearest first.
        (["net.onnx", *DATA, "--metric", "prunabilty"], 2, ["did you mean prunability"]),
        (["net.onnx", *DATA, "--units", "maps"], 2, ["did you mean map?", "location"]),
        (["net.onnx", *DATA, "--protocol", "papers"], 2, ["paper", "reference"]),
        (["net.onnx", "--data", "npzz:x.npz"], 2, ["did you mean npz?", "gaussian"]),
        (["net.onnx", "--data", "npz:x.npz?scael=2"], 2, ["scael", "scale"]),
        (["net.onnx", *DATA, "--option", "tolerence=0.1"], 2, ["did you mean tolerance?"]),
        (["net.onnx", *DATA, "--device", "gpu"], 2, ["cpu", "cuda"]),
        (["net.onnx", *DATA, "--engine", "ray"], 3, ["no engine is named 'ray'", "local"]),
        (["net.onnx", *DATA, "--exmples", "3"], 2, ["--examples"]),
        # Values that mean nothing.
        (["net.onnx", "--data", "npz:x.npz?n"], 2, ["key=value"]),
        (["net.onnx", "--data", "npz:x.npz?n=0"], 2, ["n"]),
        (["net.onnx", "--data", ""], 2, ["NAME[:PATH]"]),
        (["net.onnx", "--data", ":"], 2, ["NAME[:PATH]"]),
        (["net.onnx", *DATA, "--option", "levels"], 2, ["key=value"]),
        (["net.onnx", *DATA, "--option", "levels=few"], 2, ["levels=few", "whole number"]),
        (["net.onnx", *DATA, "--option", "levels=1"], 2, ["levels", "at least 2"]),
        (["net.onnx", *DATA, "--option", "tolerance=nan"], 2, ["tolerance"]),
        (["net.onnx", *DATA, "--memory", "plenty"], 2, ["plenty", "2GiB"]),
        (["net.onnx", *DATA, "--memory", "0"], 2, ["--memory"]),
        (["net.onnx", *DATA, "--memory", "-1GB"], 2, ["-1GB"]),
        (["net.onnx", *DATA, "--examples", "0"], 2, ["--examples"]),
        (["net.onnx", *DATA, "--examples", "9" * 20], 2, ["--examples"]),
        (["net.onnx", *DATA, "--threads", "0"], 2, ["--threads"]),
        (["net.onnx", *DATA, "--threads", "9999999"], 2, ["--threads"]),
        (["net.onnx", *DATA, "--seed", "-1"], 2, ["--seed"]),
        (["net.onnx", *DATA, "--cache", "x.npz"], 2, ["--cache", "x.npz"]),
        (["net.onnx", "second.onnx", *DATA], 2, ["second.onnx"]),
        ([], 2, ["MODEL"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line_and_loses_nothing(
    hostile: Path, frivkit: Run, arguments: list[str], code: int, words: list[str]
) -> None:
    before = contents(hostile)
    ran = frivkit("analyze", *arguments, "--json", "kept.json")
    assert (ran.code, ran.out) == (code, "")
    line = ran.error()
    assert all(word in line for word in words), line
    after = contents(hostile)
    # The outputs of a network that gives NaN are results like others.
    assert {name: after[name] for name in after if not name.startswith("cache/")} == before


def test_earlier_results_in_the_cache_survive_a_mistake(hostile: Path, frivkit: Run) -> None:
    assert frivkit("analyze", "net.onnx", *DATA).code == 0
    before = contents(hostile / "cache")
    assert before
    for arguments in (["log.onnx", *DATA], ["net.onnx", "--data", "npz:nan.npz"], ["text.onnx"]):
        assert frivkit("analyze", *arguments).code == 1
    after = contents(hostile / "cache")
    assert before.items() <= after.items()


def test_absent_device_is_told_from_a_mistake(files: Path, frivkit: Run) -> None:
    if run_once("cuda") is None:
        pytest.skip("this machine has a CUDA device")
    ran = frivkit("analyze", "net.onnx", *DATA, "--device", "cuda")
    assert (ran.code, ran.out) == (3, "")
    assert "'cuda'" in ran.error()
    del files


# Where results go.


@pytest.mark.parametrize("command", ["analyze", "inspect", "plugins", "doctor"])
@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("nowhere/result.json", 1, ["nowhere/result.json", "no folder nowhere"]),
        ("a-folder", 1, ["a-folder", "is a folder"]),
        ("", 2, ["without a name"]),
        ("/dev/full", 1, ["/dev/full", "No space left on device"]),
        ("x.npz/result.json", 1, ["no folder x.npz"]),
    ],
)
def test_json_that_cannot_be_written_is_one_line(
    files: Path, frivkit: Run, *, command: str, place: str, code: int, words: list[str]
) -> None:
    (files / "a-folder").mkdir()
    model = ["net.onnx", "-q"] if command in ("analyze", "inspect") else []
    ran = frivkit(command, *model, "--json", place)
    assert ran.code == code
    assert all(word in ran.error() for word in words), ran.err
    # What is known beforehand is said beforehand; what is not must not cost the result.
    assert bool(ran.out) == (command == "analyze" and place == "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_json_into_a_folder_without_permission(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "locked").mkdir()
    # The superuser, whom containers run as, may write to any folder whatever its mode.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "locked")
    ran = frivkit("analyze", "net.onnx", *DATA, "--json", "locked/result.json")
    assert (ran.code, ran.out) == (1, "")
    assert "no permission" in ran.error()
    assert not (files / "cache").exists()


def test_places_are_refused_before_the_work(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked")

    monkeypatch.setattr("frivkit.measure.pipeline.analyze", never)
    for place in ("nowhere/result", "cache/..", "net.onnx"):
        for option in ("--json", "--report"):
            ran = frivkit("analyze", "net.onnx", option, place)
            assert ran.code in (1, 2)
            assert "worked" not in ran.error()
    ran = frivkit("analyze", "net.onnx", "--json", "same", "--report", "./same")
    assert ran.code == 2
    assert "another file" in ran.error()


def test_result_never_takes_the_place_of_the_model(files: Path, frivkit: Run) -> None:
    before = (files / "net.onnx").read_bytes()
    (files / "link.json").symlink_to("net.onnx")
    for place in ("net.onnx", "./net.onnx", "link.json"):
        assert frivkit("analyze", "net.onnx", *DATA, "--json", place).code == 2
        assert frivkit("inspect", "net.onnx", "--json", place).code == 2
    assert (files / "net.onnx").read_bytes() == before


def test_failed_write_leaves_the_earlier_file(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "kept.json").write_text("an earlier result")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        ran = frivkit("analyze", "net.onnx", *DATA, "-q", "--no-cache", "--json", "kept.json")
    assert ran.code == 1
    assert ran.error() == "frivkit: kept.json cannot be written: No space left on device"
    assert "prunability" in ran.out
    assert (files / "kept.json").read_text() == "an earlier result"
    assert not list(files.glob(".*"))


def test_link_stays_a_link_and_a_device_a_device(files: Path, frivkit: Run) -> None:
    (files / "target.json").write_text("an earlier result")
    (files / "link.json").symlink_to("target.json")
    assert frivkit("analyze", "net.onnx", *DATA, "--json", "link.json").code == 0
    assert (files / "link.json").is_symlink()
    assert json.loads((files / "target.json").read_text())["schema"] == "frivkit.analysis/1"
    assert frivkit("analyze", "net.onnx", *DATA, "--json", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


# Commands.


def test_misspelt_command_is_told_the_nearest(frivkit: Run) -> None:
    ran = frivkit("anlyze", "net.onnx")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean analyze?" in ran.error()


def test_unknown_option_before_the_command(frivkit: Run) -> None:
    ran = frivkit("--quiet", "plugins")
    assert ran.code == 2
    assert "--quiet" in ran.error()


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "net.onnx", "--json", "--quiet"), ("cache", "list", "--json", "--help")],
)
def test_an_option_is_not_taken_as_the_value_of_another(
    arguments: tuple[str, ...], files: Path, frivkit: Run
) -> None:
    before = contents(files)
    outcome = frivkit(*arguments)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert f"--json takes a value, and the option {arguments[-1]} stands in its place" in line
    assert contents(files) == before
    assert frivkit("inspect", "net.onnx", "--json=--quiet").code == 0  # it can be meant
    assert (files / "--quiet").is_file()


def test_no_command_shows_the_help(frivkit: Run) -> None:
    ran = frivkit()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: frivkit")
    assert "analyze" in ran.err


def test_model_whose_own_data_is_gone_says_who_named_it(files: Path, frivkit: Run) -> None:
    model = onnx.load("net.onnx")
    model.metadata_props.add(key="frivkit.data", value="npz:gone.npz")
    onnx.save(model, "net.onnx")
    ran = frivkit("analyze", "net.onnx")
    assert ran.code == 1
    line = ran.error()
    assert all(word in line for word in ("gone.npz", "net.onnx names this data", "--data")), line
    assert frivkit("analyze", "net.onnx", *DATA).code == 0
    del files


def test_names_out_of_files_cannot_command_the_terminal(files: Path, frivkit: Run) -> None:
    named = "evil\x1b[2J\nfrivkit: all is well"
    ran = frivkit("analyze", "net.onnx", *DATA, "--layer", named)
    assert ran.code == 1
    assert "\x1b" not in ran.error()
    del files


# Data that are fine.


def test_data_without_labels_have_no_accuracy(files: Path, frivkit: Run) -> None:
    write_rows(files / "unlabelled.npz", labels=False)
    with_labels, without = (
        frivkit("analyze", "net.onnx", "--data", f"npz:{name}.npz", "--json", "-", "--no-cache")
        for name in ("x", "unlabelled")
    )
    assert without.document["data"]["accuracy"] is None
    assert 0 <= with_labels.document["data"]["accuracy"] <= 1
    assert without.document["measurements"] == with_labels.document["measurements"]


def test_metric_named_twice_is_measured_once(files: Path, frivkit: Run) -> None:
    twice = ["--metric", "prunability"] * 2
    ran = frivkit("analyze", "net.onnx", *DATA, *twice, "--json", "-")
    assert [m["scope"] for m in ran.document["measurements"]] == ["network", "layer"]
    del files


# The doctor looks at a broken installation, so nothing may stop it.


def test_doctor_goes_on_past_what_is_wrong(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frivkit.hooks.registry import installed

    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", "lots")
    monkeypatch.setenv("FRIVKIT_LOAD_PLUGINS", "frivkit_nope")
    installed.cache_clear()
    try:
        ran = frivkit("doctor", "--json", "report.json")
    finally:
        monkeypatch.undo()
        installed.cache_clear()
    assert ran.code == 1
    bad = [line for line in ran.out.splitlines() if line.startswith("bad")]
    assert any("FRIVKIT_CACHE_LIMIT" in line for line in bad)
    assert any("FRIVKIT_LOAD_PLUGINS" in line for line in bad)
    assert "device cpu runs a model" in ran.out
    checks = json.loads((files / "report.json").read_text())["checks"]
    assert [check["state"] for check in checks].count("bad") == len(bad)


def test_doctor_names_a_cache_that_cannot_be_written_to(files: Path, frivkit: Run) -> None:
    ran = frivkit("doctor", "--cache", files / "x.npz" / "cache")
    assert ran.code == 1
    (bad,) = [line for line in ran.out.splitlines() if line.startswith("bad")]
    assert str(files / "x.npz" / "cache") in bad


def test_output_that_depends_on_no_input_is_named(files: Path, frivkit: Run) -> None:
    model = written(
        """g (float[N, 8] x) => (float[N, 4] logits) {
          layer = Gemm <transB = 1> (x, v)
          logits = Gemm <transB = 1> (u, w)
        }""",
        v=(16, 8),
        u=(1, 16),
        w=(4, 16),
    )
    onnx.save(model, files / "constant.onnx")
    for arguments in (["analyze", "constant.onnx"], ["verify", "constant.onnx", "constant.onnx"]):
        ran = frivkit(*arguments, *DATA)
        assert ran.code == 1
        assert "depends on no input" in ran.error()
