"""An engine on any executor of ``concurrent.futures``."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic

from frivkit.engines.engine import Item, Outcome, Result
from frivkit.engines.references import write_task
from frivkit.engines.worker import Returned, run_item
from frivkit.errors import WorkerLostError
from frivkit.files import remove_abandoned, temporary_name, write_errors

TRIES = 3
"""How often an item runs whose workers are lost."""
AHEAD = 2
"""Items that are handed over for each worker: one that runs, one that waits."""


class ExecutorEngine:
    """Runs tasks on an executor of ``concurrent.futures``, such as those of dask or Ray.

    Workers get the path of a task, its digest and an item; the task itself is read from a file, as
    ``frivkit.engines.references`` says.  Each thread of a worker keeps the task that it ran last.

    Args:
        executor: Runs functions on workers, in which frivkit must be installed.
        workers: How many items run at once; a function if that may change.
        threads: The threads that a task takes if the user names no number.
        folder: Where the files of tasks go, under a path that all workers see; None takes the
            folder for temporary files, which workers of this machine see.
        lost: What a future raises whose worker was lost, and which may run again.
        stop: Ends what is running when the user interrupts; None waits for it.
        shares_memory: Whether the workers are processes of this machine, which share ``--memory``
            with this one; each of others has as much.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> engine = ExecutorEngine(ThreadPoolExecutor(2), workers=2)
        >>> list(engine.map(lambda number: number * number, [1, 2, 3]))
        [1, 4, 9]
    """

    def __init__(
        self,
        executor: Executor,
        *,
        workers: int | Callable[[], int],
        threads: int | None = None,
        folder: Path | None = None,
        lost: tuple[type[BaseException], ...] = (BrokenExecutor,),
        stop: Callable[[], None] | None = None,
        shares_memory: bool = False,
    ) -> None:
        self._executor, self._workers, self.threads = executor, workers, threads
        self._lost, self._stop = lost, stop
        self.shares_memory = shares_memory
        place = (Path(tempfile.gettempdir()) if folder is None else folder) / "frivkit-tasks"
        remove_abandoned(place)
        self._folder = temporary_name(place)
        with write_errors(self._folder):
            self._folder.mkdir(mode=0o700)  # a worker runs what is in it
        self._machines: Counter[str] = Counter()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def workers(self) -> int:
        """How many tasks run at once, at least 1."""
        return max(1, self._workers() if callable(self._workers) else self._workers)

    @property
    def machines(self) -> Mapping[str, int]:
        """How many tasks ran on each kind of machine."""
        return dict(self._machines)

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` for each item, in the order of the items.

        Raises:
            WorkerLostError: the workers that ran an item were lost :data:`TRIES` times.
            FrivkitError: the task cannot be sent to a worker.
            Whatever the task raises.
        """
        with self._flight(task, items) as flight:
            while flight.fill():
                outcome = flight.settle(flight.runs[0])
                if outcome is not None and outcome.lost is not None:
                    raise WorkerLostError(outcome.lost)
                if outcome is not None:
                    yield outcome.result  # type: ignore[misc]  # None only if it was returned

    def outcomes(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Yield the outcome of each item as soon as it is there, in any order.

        Raises:
            FrivkitError: the task cannot be sent to a worker.
            Whatever the task raises, behind the outcomes that are there.
        """
        with self._flight(task, items) as flight:
            try:
                while flight.fill():
                    outcome = flight.settle(_first_done(flight.runs))
                    if outcome is not None:
                        yield outcome
            except Exception:
                yield from flight.finished()
                raise
            finally:
                if any(not run.future.done() for run in flight.runs):
                    self._end_running()  # such tasks may take hours

    @contextmanager
    def _flight(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> "Iterator[_Flight[Item, Result]]":
        path, digest = write_task(task, self._folder)

        def submit(item: Item) -> Future[Returned]:
            os.utime(self._folder)  # it is not abandoned, however long tasks take
            return self._executor.submit(run_item, str(path), digest, item)

        flight: _Flight[Item, Result] = _Flight(
            submit, iter(items), lambda: AHEAD * self.workers, self._lost, self._note
        )
        try:
            yield flight
        except KeyboardInterrupt:
            self._end_running()
            raise
        finally:
            for run in flight.runs:
                run.future.cancel()
            with suppress(OSError):
                path.unlink()

    def _end_running(self) -> None:
        if self._stop is not None:
            self._stop()

    def _note(self, machine: str) -> None:
        """Count a task by the kind of its machine."""
        if machine not in self._machines and self._machines:
            warnings.warn(
                "workers run on machines of several kinds, whose results may differ in their last "
                "bits; the provenance names them",
                stacklevel=2,
            )
        self._machines[machine] += 1


@dataclass(slots=True, eq=False)
class _Run(Generic[Item]):
    """An item that was handed over, and how often."""

    item: Item
    future: Future[Returned]
    tries: int = 1


@dataclass(slots=True, eq=False)
class _Flight(Generic[Item, Result]):
    """The items of one task that were handed over and not settled.

    Attributes:
        submit: Hands an item over.
        waiting: The items that are not handed over yet.
        most: How many may be handed over at once, now.
        lost: What a future raises whose worker was lost.
        note: Is told the kind of machine of each task that ran.
        runs: The items that were handed over, in their order.
    """

    submit: Callable[[Item], Future[Returned]]
    waiting: Iterator[Item]
    most: Callable[[], int]
    lost: tuple[type[BaseException], ...]
    note: Callable[[str], None]
    runs: deque[_Run[Item]] = field(default_factory=deque)

    def fill(self) -> bool:
        """Hand over as many items as may be, and return whether any is not settled."""
        for item in islice(self.waiting, max(0, self.most() - len(self.runs))):
            self.runs.append(_Run(item, self.submit(item)))
        return bool(self.runs)

    def settle(self, run: _Run[Item]) -> Outcome[Item, Result] | None:
        """Wait for an item, and return what became of it; None if it runs again.

        Raises:
            Whatever the task raised.
        """
        wait([run.future])
        reason = self._lost_reason(run)
        if reason is not None and run.tries < TRIES:
            run.future, run.tries = self.submit(run.item), run.tries + 1
            return None
        self.runs.remove(run)
        if reason is not None:
            return Outcome(run.item, None, reason)
        returned = run.future.result()
        self.note(returned.machine)
        if returned.error is not None:
            raise returned.error
        return Outcome(run.item, returned.result)

    def finished(self) -> Iterator[Outcome[Item, Result]]:
        """Yield the results that are there, those that come while one is written included."""
        while done := [run for run in self.runs if run.future.done()]:
            for run in done:
                self.runs.remove(run)
                if self._lost_reason(run) is None and (back := run.future.result()).error is None:
                    self.note(back.machine)
                    yield Outcome(run.item, back.result)

    def _lost_reason(self, run: _Run[Item]) -> str | None:
        """Return why a finished run has no result though its task did not fail."""
        try:
            error = run.future.exception()
        except CancelledError as cancelled:  # an executor that was shut down by somebody else
            error = cancelled
        if error is None:
            return None
        if not isinstance(error, (*self.lost, CancelledError)):
            raise error  # of the executor, such as an item that cannot be pickled
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        return (
            f"its worker was lost {run.tries} times ({reason[0]}), perhaps for want of memory; "
            "give fewer workers or a smaller --memory"
        )


def _first_done(runs: Iterable[_Run[Item]]) -> _Run[Item]:
    """Return a run that is done; wait for one."""
    done, _ = wait([run.future for run in runs], return_when=FIRST_COMPLETED)
    return next(run for run in runs if run.future in done)
