"""``frivkit demo``: what it leaves behind, and that the commands it shows are those it runs."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from tests.contract import complaints
from tests.program import Outcome, same_networks


def test_demo_ends_with_a_thinner_network_by_the_command_it_shows(
    files: Path, frivkit: Callable[..., Outcome]
) -> None:
    ran = frivkit("demo", "-o", "out", "-q", "--no-cache")
    assert (ran.code, ran.err) == (0, "")
    folder = files / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("digits-cnn.onnx", "analysis.json", "analysis.html"),
        *("digits-thin.onnx", "compression.json"),
    }
    found = json.loads((folder / "compression.json").read_text())
    assert complaints(found) == []
    assert found["thin"]["macs"] <= found["original"]["macs"] / 2
    assert found["agreement"]["labels"] > 0.95
    assert found["warnings"] == []
    assert "of 597 labels are the same" in " ".join(ran.out.split())
    shown = [line for line in ran.out.splitlines() if line.startswith("$ ")]
    assert [line.split()[2] for line in shown] == ["train", "inspect", "analyze", "compress"]
    made = (folder / "digits-thin.onnx").rename(folder / "made.onnx")
    assert frivkit(*shlex.split(shown[-1])[2:]).code == 0
    assert same_networks(made, folder / "digits-thin.onnx")
