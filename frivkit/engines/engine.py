"""What an engine is, and the one that runs everything in this process."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from frivkit.engines.machine import machine_kind

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of one item.

    Attributes:
        item: The item.
        result: What the task returned, None if it was lost.
        lost: The reason in one line if the workers that ran it were lost; None if it has a result.
    """

    item: Item
    result: Result | None
    lost: str | None = None


class Engine(Protocol):
    """Where tasks run.  What a call of an offer of ``engines`` returns.

    A task is a function of one item.  It runs the same wherever it runs, so every engine gives the
    same results on machines of one kind.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at once, at least 1."""

    @property
    def threads(self) -> int | None:
        """The threads that a task takes if the user names no number; None for the default."""

    @property
    def machines(self) -> Mapping[str, int]:
        """How many tasks ran on each kind of machine; see ``frivkit.engines.machine``."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` for each item, in the order of the items.

        An error that a task raises is raised where its result would have been yielded.  Items are
        taken as results are: no engine may read all of them at once.

        Raises:
            WorkerLostError: the workers that ran an item were lost, several times.
        """

    def outcomes(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Yield the outcome of each item as soon as it is there, in any order.

        An item whose workers were lost is an outcome, too.  An error that a task raises is raised
        behind the outcomes that are there.
        """


EngineFactory = Callable[[str], Engine]
"""An offer of ``engines``: from the text behind ``NAME:`` (empty if there is none) to an engine."""


class LocalEngine:
    """Runs each task in this process when its result is asked for.

    Example:
        >>> list(LocalEngine().map(lambda number: number * number, [1, 2, 3]))
        [1, 4, 9]
    """

    workers = 1
    threads = None

    def __init__(self) -> None:
        self._tasks = 0

    @property
    def machines(self) -> Mapping[str, int]:
        """How many tasks ran here, by the kind of this machine."""
        return Counter({machine_kind(): self._tasks})

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` for each item, in the order of the items."""
        for item in items:
            result = task(item)
            self._tasks += 1
            yield result

    def outcomes(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Yield the outcome of each item, in the order of the items."""
        for item in items:
            result = task(item)
            self._tasks += 1
            yield Outcome(item, result)
