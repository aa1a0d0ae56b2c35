"""The process that converts a file: ``python -m frivkit_torchscript.convert FOLDER``.

The folder contains the job, and receives the ONNX file and the answer.  The file's own code runs in
this process, so its results are trusted no more than any ONNX file.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.data import Array
from frivkit.errors import FrivkitError, ModelError
from frivkit.torch_io.convert import convert
from frivkit.torch_io.network import Network, reason_of


def main(folder: Path) -> None:
    """Convert the file of a job, and write the outcome to ``answer.json``."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: dict[str, object] = {"done": True}
    try:
        _convert(json.loads((folder / "job.json").read_text()), folder)
    except FrivkitError as error:
        answer = {"error": str(error)}
    except Exception as error:  # torch and the file may raise anything
        answer = {"error": reason_of(error)}
    (folder / "answer.json").write_text(json.dumps(answer))


def _end_with_parent() -> None:
    """End this process when the other end of stdin is closed, for whatever reason."""
    with suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(1)


def _convert(job: Mapping[str, Any], folder: Path) -> None:
    from frivkit.torch_io import module_network as modules  # noqa: F401  # imports torch

    _limit_memory(int(job["memory"]))
    with np.load(folder / "examples.npz", allow_pickle=False) as stored:
        given = [stored[name] for name in stored.files]
    network, examples = _open(job["path"], job["kind"], given)
    batch = int(job["batch"]) if given else len(next(iter(examples.values())))
    convert(network, examples, batch, folder / "model.onnx")


def _open(path: str, kind: str, given: list[Array]) -> tuple[Network, dict[str, Array]]:
    import torch
    from torch import nn

    from frivkit.torch_io.module_network import ModuleNetwork
    from frivkit.torch_io.program_network import ProgramNetwork

    try:
        if kind == "torch.export":
            program = ProgramNetwork(torch.export.load(path))
            return program, program.examples()
        script: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # has no types
        network = ModuleNetwork(script, len(given))
    except FrivkitError:
        raise
    except Exception as error:  # torch may raise anything
        raise ModelError(f"torch cannot open it: {reason_of(error)}") from error
    return network, dict(zip(network.inputs, given, strict=True))


def _limit_memory(extra: int) -> None:
    """Limit memory to what is allocated now and ``extra`` bytes, on systems that support it."""
    with suppress(ImportError, OSError, ValueError):  # Windows; no /proc; a system that refuses
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
