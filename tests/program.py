"""Running the program as a user does, and small files to run it on."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.contract import check_analysis
from tests.handmade import written

INPUTS, CLASSES, EXAMPLES = 8, 5, 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON that is all of stdout, checked against the contract."""
        document: dict[str, Any] = json.loads(self.out)
        check_analysis(document)
        return document

    def error(self) -> str:
        """Return the one line that says why nothing came of it."""
        (line,) = self.err.splitlines()
        assert line.startswith("frivkit: ")
        assert "Traceback" not in line
        assert "a bug in frivkit" not in line
        return line


def start(*arguments: str | Path, **more: Any) -> subprocess.Popen[str]:
    """Start the program in a process of its own; ``more`` goes to Popen, ``env`` is added to.

    It can be interrupted even where the tests cannot: what a shell starts in the background
    ignores SIGINT, and so would all that the tests start.
    """
    env = os.environ | more.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    command = [sys.executable, "-m", "frivkit", *map(str, arguments)]
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # a signal that is caught is back at its default in the child
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, env=env, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)


def ended(process: subprocess.Popen[str], patience: float = 300) -> Outcome:
    """Wait for a process that was started."""
    out, err = process.communicate(timeout=patience)
    return Outcome(process.returncode, out or "", err or "")


def same_networks(one: Path, other: Path) -> bool:
    """Whether two files hold the same weights but for rounding."""
    first, second = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for path in (one, other)
    )
    return first.keys() == second.keys() and all(
        a.shape == second[name].shape and np.allclose(a, second[name], rtol=1e-3, atol=1e-4)
        for name, a in first.items()
    )


def write_mlp(path: Path, hidden: int = 16, *, last: str = "", batch: int | None = None) -> Path:
    """Write a net of one hidden layer, "layer", 8 inputs and 4 classes.

    Args:
        path: The file.
        hidden: Units.
        last: An operator at the end, such as ``"Log"``.
        batch: A batch size to insist on.
    """
    end = f"logits = {last} (z)" if last else "logits = Identity (z)"
    size = batch or "N"
    model = written(
        f"""g (float[{size}, {INPUTS}] x) => (float[{size}, {CLASSES}] logits) {{
          layer = Gemm <transB = 1> (x, v)
          u = Relu (layer)
          z = Gemm <transB = 1> (u, w)
          {end}
        }}""",
        v=(hidden, INPUTS),
        w=(CLASSES, hidden),
    )
    onnx.save(model, path)
    return path


def write_cnn(path: Path, channels: int = 8, side: int = 8, batch: int | None = None) -> Path:
    """Write a net of two convolutions, "conv1" and "conv2", and 4 classes, on (1, side, side)."""
    size = batch or "N"
    model = written(
        f"""g (float[{size}, 1, {side}, {side}] x) => (float[{size}, {CLASSES}] logits) {{
          conv1 = Conv <pads = [1, 1, 1, 1]> (x, u)
          a = Relu (conv1)
          conv2 = Conv <pads = [1, 1, 1, 1]> (a, v)
          b = Relu (conv2)
          c = GlobalAveragePool (b)
          d = Flatten (c)
          logits = Gemm <transB = 1> (d, w)
        }}""",
        u=(channels, 1, 3, 3),
        v=(channels, channels, 3, 3),
        w=(CLASSES, channels),
    )
    onnx.save(model, path)
    return path


def write_rows(path: Path, *shape: int, n: int = EXAMPLES, labels: bool = True) -> Path:
    """Write an npz of n examples x of a shape, (8,) unless said, and labels y."""
    x = np.random.default_rng(1).normal(size=(n, *(shape or (INPUTS,)))).astype(np.float32)
    np.savez(path, x=x, **({"y": np.arange(n) % CLASSES} if labels else {}))
    return path
