"""One map over the batches of a data set, with results in the order of the examples.

Whatever reads data batch by batch (baseline outputs, ablations, moments, refits, comparisons) goes
through a :class:`Runner`.  Where its tasks run is the business of an :class:`Engine`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol, TypeVar

from frivkit.data import Batch, Dataset
from frivkit.progress import Progress
from frivkit.runtime.side_by_side import OneAhead

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where tasks run.  What a call of an offer of ``engines`` returns."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` for each item, in the order of the items.

        An error that a task raises is raised where its result would have been yielded.  Items are
        taken as results are: no engine may read all of them at once.
        """


EngineFactory = Callable[[str], Engine]
"""An offer of ``engines``: from the text behind ``NAME:`` (empty if there is none) to an engine."""


class LocalEngine:
    """Runs each task in this process when its result is asked for.

    Example:
        >>> list(LocalEngine().map(lambda number: number * number, [1, 2, 3]))
        [1, 4, 9]
    """

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` for each item, in the order of the items."""
        return map(task, items)


class Runner:
    """Runs a task on every batch of a data set and reports progress.

    Args:
        engine: Where tasks run.
        progress: Where steps are reported.

    Example:
        >>> import numpy as np
        >>> from frivkit.data import open_data
        >>> from frivkit.progress import Silent
        >>> digits = open_data("digits?n=5", None)
        >>> runner = Runner(LocalEngine(), Silent())
        >>> list(runner.map(digits, 2, lambda batch: (batch.first, len(batch.labels)), "counting"))
        [(0, 2), (2, 2), (4, 1)]
    """

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine, self._progress = engine, progress
        self._read_lock = Lock()  # sources are read by one thread at a time
        self._shown = 0

    def map(
        self,
        data: Dataset,
        size: int,
        task: Callable[[Batch], Result],
        what: str,
        *,
        first: int = 0,
    ) -> Iterator[Result]:
        """Yield the result of every batch, in the order of the examples.

        In this process, each batch is read while the one before is worked on.

        Args:
            data: The examples.
            size: Examples in a batch; the last one may hold fewer.
            task: Called with each batch.
            what: What is being done, for the display of progress.
            first: The example to begin with; those before it count as done.

        Raises:
            Whatever the task or the data raise.
        """

        def read_batch(start: int, stop: int) -> Batch:
            with self._read_lock:
                return data.read(start, stop)

        with self.reading_ahead(read_batch, data.examples, size) as read:
            yield from self.map_ranges(
                data.examples, size, lambda *ends: task(read(*ends)), what, first=first
            )

    @contextmanager
    def reading_ahead(
        self, read: Callable[[int, int], Result], examples: int, size: int
    ) -> Iterator[Callable[[int, int], Result]]:
        """Give a function that reads a range of examples, and meanwhile has read the next.

        Other engines than the one of this process do not run ranges in order, so that nothing is
        read ahead.

        Args:
            read: From the ends of a range to what is read; called by one thread at a time.
            examples: The number of examples.
            size: Examples in a range; the last one may hold fewer.
        """
        if not isinstance(self._engine, LocalEngine):
            yield read
            return
        ahead = OneAhead(read, examples, size)
        try:
            yield ahead
        finally:
            ahead.close()

    def map_ranges(
        self,
        examples: int,
        size: int,
        task: Callable[[int, int], Result],
        what: str,
        *,
        steps: int = 1,
        first: int = 0,
    ) -> Iterator[Result]:
        """Yield the result of every range of examples, in order; the task reads them itself.

        Args:
            examples: How many examples there are.
            size: Examples in a range; the last one may hold fewer.
            task: Called with the first example of a range and the one behind its last.
            what: What is being done, for the display of progress.
            steps: Steps of work for each example, if a range is run several times.
            first: The example to begin with; those before it count as done.

        Raises:
            Whatever the task raises.
        """
        ranges = [(start, min(start + size, examples)) for start in range(first, examples, size)]
        self._progress.start(what, steps * examples)
        self._shown = 0
        self._show(steps * first)
        try:
            results = self._engine.map(lambda bounds: task(*bounds), ranges)
            for (_, stop), result in zip(ranges, results, strict=True):
                self._show(steps * stop)
                yield result
        finally:
            self._progress.finish()

    def tick(self, steps: int) -> None:
        """Report steps from inside a task that takes long."""
        self._show(self._shown + steps)

    def _show(self, steps: int) -> None:
        """Report that so many steps are done in all, if that is news."""
        if steps > self._shown:
            self._progress.advance(steps - self._shown)
            self._shown = steps
