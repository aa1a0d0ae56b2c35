"""docs/to-torch.md and docs/finetune.md run as printed, and what they say happens."""

import re
import shutil
from pathlib import Path

import pytest

import frivkit

ROOT = Path(__file__).parents[2]


def run(page: str) -> dict[str, object]:
    """Run the blocks of a page one after the other."""
    namespace: dict[str, object] = {"__name__": "page"}
    text = (ROOT / "docs" / page).read_text()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL), start=1):
        exec(compile(block, f"block {number} of docs/{page}", "exec"), namespace)  # noqa: S102  # our own page
    return namespace


def test_page_of_modules(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run("to-torch.md")
    assert names["module"].get_parameter("0.bias").grad is not None
    assert names["features"](names["torch"].zeros(2, 1, 8, 8)).shape == (2, 4, 6, 6)
    assert capsys.readouterr().out == "1.0\n"


@pytest.mark.assets
def test_page_of_finetuning(tmp_path, monkeypatch, mnist_model, mnist_digits, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(mnist_model, "mnist.onnx")
    shutil.copy(mnist_digits, "digits.npz")
    names = run("finetune.md")
    assert len(capsys.readouterr().out.splitlines()) == 3
    data = (names["x_test"], names["y_test"])
    apart = {
        name: frivkit.verify("mnist.onnx", f"{name}.onnx", data=data, time_batches=()).document[
            "outputs"
        ]["relative_l2"]
        for name in ("thin", "without-labels")
    }
    assert apart["without-labels"] < 0.9 * apart["thin"]
    compressed, trained = (frivkit.load(f"{name}.onnx") for name in ("thin", "without-labels"))
    assert [node.name for node in trained.graph] == [node.name for node in compressed.graph]
    assert {*trained.graph.initializers} >= {*compressed.graph.initializers}
