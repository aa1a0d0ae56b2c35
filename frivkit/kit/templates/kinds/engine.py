"""Batches in threads of this process."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """Runs tasks in threads of this process."""

    def __init__(self, text: str) -> None:
        """Open it; ``text`` is the number of threads, 2 if it is empty."""
        self._count = int(text or 2)

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        with ThreadPoolExecutor(self._count) as pool:
            running: deque[Future[Result]] = deque()
            for item in items:
                running.append(pool.submit(task, item))
                if len(running) > self._count:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
