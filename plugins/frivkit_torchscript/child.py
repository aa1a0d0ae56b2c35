"""The process that loads a file of torch, which may do whatever it likes, and writes it as ONNX.

It is given a folder with ``job.json`` and ``examples.npz`` and leaves ``model.onnx`` there, or
``failed.txt``.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.data import Array
from frivkit.errors import FrivkitError

JOB, EXAMPLES, MODEL, FAILED = "job.json", "examples.npz", "model.onnx", "failed.txt"


def main(folder: Path) -> None:
    """Do the job that lies in a folder."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    _bound(job["bytes"])
    with np.load(folder / EXAMPLES, allow_pickle=False) as stored:
        examples = {name: stored[name] for name in job["inputs"]}
    try:
        _convert(job, examples, folder / "made")
    except MemoryError as error:
        _fail(folder, f"it takes more memory than it may ({error}); allow it more with --memory")
    except FrivkitError as error:
        _fail(folder, str(error))
    except Exception as error:  # torch raises what it likes, and so does a file
        from frivkit.torchconvert import reason_of

        _fail(folder, f"it cannot be loaded: {reason_of(error)}")
    else:
        for made in (folder / "made").iterdir():
            made.replace(folder / made.name)


def _convert(job: dict[str, Any], examples: dict[str, Array], made: Path) -> None:
    import torch

    from frivkit.torchconvert import convert
    from frivkit.torchconvert.network import Network

    made.mkdir()
    torch.set_num_threads(1)
    network: Network
    if job["kind"] == "torch.export":
        from frivkit.torchconvert.programs import ProgramNetwork

        network = program = ProgramNetwork(torch.export.load(job["path"]))
        examples = _named(program.inputs, examples) or program.examples()
    else:
        from frivkit.torchconvert.modules import ModuleNetwork

        module = torch.jit.load(job["path"], map_location="cpu")  # type: ignore[no-untyped-call]
        network = ModuleNetwork(module, len(examples))
        examples = _named(network.inputs, examples)
    convert(network, examples, job["batch"], made / MODEL)


def _named(names: Any, examples: dict[str, Array]) -> dict[str, Array]:
    if examples and len(names) != len(examples):
        raise FrivkitError(f"it takes {', '.join(names)}; give a shape for each of them")
    return dict(zip(names, examples.values(), strict=False))


def _bound(size: int) -> None:
    """Bound the memory of this process, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _fail(folder: Path, reason: str) -> None:
    (folder / FAILED).write_text(" ".join(reason.split())[:500], encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # what the file registered to run at exit is not waited for
