"""Workers: run jobs in this process, or in several."""

import multiprocessing
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from frivkit.errors import DeviceError, FrivkitError, UsageError
from frivkit.experiments.jobs import Job, JobResult
from frivkit.progress import Progress, Silent

MOST = 256
"""Most processes of a pool."""


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Processes that run jobs.

    Attributes:
        workers: The number of processes; with 1, jobs run in this one.
        threads: Threads of each.
    """

    workers: int = 1
    threads: int = 1

    @classmethod
    def parse(cls, spec: str, threads: int) -> "WorkerPool":
        """Read ``local`` or ``local:WORKERS``.

        Raises:
            DeviceError: there is no such engine.
            UsageError: the number of workers is not valid.

        Example:
            >>> WorkerPool.parse("local:4", 1)
            WorkerPool(workers=4, threads=1)
        """
        name, colon, number = spec.partition(":")
        if name != "local":
            raise DeviceError(f"no engine is named {name!r}; give local, or local:WORKERS")
        if not colon:
            return cls(1, threads)
        if not number.isdecimal() or not 1 <= int(number) <= MOST:
            raise UsageError(f"--engine is {spec}; give local:N with N processes, 1 to {MOST}")
        return cls(int(number), threads)

    def run(
        self, jobs: Sequence[Job], scratch: Path, progress: Progress
    ) -> Generator[tuple[Job, JobResult, float], None, None]:
        """Run jobs, and yield each result as soon as it is received.

        Every result that this process received before a failure is yielded before the failure is
        raised.  Jobs that are running then are ended; their checkpoints stay in ``scratch``.

        Args:
            jobs: The jobs, in the order in which they are started.
            scratch: The folder in which each job has a folder of its own.
            progress: Receives epochs of jobs in this process.

        Yields:
            Each job, its result and its duration in seconds.

        Raises:
            FrivkitError: a job failed, or its process ended.
        """
        if self.workers == 1:
            for job in jobs:
                yield job, *_timed(job, scratch, self.threads, progress)
        else:
            yield from self._spread(jobs, scratch)

    def _spread(
        self, jobs: Sequence[Job], scratch: Path
    ) -> Generator[tuple[Job, JobResult, float], None, None]:
        # Fresh processes: a fork of one that has threads of torch or ONNX Runtime may hang.
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(self.workers, context, _begin)
        pending = list(reversed(jobs))
        running: dict[Future[tuple[JobResult, float]], Job] = {}
        try:
            while pending or running:
                while pending and len(running) < self.workers:
                    job = pending.pop()
                    running[pool.submit(_timed, job, scratch, self.threads, Silent())] = job
                wait(running, return_when=FIRST_COMPLETED)
                failures = []
                # Again after each result: others may have arrived while it was written.
                while done := [future for future in running if future.done()]:
                    for future in done:
                        job, failure = running.pop(future), future.exception()
                        if failure is None:
                            yield job, *future.result()
                        else:
                            failures.append(failure)
                if failures:
                    raise failures[0]
        except BaseException as error:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise FrivkitError(
                    "a process of the sweep was ended from outside, perhaps for want of memory; "
                    "the same command goes on, with fewer workers if that is so"
                ) from None
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _timed(job: Job, scratch: Path, threads: int, progress: Progress) -> tuple[JobResult, float]:
    started = perf_counter()
    folder = scratch / job.name
    result = job.run(folder, threads, progress)
    shutil.rmtree(folder, ignore_errors=True)
    return result, perf_counter() - started


def _begin() -> None:
    """Ignore interrupts and warnings in this process, and end it with the one that started it."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            with suppress(Exception):
                parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
