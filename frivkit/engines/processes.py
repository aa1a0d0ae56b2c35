"""Worker processes on this machine, of which one that is lost costs its own task alone."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

from frivkit.interrupts import kept_from_children

MOST = 256
"""Most processes."""
_starting = threading.Lock()


class WorkerProcesses(Executor):
    """An executor whose processes are replaced when they are lost.

    A pool of ``concurrent.futures`` is broken as a whole when one of its processes ends.  Here each
    process is a pool of its own.  A process starts when it is needed first.

    Args:
        workers: The number of processes, 1 to :data:`MOST`.

    Example:
        >>> with WorkerProcesses(1) as workers:
        ...     workers.submit(sum, [1, 2, 3]).result()
        6
    """

    def __init__(self, workers: int) -> None:
        self._lock = threading.RLock()
        self._idle = [_Worker() for _ in range(workers)]
        self._busy: set[_Worker] = set()
        self._waiting: deque[_Call] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a process that is idle, or in the first one that becomes idle."""
        call = _Call(fn, args, kwargs, Future())
        with self._lock:
            self._waiting.append(call)
        self._hand_out()
        return call.future

    def stop(self) -> None:
        """End the processes that are running something; others take their place."""
        with self._lock:
            while self._waiting:
                self._waiting.popleft().future.cancel()
            for worker in self._busy:
                worker.end()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they are idle."""
        if cancel_futures:
            with self._lock:
                while self._waiting:
                    self._waiting.popleft().future.cancel()
        with self._lock:
            workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.close(wait=wait)

    def _hand_out(self) -> None:
        while True:
            with self._lock:
                if not (self._waiting and self._idle):
                    return
                call = self._waiting.popleft()
                if not call.future.set_running_or_notify_cancel():
                    continue
                worker = self._idle.pop()
                self._busy.add(worker)
            try:
                running = worker.submit(call)
            except Exception as error:  # it was lost while it was idle
                self._finished(worker, call, error, None)
                continue
            running.add_done_callback(partial(self._done, worker, call))

    def _done(self, worker: "_Worker", call: "_Call", done: Future[Any]) -> None:
        self._finished(worker, call, done.exception(), done)

    def _finished(
        self,
        worker: "_Worker",
        call: "_Call",
        error: BaseException | None,
        done: Future[Any] | None,
    ) -> None:
        lost = isinstance(error, BrokenProcessPool)
        if lost:
            worker.close(wait=False)
        with self._lock:
            self._busy.discard(worker)
            self._idle.append(_Worker() if lost else worker)
        if error is not None:
            call.future.set_exception(error)
        elif done is not None:
            call.future.set_result(done.result())
        self._hand_out()


@dataclass(frozen=True, slots=True)
class _Call:
    """A function to call, and where its result goes."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    future: Future[Any]


class _Worker:
    """One process."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._processes: set[BaseProcess] = set()

    def submit(self, call: _Call) -> Future[Any]:
        """Call a function in the process, which starts if it has not."""
        if self._pool is None:
            # Fresh processes: a fork of one that has threads of torch or ONNX Runtime may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, _begin)
        with _starting:  # so that the process which is new now is this worker's
            before = set(multiprocessing.active_children())
            with kept_from_children():
                running = self._pool.submit(call.function, *call.arguments, **call.keywords)
            self._processes |= set(multiprocessing.active_children()) - before
        return running

    def end(self) -> None:
        """End the process in the middle of what it does."""
        for process in self._processes:
            process.terminate()

    def close(self, *, wait: bool) -> None:
        """End the process once it is idle."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)


def _begin() -> None:
    """Ignore interrupts and warnings in this process, and end it with the one that started it."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not blocked
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            with suppress(Exception):
                parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
