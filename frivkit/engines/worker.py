"""What runs in a worker: a task that was read once, on one item after the other."""

import pickle
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.engines.machine import machine_kind
from frivkit.engines.references import read_task
from frivkit.errors import FrivkitError, one_line

_kept = threading.local()
"""The task that a thread ran last, with its sessions, and its digest."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a worker gives back.

    Attributes:
        machine: The kind of its machine.
        result: What the task returned.
        error: What it raised; None if it returned.
    """

    machine: str
    result: Any
    error: Exception | None = None


def run_item(path: str, digest: str, item: Any) -> Returned:
    """Run the task of a file on an item.

    Args:
        path: The file that ``frivkit.engines.references.write_task`` wrote.
        digest: Its digest.
        item: What the task is called with.
    """
    try:
        if getattr(_kept, "digest", None) != digest:
            _kept.digest = _kept.task = None  # two tasks at once may not fit into memory
            _kept.task = read_task(Path(path), digest)
            _kept.digest = digest
        return Returned(machine_kind(), _kept.task(item))
    except Exception as error:  # a task may raise anything; the engine raises it again
        return Returned(machine_kind(), None, _sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return an error that can be pickled: itself, or one with its text."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # what was pickled a moment ago
    except Exception:  # classes of others may do anything
        return FrivkitError(one_line(error, named=True))
    return (
        error
        if type(again) is type(error) and str(again) == str(error)
        else FrivkitError(one_line(error, named=True))
    )
