"""Work in other threads of this process, with results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from frivkit.interrupts import StopGroup

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    task: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield ``task(item)`` for each item, in order, as many at once as there are threads.

    Items are taken in the caller's thread; one more than there are threads is under way.  With one
    thread, the caller's own runs everything.

    Args:
        task: What is done.
        items: With what.
        threads: How many may run at once, at least 1.

    Raises:
        Whatever the task raises, where its result would have been yielded; calls that are running
        are then asked to stop, as they are at Ctrl-C.

    Example:
        >>> list(side_by_side(lambda number: number * number, [1, 2, 3], 2))
        [1, 4, 9]
    """
    if threads == 1:
        yield from map(task, items)
        return
    group, running = StopGroup(), deque[Future[Result]]()
    with ThreadPoolExecutor(threads, "frivkit run", initializer=group.join) as pool:
        try:
            for item in items:
                running.append(pool.submit(copy_context().run, task, item))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BaseException:  # an error, Ctrl-C, or a caller that wants no more
            group.stop()
            for future in running:
                future.cancel()
            raise


class OneAhead(Generic[Result]):
    """Reads ranges of examples, each while the caller works on the one before.

    Ranges that follow each other are read ahead; any other is read when it is asked for.

    Args:
        read: From the ends of a range to what is read.
        examples: The number of examples.
        size: Examples in a range; the last one may hold fewer.

    Example:
        >>> ahead = OneAhead(lambda first, last: list(range(first, last)), 5, 2)
        >>> ahead(0, 2), ahead(2, 4), ahead(4, 5)
        ([0, 1], [2, 3], [4])
    """

    def __init__(self, read: Callable[[int, int], Result], examples: int, size: int) -> None:
        self._read, self._examples, self._size = read, examples, size
        self._context = copy_context()  # such as numpy's errstate
        self._pending: tuple[tuple[int, int], Future[Result]] | None = None
        self._wanted: SimpleQueue[tuple[tuple[int, int], Future[Result]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._group = StopGroup()

    def __call__(self, first: int, last: int) -> Result:
        """Return a range, and begin to read the next.

        Raises:
            Whatever reading raises.
        """
        pending, self._pending = self._pending, None
        ahead = pending is not None and pending[0] == (first, last)
        found = pending[1].result() if pending and ahead else self._read(first, last)
        if last < self._examples:
            self._pending = (last, min(last + self._size, self._examples)), Future()
            self._wanted.put(self._pending)
            if self._thread is None:  # a daemon: a source that hangs lets the program end
                self._thread = Thread(target=self._work, name="frivkit reading", daemon=True)
                self._thread.start()
        return found

    def close(self) -> None:
        """Let go of what was read ahead; what runs is asked to stop."""
        self._group.stop()
        self._wanted.put(None)
        self._pending = None

    def _work(self) -> None:
        self._group.join()
        for bounds, future in iter(self._wanted.get, None):
            try:
                future.set_result(self._context.run(self._read, *bounds))
            except BaseException as error:
                future.set_exception(error)
