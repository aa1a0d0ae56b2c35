"""Read a file of torch: converted to ONNX in a process of its own, which may not take for ever."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.graph.model import Model, digest
from frivkit.graph.reading import detach, read
from frivkit_torchscript.child import EXAMPLES, FAILED, JOB, MODEL
from frivkit_torchscript.examples import batch_of, examples_for
from frivkit_torchscript.kinds import Kind, kind_of

SECONDS = "FRIVKIT_CONVERT_SECONDS"
"""The environment variable that says how long a conversion may take; 600 if it is not set."""
ROOM = 6 << 30
"""Bytes of address space that torch takes before it has loaded anything, and some more."""
COPIES = 8
"""How often a network's weights may lie in memory while it is converted."""


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read a TorchScript file or a program of ``torch.export``.

    Args:
        path: The file, whatever its name.
        options: ``trust`` must be given, for loading such a file runs it; ``input_shape`` or
            ``data`` says what a TorchScript file takes.

    Returns:
        The model; its graph is that which torch's exporter makes, compared with torch.

    Raises:
        ModelError: it is no such file, is not trusted, does not say what it takes, or cannot be
            converted in the time and the memory that it may take.
    """
    kind = kind_of(path)
    if options.get("trust") != "yes":
        raise ModelError(
            f"{path} is a program ({kind}): loading it can run code and read files of yours; give "
            "--trust if you trust whoever made it, or have them write it as ONNX"
        )
    examples = examples_for(path, options)
    if examples is None and kind == "torchscript":
        raise ModelError(
            f"{path} does not say what it takes: give --input-shape, such as 1x3x224x224, or --data"
        )
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _hand_over(folder, path, kind, examples or {}, options)
        _run(folder, path)
        model = detach(read(folder / MODEL, name=path.name))
    return replace(model, path=path, format=kind, sha256=digest([path]))


def _hand_over(
    folder: Path, path: Path, kind: Kind, examples: Mapping[str, Array], options: Mapping[str, str]
) -> None:
    size = path.stat().st_size
    job = {
        "path": str(path.resolve()),
        "kind": kind,
        "inputs": list(examples),
        "batch": batch_of(options),
        "bytes": ROOM + COPIES * size + int(options.get("memory", "0")),
    }
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    np.savez(folder / EXAMPLES, **dict(examples))  # type: ignore[arg-type]  # names of arrays


def _run(folder: Path, path: Path) -> None:
    """Run the child; whatever happens, it is gone afterwards.

    Raises:
        ModelError: it failed, took too long, or ended otherwise than it should.
    """
    limit = _seconds()
    command = [sys.executable, "-m", "frivkit_torchscript.child", str(folder)]
    with (folder / "said").open("wb") as said:
        child = subprocess.Popen(  # noqa: S603  # our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"{path} was not converted in {limit:g} seconds; it may run for ever, or give it "
                f"longer by {SECONDS}"
            ) from None
        finally:
            _end(child)
    failed = folder / FAILED
    if failed.exists():
        raise ModelError(f"{path}: {failed.read_text(encoding='utf-8')}")
    if not (folder / MODEL).exists():
        said_last = (folder / "said").read_text(encoding="utf-8", errors="replace").split("\n")
        reason = next((line for line in reversed(said_last) if line.strip()), "without a word")
        raise ModelError(
            f"{path} cannot be converted: the process that did it ended with status "
            f"{child.returncode} ({reason.strip()[:200]}); it may want more --memory"
        )


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the child and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _seconds() -> float:
    given = os.environ.get(SECONDS, "600")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ModelError(f"{SECONDS} is {given!r}; give a number of seconds above 0")
    return seconds
