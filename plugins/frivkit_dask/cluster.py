"""Open a dask cluster as an engine."""

import asyncio
import logging
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from frivkit.engines.executor import ExecutorEngine
from frivkit.engines.machine import available_cores
from frivkit.errors import DeviceError, UsageError, one_line
from frivkit.interrupts import kept_from_children

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

MOST = 256
"""Most workers of a cluster on this machine."""
WAIT = 30
"""Seconds to wait for a scheduler to answer."""
PATIENCE = 1.0
"""Seconds in which a worker of this machine is to end, before it is killed."""
ADDRESSES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")


def open_dask(text: str) -> ExecutorEngine:
    """Return an engine on dask.

    Workers may join and leave while it runs.  dask runs a task again whose worker was lost, up to
    three times.

    Args:
        text: ``N`` for a cluster of N workers on this machine (empty: one a core), ``tcp://...`` or
            another address of a scheduler, or the path of its scheduler file.  Behind it may stand
            ``?folder=DIR``: where tasks are written, under a path that all workers see; without it,
            a temporary folder of this machine.

    Raises:
        DeviceError: dask is not installed, or no scheduler answers.
        UsageError: the text means nothing.
    """
    address, _, options = text.partition("?")
    given = dict(parse_qsl(options, keep_blank_values=True))
    folder = given.pop("folder", None)
    if given or (options and folder is None):
        raise UsageError(f"engine dask:{text} is not known; behind ? give folder=DIR alone")
    if folder is not None and not Path(folder).is_dir():
        raise UsageError(f"engine dask:{text}: {folder} is no folder; make it, or name another")
    try:
        import distributed
    except ImportError as error:
        raise DeviceError(
            f"engine dask:{text} needs the package distributed: python -m pip install "
            f"'frivkit[cluster]' ({error})"
        ) from error
    client = _client(address)
    engine = ExecutorEngine(
        client.get_executor(pure=False),
        workers=lambda: len(client.nthreads()) and sum(client.nthreads().values()),
        threads=1,
        folder=None if folder is None else Path(folder),
        lost=(distributed.scheduler.KilledWorker,),
        shares_memory=not address or address.isdecimal(),
    )
    weakref.finalize(engine, _close, client)
    return engine


def _client(address: str) -> "Client":
    import dask
    from distributed import Client, LocalCluster

    if not address or address.isdecimal():
        count = int(address) if address else available_cores()
        if not 1 <= count <= MOST:
            raise UsageError(f"engine dask:{address} is not known; give 1 to {MOST} workers")
        quiet = {"logging": {"distributed": "critical"}}  # workers read it when they start
        dask.config.set(quiet)
        with kept_from_children():
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # frivkit keeps its own bound; dask would pause workers
            )
        return Client(cluster)
    try:
        if address.startswith(ADDRESSES):
            return Client(address, timeout=WAIT)
        if not Path(address).is_file():
            raise UsageError(
                f"engine dask:{address} is not known; give dask:N, dask:tcp://HOST:PORT, or the "
                "path of a scheduler file that is there"
            )
        return Client(scheduler_file=address, timeout=WAIT)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"no dask scheduler answers at {address} ({one_line(error)}); start it with 'dask "
            "scheduler', or see docs/how-to/cluster.md"
        ) from error


def _close(client: "Client") -> None:
    """Close a client, and its cluster if that was made for it, from whatever thread.

    Python collects garbage on any thread, that of dask's event loop included.  There ``close`` only
    makes a coroutine, and waiting would wait for itself; so another thread does it.
    """

    def close() -> None:
        cluster = client.cluster
        client.close()
        if cluster is not None:
            cluster.sync(_end_workers, cluster)
            cluster.close()

    if client.asynchronous:
        threading.Thread(target=close, name="close dask").start()
    else:
        close()


async def _end_workers(cluster: "LocalCluster") -> None:
    """End the workers soon; ``close`` alone would wait 4 s for one that runs a task."""
    await asyncio.gather(*(nanny.kill(PATIENCE) for nanny in cluster.workers.values()))
