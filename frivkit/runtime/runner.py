"""One map over the batches of a data set, with results in the order of the examples.

Whatever reads data batch by batch (baseline outputs, ablations, moments, refits, comparisons) goes
through a :class:`Runner`.  Where its tasks run is the business of an engine.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from frivkit.data import Batch, Dataset
from frivkit.engines.engine import Engine, Item, LocalEngine, Result
from frivkit.progress import Progress, Silent
from frivkit.runtime.side_by_side import OneAhead


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
        self._shown = 0

    def __reduce__(self) -> Any:
        """Return what a task has of it in a worker: nothing that shows progress."""
        return Runner, (LocalEngine(), Silent())

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        return self._engine.workers

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
        with self.reading_ahead(data.read, data.examples, size) as read:
            on_range = _BatchTask(read, task)
            yield from self.map_ranges(data.examples, size, on_range, what, first=first)

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
        done = [steps * stop for _, stop in ranges]
        return self.map_items(ranges, _RangeTask(task), what, done, before=steps * first)

    def map_items(
        self,
        items: Sequence[Item],
        task: Callable[[Item], Result],
        what: str,
        done: Sequence[int],
        *,
        before: int = 0,
    ) -> Iterator[Result]:
        """Yield the result of every item, in order.

        Args:
            items: What the task is called with.
            task: Called with each item.
            what: What is being done, for the display of progress.
            done: For each item, the steps that are done in all when it is; the last are all steps.
            before: Steps that were done before.

        Raises:
            Whatever the task raises.
        """
        self._progress.start(what, done[-1] if done else before)
        self._shown = 0
        self._show(before)
        try:
            for steps, result in zip(done, self._engine.map(task, items), strict=True):
                self._show(steps)
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


class _BatchTask:
    """Reads the examples of a range, and runs a task on them."""

    def __init__(self, read: Callable[[int, int], Batch], task: Callable[[Batch], Any]) -> None:
        self._read, self._task = read, task

    def __call__(self, start: int, stop: int) -> Any:
        return self._task(self._read(start, stop))


class _RangeTask:
    """Calls a task with the ends of a range."""

    def __init__(self, task: Callable[[int, int], Any]) -> None:
        self._task = task

    def __call__(self, ends: tuple[int, int]) -> Any:
        return self._task(*ends)
