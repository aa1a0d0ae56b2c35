"""The schedule of an engine on an executor, item by item.

One client hands items over and takes results.  Each takes it some time, in which it does nothing
else.  It hands over at most :data:`~frivkit.engines.executor.AHEAD` items for each worker.  Where
results are wanted in order it waits for the oldest item, else for the one that is done first.  A
worker that is free takes the oldest item that waits.  Before its first item of a map it reads the
task and makes its sessions; before its first item at all it starts.  Examples come from one store,
one worker after the other at its full rate.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from frivkit.engines.executor import AHEAD


@dataclass(frozen=True, slots=True)
class Costs:
    """What running elsewhere costs, in seconds unless said otherwise.

    Attributes:
        hand_over: The client's time to hand an item over and to take its result.
        around: A worker's time around an item.
        start: Until a new worker takes its first item.
        store_rate: Bytes a second that the store of the examples gives to all workers together.
        result_rate: Bytes a second of results that the client takes.
    """

    hand_over: float = 0.0
    around: float = 0.0
    start: float = 0.0
    store_rate: float = float("inf")
    result_rate: float = float("inf")


@dataclass(frozen=True, slots=True)
class TaskMap:
    """One call of an engine: a task for many items.

    Attributes:
        seconds: The time of each item on one core, in the order of the items.
        write: The client's time before the first item: it writes the task.
        begin: A worker's time before its first item of this map: it reads the task.
        read_bytes: Bytes of examples that an item reads.
        result_bytes: Bytes that an item gives back.
        ordered: Whether results are wanted in the order of the items.
    """

    seconds: Sequence[float]
    write: float = 0.0
    begin: float = 0.0
    read_bytes: float = 0.0
    result_bytes: float = 0.0
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """How maps ran, one after the other.

    Attributes:
        seconds: From the first call to the last result.
        computing: Seconds of all workers in items.
        fetching: Seconds of all workers in waiting for examples.
        beginning: Seconds of all workers in starting and in reading tasks.
        client: Seconds in which the client was busy.
    """

    seconds: float
    computing: float
    fetching: float
    beginning: float
    client: float


def simulate(maps: Sequence[TaskMap], workers: int, costs: Costs = Costs()) -> Schedule:
    """Return the schedule of maps, each of which waits for the one before it.

    Args:
        maps: The maps, in order.
        workers: The number of workers, at least 1; each computes one item at a time.
        costs: What running elsewhere costs.

    Example:
        >>> simulate([TaskMap([1.0, 1.0, 1.0])], workers=2).seconds
        2.0
    """
    run = _Run(workers, costs)
    for one in maps:
        run.map(one)
    return Schedule(run.now, run.computing, run.fetching, run.beginning, run.client)


class _Run:
    """The state of workers, store and client while maps run."""

    def __init__(self, workers: int, costs: Costs) -> None:
        self._costs, self._workers = costs, workers
        self._started = [False] * workers
        self._store_free = 0.0
        self.now = self.computing = self.fetching = self.beginning = self.client = 0.0

    def map(self, one: TaskMap) -> None:
        """Run a map; ``now`` is the time of the client."""
        self._spend(one.write)
        free = [(self.now, worker) for worker in range(self._workers)]
        fresh = [True] * self._workers
        flight: deque[float] | list[float] = deque() if one.ordered else []
        hand_over = self._costs.hand_over / 2
        take = hand_over + one.result_bytes / self._costs.result_rate
        waiting = iter(one.seconds)
        left = len(one.seconds)
        while left or flight:
            while left and len(flight) < AHEAD * self._workers:
                self._spend(hand_over)
                done = self._run(one, next(waiting), free, fresh)
                left -= 1
                if isinstance(flight, deque):
                    flight.append(done)
                else:
                    heapq.heappush(flight, done)
            first = flight.popleft() if isinstance(flight, deque) else heapq.heappop(flight)
            self.now = max(self.now, first)
            self._spend(take)

    def _run(
        self, one: TaskMap, seconds: float, free: list[tuple[float, int]], fresh: list[bool]
    ) -> float:
        """Run an item on the worker that is free first, and return when its result is there."""
        at, worker = heapq.heappop(free)
        begun = max(at, self.now)
        ready = begun
        if not self._started[worker]:
            ready += self._costs.start
            self._started[worker] = True
        if fresh[worker]:
            ready += one.begin
            fresh[worker] = False
        self.beginning += ready - begun
        read = ready
        if one.read_bytes:
            read = max(ready, self._store_free) + one.read_bytes / self._costs.store_rate
            self._store_free = read
        done = read + seconds + self._costs.around
        self.fetching += read - ready
        self.computing += seconds
        heapq.heappush(free, (done, worker))
        return done

    def _spend(self, seconds: float) -> None:
        """Let the client be busy."""
        self.now += seconds
        self.client += seconds


@dataclass(frozen=True, slots=True)
class Floors:
    """Times below which maps cannot go, whatever the schedule, in seconds.

    Attributes:
        work: All items, divided among the workers.
        longest: The longest item of each map, one after the other, with its beginning.
        client: All that the client does.
        store: All examples from the store.
    """

    work: float
    longest: float
    client: float
    store: float


def floors(maps: Sequence[TaskMap], workers: int, costs: Costs = Costs()) -> Floors:
    """Return the floors of maps that run one after the other."""
    return Floors(
        work=sum(sum(one.seconds) for one in maps) / workers,
        longest=sum(max(one.seconds, default=0.0) + one.begin + one.write for one in maps),
        client=sum(
            one.write + len(one.seconds) * (costs.hand_over + one.result_bytes / costs.result_rate)
            for one in maps
        ),
        store=sum(len(one.seconds) * one.read_bytes for one in maps) / costs.store_rate,
    )
