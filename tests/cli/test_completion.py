"""What bash, zsh and fish complete, asked as they ask."""

from pathlib import Path

import onnx
import pytest
from click.shell_completion import BashComplete

from frivkit.cli import cli
from tests.nets import network

EXACT = ["exact=true", "exact=false"]
ADA = ["optimiser=adam", "optimiser=adagrad"]


@pytest.fixture
def completed(files):
    """Return a function that completes the last word, and gives what is offered."""
    onnx.save(network("inception"), files / "joined.onnx")

    def complete(*words: str) -> list[str]:
        found = BashComplete(cli, {}, "frivkit", "_FRIVKIT_COMPLETE")
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
