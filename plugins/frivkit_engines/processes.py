"""The engine of several processes on this machine."""

import weakref

from frivkit.engines.executor import ExecutorEngine
from frivkit.engines.machine import available_cores
from frivkit.engines.processes import MOST, WorkerProcesses
from frivkit.errors import UsageError


def open_processes(text: str) -> ExecutorEngine:
    """Return an engine of several processes.

    Args:
        text: Their number; empty takes one for each core that this process may use.

    Raises:
        UsageError: the text is no number from 1 to 256.

    Example:
        >>> open_processes("2").workers
        2
    """
    cores = available_cores()
    if text and not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise UsageError(
            f"engine processes:{text} is not known; give processes:N with N processes, 1 to {MOST}"
        )
    count = int(text) if text else min(cores, MOST)
    processes = WorkerProcesses(count)
    engine = ExecutorEngine(
        processes,
        workers=count,
        threads=max(1, cores // count),
        stop=processes.stop,
        shares_memory=True,
    )
    weakref.finalize(engine, processes.shutdown, wait=False, cancel_futures=True)
    return engine
