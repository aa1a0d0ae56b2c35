"""The process that converts a file: ``python -m frivkit_torchscript.convert FOLDER``.

The folder contains the job, and receives the ONNX file and the answer.  The file's own code runs in
this process, so its results are trusted no more than any ONNX file.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
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
        stored_examples = [stored[name] for name in stored.files]
    numbers = (job["inputs"], job["scalars"])
    network, examples, fixed = _open(job["path"], job["kind"], stored_examples, *numbers)
    batch = int(job["batch"]) if stored_examples else len(next(iter(examples.values())))
    convert(network, examples, batch, folder / "model.onnx", fixed)


def _open(
    path: str,
    kind: str,
    examples: list[Array],
    given: Mapping[str, list[float]],
    scalars: Mapping[str, float],
) -> tuple[Network, dict[str, Array], dict[str, Array]]:
    """Return the network, its examples, and the arrays of the inputs that have no examples."""

    def numbers(inputs: Sequence[str]) -> dict[str, Any]:
        return {**{name: scalars[name] for name in inputs if name in scalars}, **given}

    import torch
    from torch import nn

    from frivkit.torch_io.module_network import ModuleNetwork, given_arrays, input_names
    from frivkit.torch_io.program_network import ProgramNetwork

    try:
        if kind == "torch.export":
            program = ProgramNetwork(torch.export.load(path))
            return program, *program.examples(numbers(program.inputs))
        script: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # has no types
        fixed = given_arrays(script, numbers(input_names(script) or []))
        network = ModuleNetwork(script, len(examples) + len(fixed))
        _check_complete(script, network.inputs)
    except FrivkitError:
        raise
    except Exception as error:  # torch may raise anything
        raise ModelError(f"torch cannot open it: {reason_of(error)}") from error
    names = [name for name in network.inputs if name not in fixed]
    if len(names) != len(examples):
        raise ModelError(
            f"its first {len(network.inputs)} inputs are {', '.join(network.inputs)}; give numbers "
            "or a shape for each of them"
        )
    return network, dict(zip(names, examples, strict=True)), fixed


def _check_complete(script: Any, inputs: Sequence[str]) -> None:
    """Raise an error if a network takes inputs for which nothing is given."""
    from frivkit.torch_io.module_network import input_names, required_inputs

    names = input_names(script) or []
    if len(inputs) < (required_inputs(script) or 0):
        missing = names[len(inputs)]
        raise ModelError(
            f"its inputs are {', '.join(names)}, and nothing is given for {missing!r}: give a "
            f"shape of each by --input-shape, or numbers by --input {missing}=VALUE"
        )


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
