"""What bash, zsh and fish complete, asked as they ask."""

import re
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from frivkit.cli import cli
from frivkit.cli.shells import Bash, Fish, Zsh
from tests.nets import network

EXACT = ["exact=true", "exact=false"]
ADA = ["optimiser=adam", "optimiser=adagrad"]


@pytest.fixture
def completed(files):
    """Return a function that completes the last word, and gives what is offered."""
    onnx.save(network("inception"), files / "joined.onnx")

    def complete(*words: str) -> list[str]:
        found = Zsh(cli, {}, "frivkit", "_FRIVKIT_COMPLETE")
        return [item.value for item in found.get_completions(list(words[:-1]), words[-1])]

    return complete


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["an"], ["analyze"]),
        (["new-"], ["new-plugin"]),
        (["analyze", "net.onnx", "--regr"], ["--regression"]),
        (["analyze", "net.onnx", "--metric", "pru"], ["prunability"]),
        (["analyze", "--units", "loc"], ["location"]),
        (["analyze", "--task", "seg"], ["segment"]),
        (["analyze", "--data", "dig"], ["digits"]),
        (["analyze", "net.onnx", "--layer", "la"], ["layer"]),
        (["analyze", "net.onnx", "--layer", "x"], []),
        (["analyze", "missing.onnx", "--layer", ""], []),
        (["compress", "net.onnx", "--keep-layer", ""], ["layer"]),
        (["compress", "net.onnx", "--ranking", "back"], ["backward"]),
        (["compress", "net.onnx", "--refit", "rid"], ["ridge"]),
        (["compress", "net.onnx", "--basis", "sep"], ["separable"]),
        (["train", "res"], ["resnet18", "resnet20", "resnet56"]),
        (["train", "mlp", "--trainer", "l"], ["lab"]),
        (["sweep", "fig4a"], ["fig4a"]),
        (["figure", "e13"], ["e13"]),
        (["plugins", "frivkit_one"], []),
        (["plugins", "frivkit_onn"], ["frivkit_onnx"]),
        (["new-plugin", "x", "--kind", "me"], ["metric"]),
        (["visualize", "net.onnx", "--layer", "la"], ["layer"]),
        (["inspect", "joined.onnx", "--join", ""], ["Concat"]),
        (["inspect", "net.onnx", "--join", ""], []),
        (["compress", "net.onnx", "--target", "avx5"], ["avx512"]),
        (["compress", "net.onnx", "--ratio", "la"], ["layer="]),
        (["analyze", "net.onnx", "--metric", "redundancy", "--option", "ex"], EXACT),
        (["analyze", "--metric", "redundancy", "--option", "lev"], []),
        (["analyze", "--option", "lev"], ["levels="]),
        (["advise", "net.onnx", "--option", "lev"], ["levels="]),
        (["train", "mlp", "--option", "ep"], ["epochs="]),
        (["train", "mlp", "--trainer", "lab", "--option", "optimiser=a"], ADA),
    ],
)
def test_words_that_are_completed(words, expected, completed):
    assert completed(*words) == expected


@pytest.mark.parametrize(
    ("line", "cut", "expected"),
    [
        ("analyze --task=", 3, ["classify", "detect", "embed", "generate"]),
        ("analyze --task=seg", 4, ["segment"]),
        ("analyze --task seg", 3, ["segment"]),
        ("analyze '--task=seg", 2, ["--task=segment"]),  # quotes keep a word whole
        ("train mlp --trainer lab --option optimiser=a", 8, ["adam", "adagrad"]),
        ("train mlp --trainer lab --option=optimiser=a", 9, ["adam", "adagrad"]),
        ("train mlp --trainer lab --option optimiser=", 7, ["momentum", "sgd", "adam"]),
        ("train mlp --option ep", 4, ["epochs="]),
        ("plugins frivkit_onnx:o", 4, []),
        ("an", 1, ["analyze"]),
        ("", 1, ["analyze", "inspect"]),
    ],
)
def test_bash_gets_what_stands_behind_the_part_that_it_keeps(line, cut, expected, monkeypatch):
    """``cut`` is the place of the word with the cursor, as an interactive bash counts it."""
    whole = f"frivkit {line}"
    parts = re.findall(r"['][^ ]*|[=:]+|[^ =:]+", whole) + ([""] if whole.endswith(" ") else [])
    assert len(parts) == cut + 1
    parts[-1] += "ment" if parts[-1] == "seg" else ""  # the cursor may stand within a word
    monkeypatch.setenv("COMP_WORDS", "\n".join(parts))
    monkeypatch.setenv("COMP_CWORD", str(cut))
    monkeypatch.setenv("COMP_LINE", f"{whole}{'ment' * whole.endswith('seg')} --seed 3")
    monkeypatch.setenv("COMP_POINT", str(len(whole)))
    answer = Bash(cli, {}, "frivkit", "_FRIVKIT_COMPLETE").complete().splitlines()
    assert [each.removeprefix("plain,") for each in answer][: len(expected)] == expected
    assert bool(answer) == bool(expected)


@pytest.mark.parametrize("shell", [Zsh, Fish])
def test_other_shells_get_whole_words(shell, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "frivkit analyze --task=seg")
    monkeypatch.setenv("COMP_CWORD", "2" if shell is Zsh else "--task=seg")
    answer = shell(cli, {}, "frivkit", "_FRIVKIT_COMPLETE").complete()
    assert re.split(r"[\n,\t]", answer)[:2] == ["plain", "--task=segment"]


def test_bash_itself_takes_the_answer(frivkit, monkeypatch, tmp_path):
    """The script runs in bash, with a program in place of frivkit that says what it was asked."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    monkeypatch.setenv("_FRIVKIT_COMPLETE", "bash_source")
    script = frivkit().out
    program = tmp_path / "frivkit"
    program.write_text('#!/bin/sh\nprintf "plain,seg*\\nplain,opt=\\n"; env >"$0.seen"\n')
    program.chmod(0o755)
    line = "frivkit analyze --task=se"
    lines = [
        "compopt() { echo compopt $*; }",
        script,
        "COMP_WORDS=(frivkit analyze --task = se) COMP_CWORD=4",
        f"COMP_LINE='{line}' COMP_POINT={len(line)}",
        f"_frivkit_completion '{program}'",
        """printf '%s\\n' "${COMPREPLY[@]}" """,
    ]
    ran = subprocess.run([bash, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["compopt -o nospace", "seg*", "opt="]
    requested = (tmp_path / "frivkit.seen").read_text().splitlines()
    assert {"COMP_WORDS=frivkit", f"COMP_LINE={line}", "COMP_CWORD=4"} <= set(requested)


def test_file_that_is_no_model_completes_nothing_and_says_nothing(completed, files, capfd):
    (files / "net.onnx").write_bytes(b"nothing of the kind")
    (files / "frivkit.toml").write_text("not TOML")
    assert completed("analyze", "net.onnx", "--layer", "") == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_program_writes_what_a_shell_reads(shell, frivkit, monkeypatch):
    page = Path(__file__).parents[2] / "docs/terminal.md"
    assert f"_FRIVKIT_COMPLETE={shell}_source frivkit" in page.read_text("utf-8")
    monkeypatch.setenv("_FRIVKIT_COMPLETE", f"{shell}_source")
    ran = frivkit()
    assert ran.code == 0
    assert f"{shell}_complete" in ran.out


def test_answer_to_a_shell(frivkit, monkeypatch):
    monkeypatch.setenv("_FRIVKIT_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "frivkit analyze --metric red")
    monkeypatch.setenv("COMP_CWORD", "3")
    ran = frivkit()
    kind, name, summary, *_ = ran.out.splitlines()
    assert (kind, name) == ("plain", "redundancy")
    assert summary
