"""No command uses the network."""

import json
import subprocess
import sys
from pathlib import Path

from tests.program import write_cnn, write_rows

OFFLINE = """
import json, sys

def forbid(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(forbid)
from frivkit.cli import main

for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as end:
        print(command[0], end.code or 0, file=sys.stderr)
import frivkit
frivkit.to_torch("cnn.onnx", data="npz:pictures.npz")
"""
DATA = ("--data", "npz:x.npz")
RECIPE = """
networks = [{name = "a", architecture = "mlp", shape = [10], classes = 2}]
curves = [{figure = "f", series = "a", panels = ["parameters"]}]
scales = {full = {widths = [1], seeds = [0]}}
"""
COMMANDS = [
    ["inspect", "net.onnx"],
    ["analyze", "net.onnx", *DATA, "--report", "page.html", "--json", "a.json"],
    ["compress", "net.onnx", *DATA, "--macs", "0.6", "--no-time", "-o", "thin.onnx"],
    ["verify", "net.onnx", "thin.onnx", *DATA, "--no-time"],
    ["activations", "net.onnx", *DATA, "-o", "out.h5"],
    ["advise", "net.onnx", "thin.onnx", *DATA, "--protocol", "paper"],
    ["visualize", "cnn.onnx", "--units", "1", "--steps", "1", "-o", "pictures"],
    ["train", "mlp", "--data", "digits?n=64", "--option", "epochs=1", "-o", "trained.onnx"],
    ["sweep", "recipe.toml", "-o", "swept", "--report", "swept.html"],
    ["compare", "a.json", "a.json", "--report", "both.html"],
    ["plugins"],
    ["cache", "ls"],
    ["doctor"],
]


def test_commands_run_with_sockets_forbidden(files: Path) -> None:
    (files / "recipe.toml").write_text(RECIPE)
    write_cnn(files / "cnn.onnx")
    write_rows(files / "pictures.npz", 1, 8, 8)
    command = [sys.executable, "-c", OFFLINE, json.dumps(COMMANDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ends = [line for line in done.stderr.splitlines() if not line.startswith("frivkit: ")]
    assert ends == [f"{command[0]} 0" for command in COMMANDS], done.stderr
    assert "socket" not in done.stderr
    assert (files / "trained.onnx").exists()


def test_whoever_connects_is_noticed() -> None:
    """So that the test above cannot pass for want of a hook."""
    code = (
        f"{OFFLINE.partition('from frivkit')[0]}import socket; socket.create_connection(('::1', 9))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RuntimeError: socket." in done.stderr
