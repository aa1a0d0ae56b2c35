"""What is left of ``--memory`` for activations, beside the program and the weights.

``--memory`` is one number for a command with all its processes.  Each of them has a share of it, of
which the program and the weights of its sessions take their part first.
"""

import sys
from dataclasses import replace
from pathlib import Path

from frivkit.cache.size import format_size
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.mapped_pages import page_bound
from frivkit.runtime.example_memory import SMALLEST
from frivkit.runtime.execution import Execution
from frivkit.runtime.shared_weights import held_bytes, weight_bytes

PROGRAM = 144 << 20
"""Bytes of a process that has loaded numpy, scipy, ONNX and ONNX Runtime (measured: 137 MiB)."""
TORCH = 192 << 20
"""Bytes that torch takes beside that (measured: 180 MiB)."""
COPIES = 2
"""How often the weights of a file are in memory, at least: when it is read, and when it runs."""
NEW_WEIGHTS = 3
"""Times the bytes of the weights that new ones take: in float64 as they are fitted, and written."""


def check_file_fits(execution: Execution, path: Path) -> None:
    """Raise an error if a file is too large to be read, before it is.

    Args:
        execution: How the model is run; one that bounds only tasks refuses nothing.
        path: The file; weights in files of their own do not count.

    Raises:
        ModelError: it does not fit into memory.
    """
    if path.is_file():
        _left(execution, path.name, COPIES * path.stat().st_size)


def beside_weights(execution: Execution, *models: Model, more: int = 0) -> Execution:
    """Return an execution with what is left for each task, beside the program and the weights.

    From now on this process drops pages of mapped files when it has more than its share.

    Args:
        execution: How models are run; one that bounds only tasks is given back as it is.
        models: The models that are run, the one that is opened first.
        more: Bytes that the command takes beside.

    Raises:
        ModelError: program and weights do not fit, or leave less than the smallest room.
    """
    if execution.whole is None:
        return execution
    weights = held_bytes([model.ir for model in models]) + more
    left = _left(execution, models[0].path.name, weights)
    page_bound.set(_share(execution))
    return replace(execution, memory=min(execution.whole, left))


def _left(execution: Execution, name: str, weights: int) -> int:
    """Return the bytes that are left to one task.

    Raises:
        ModelError: they are too few.
    """
    program = _program()
    left = _share(execution) - program - weights
    whole, processes = execution.whole, execution.processes
    if whole is None or left >= SMALLEST:
        return left
    needed = processes * (program + weights + SMALLEST)
    among = f" in each of {processes} processes" if processes > 1 else ""
    fewer = ", or fewer workers by --engine" if processes > 1 else ""
    raise ModelError(
        f"{name} takes {format_size(program)} for the program and {format_size(weights)} for "
        f"weights{among}, more than --memory allows ({format_size(whole)}): give --memory "
        f"{-(-needed >> 20)}MiB or more{fewer}"
    )


def _share(execution: Execution) -> int:
    """Return the bytes of each process; one process may always run a small network."""
    return max(execution.whole or 0, _program() + 2 * SMALLEST) // execution.processes


def bytes_of_new_weights(model: Model, *, trains: bool) -> int:
    """Return the bytes that new weights of a model take, as they are fitted and written.

    Args:
        model: The model.
        trains: Whether they are trained, so that torch is loaded if it is not yet.
    """
    torch = TORCH if trains and "torch" not in sys.modules else 0
    return NEW_WEIGHTS * weight_bytes(model.ir) + torch


def _program() -> int:
    """Return the bytes of a process without any model.

    They are a number that was measured elsewhere, and not measured now: batches follow from them,
    whose size decides the last bits of results.
    """
    return PROGRAM + (TORCH if "torch" in sys.modules else 0)
