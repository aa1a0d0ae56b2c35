"""No command uses the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.papercurves import write_results
from tests.program import write_cnn, write_rows

FORBID = """
import sys

def forbid(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(forbid)
"""
"""Python runs it as sitecustomize at the start of each process, also of those that are started."""
OFFLINE = """
import json, sys
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
    ["inspect", "net.pt", "--input-shape", "Nx8", "--trust"],
    ["inspect", "net.pt2", "--trust"],
    ["analyze", "net.onnx", *DATA, "--report", "page.html", "--json", "a.json"],
    ["compress", "net.onnx", *DATA, "--macs", "0.6", "--no-time", "-o", "thin.onnx"],
    ["verify", "net.onnx", "thin.onnx", *DATA, "--no-time"],
    ["activations", "net.onnx", *DATA, "-o", "out.h5"],
    ["advise", "net.onnx", "thin.onnx", *DATA, "--protocol", "paper"],
    ["visualize", "cnn.onnx", "--units", "1", "--steps", "1", "-o", "pictures"],
    ["train", "mlp", "--data", "digits?n=64", "--option", "epochs=1", "-o", "trained.onnx"],
    ["sweep", "recipe.toml", "-o", "swept", "--report", "swept.html"],
    ["figure", "4d", ".", "-o", "4d.svg"],
    ["compare", "a.json", "a.json", "--report", "both.html"],
    ["plugins"],
    ["cache", "ls"],
    ["doctor"],
]


def forbidden(folder: Path) -> dict[str, str]:
    """Return an environment in which no process may use a socket."""
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(FORBID)
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_commands_run_with_sockets_forbidden(files: Path) -> None:
    (files / "recipe.toml").write_text(RECIPE)
    write_cnn(files / "cnn.onnx")
    write_rows(files / "pictures.npz", 1, 8, 8)
    write_results(files)
    network = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    torch.jit.trace(network, torch.zeros(2, 8)).save(files / "net.pt")
    torch.export.save(torch.export.export(network, (torch.zeros(2, 8),)), files / "net.pt2")
    command = [sys.executable, "-c", OFFLINE, json.dumps(COMMANDS)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=forbidden(files)
    )
    ends = [line for line in done.stderr.splitlines() if not line.startswith("frivkit: ")]
    assert ends == [f"{command[0]} 0" for command in COMMANDS], done.stderr
    assert "socket" not in done.stderr
    assert (files / "trained.onnx").exists()


def test_whoever_connects_is_noticed(tmp_path: Path) -> None:
    """So that the test above cannot pass for want of a hook."""
    code = "import socket; socket.create_connection(('::1', 9))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=forbidden(tmp_path),
    )
    assert "RuntimeError: socket." in done.stderr
