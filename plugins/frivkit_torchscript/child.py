"""Conversion of a file in a process of its own, with limits of time and memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.data import Array
from frivkit.errors import ModelError, UsageError

SECONDS = 600
"""Seconds that a conversion may take."""

SPARE = 1 << 30
"""Bytes that a conversion may take whatever the size of the file."""

COPIES = 8
"""Copies of the weights that may be in memory during a conversion."""


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """A file to convert.

    Attributes:
        path: The file.
        kind: ``"torchscript"`` or ``"torch.export"``.
        batch: The batch size to write if the network does not take any.
        memory: Bytes that activations may take.
        inputs: Numbers for inputs that have no axis for examples, by name.
        scalars: Single numbers of the data by name, for inputs that have none.
    """

    path: Path
    kind: str
    batch: int
    memory: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)


def convert_in_process(job: ConversionJob, examples: Sequence[Array], folder: Path) -> Path:
    """Convert a file in another process, and return the path of the ONNX file.

    On return that process, and any process that it started, has ended.

    Args:
        job: The file.
        examples: For each input examples to try, shape (n, ...).
        folder: An empty folder for all files of the conversion.

    Raises:
        ModelError: the conversion failed, took too long, or its process ended.
        UsageError: FRIVKIT_CONVERT_SECONDS is no number of seconds.
    """
    limit = _seconds()
    memory = COPIES * job.path.stat().st_size + job.memory + SPARE
    np.savez(folder / "examples.npz", *examples)
    settings = {
        "path": str(job.path.resolve()),
        "kind": job.kind,
        "batch": job.batch,
        "memory": memory,
        "inputs": dict(job.inputs),
        "scalars": dict(job.scalars),
    }
    (folder / "job.json").write_text(json.dumps(settings))
    code = _run(folder, limit, job.path)
    answer = _answer(folder / "answer.json")
    if answer.get("done") is True and (folder / "model.onnx").is_file():
        return folder / "model.onnx"
    reason = answer.get("error")
    if not isinstance(reason, str):
        reason = f"its conversion ended without an answer ({_ending(code)}); perhaps it needs more "
        reason += "memory: give a larger --memory"
    raise ModelError(f"{job.path}: {' '.join(reason.split())[:500]}")


def _seconds() -> float:
    given = os.environ.get("FRIVKIT_CONVERT_SECONDS", str(SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"FRIVKIT_CONVERT_SECONDS is {given!r}; give a number of seconds above 0")
    return seconds


def _run(folder: Path, limit: float, path: Path) -> int:
    """Run the conversion to its end, and return its exit code."""
    # -P: files in the working folder are no modules.  The pipe closes when this process ends.
    command = [sys.executable, "-P", "-W", "ignore", "-m", "frivkit_torchscript.convert"]
    process = subprocess.Popen(  # noqa: S603  # our own module
        [*command, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),
        start_new_session=True,  # Ctrl-C reaches this process alone; the whole group can be ended
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{path}: its conversion did not end in {limit:g} seconds; allow it more with "
            "FRIVKIT_CONVERT_SECONDS"
        ) from error
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _answer(path: Path) -> dict[str, Any]:
    try:
        answer = json.loads(path.read_bytes()[: 1 << 16])
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
