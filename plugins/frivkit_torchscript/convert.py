"""The process that opens the file: ``python -m frivkit_torchscript.convert FOLDER``.

The folder holds the job and takes the ONNX file and the answer.  The file's own code runs here, so
nothing that it leaves behind is believed further than any ONNX file is.
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
    """Do the job, and say in ``answer.json`` how it went."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: dict[str, object] = {"done": True}
    try:
        _do(json.loads((folder / "job.json").read_text()), folder)
    except FrivkitError as error:
        answer = {"error": str(error)}
    except Exception as error:  # torch raises what it likes, and so does the file
        answer = {"error": reason_of(error)}
    (folder / "answer.json").write_text(json.dumps(answer))


def _end_with_parent() -> None:
    """End when the other end of stdin is gone, however that came about."""
    with suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(1)


def _do(job: Mapping[str, Any], folder: Path) -> None:
    from frivkit.torch_io import module_network as modules  # noqa: F401  # imports torch

    _limit_memory(int(job["memory"]))
    with np.load(folder / "examples.npz", allow_pickle=False) as stored:
        given = [stored[name] for name in stored.files]
    network, examples = _opened(job["path"], job["kind"], given)
    batch = int(job["batch"]) if given else len(next(iter(examples.values())))
    convert(network, examples, batch, folder / "model.onnx")


def _opened(path: str, kind: str, given: list[Array]) -> tuple[Network, dict[str, Array]]:
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
    except Exception as error:  # torch raises what it likes
        raise ModelError(f"torch cannot open it: {reason_of(error)}") from error
    return network, dict(zip(network.inputs, given, strict=True))


def _limit_memory(more: int) -> None:
    """Limit what is allocated to what is there now and so many bytes more, where that works."""
    with suppress(ImportError, OSError, ValueError):  # Windows; no /proc; a system that refuses
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
