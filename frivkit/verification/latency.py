"""How long a run takes, measured in turns so that whatever else happens hits both models alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from frivkit.progress import Progress

FEWEST, MOST = 5, 25
"""Rounds, in each of which every model has one turn."""
SECONDS = 4.0
"""What the rounds of one batch size should take together."""
TURN = 0.02
"""Seconds that a turn should last: shorter runs are repeated and their median is taken."""
WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a run takes.

    Attributes:
        turns: The milliseconds of each turn.

    Example:
        >>> one, other = Latency((1.0, 2.0, 4.0)), Latency((0.5, 1.0, 3.0))
        >>> one.median, one.quartiles, other.against(one)
        (2.0, (1.5, 3.0), (0.5, 0.5, 0.625))
    """

    turns: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over turns, in milliseconds."""
        return float(np.median(self.turns))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile over turns, in milliseconds."""
        low, high = np.quantile(self.turns, [0.25, 0.75]).tolist()
        return low, high

    def against(self, other: "Latency") -> tuple[float, float, float]:
        """Return the quartiles, the median among them, of the ratio to another's turns.

        Turns that followed each other are compared, so that what slows both for a while (another
        program, a cooler clock) leaves the ratio alone.
        """
        ratios = np.divide(self.turns, other.turns)
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high


def interleaved(
    runs: Sequence[Callable[[], object]], progress: Progress, what: str
) -> tuple[Latency, ...]:
    """Time several things in turns (the first, the second, the first, ...) after a warm-up.

    A turn of short runs begins with one that does not count: the threads of the one before may
    still be waiting busily for more work, and its weights fill the cache.

    Args:
        runs: What to time.
        progress: Where rounds are reported.
        what: What is being done, for the progress display.

    Returns:
        The latency of each, in the order of ``runs``.
    """
    once = [min(_seconds(run) for _ in range(WARM_UP)) for run in runs]
    repeats = [max(1, round(TURN / max(each, 1e-9))) for each in once]
    turns = sum(each * (count + (count > 1)) for each, count in zip(once, repeats, strict=True))
    rounds = int(min(MOST, max(FEWEST, SECONDS / max(turns, 1e-9))))
    times = np.empty((len(runs), rounds))
    progress.start(what, rounds)
    for turn in range(rounds):
        for i, (run, count) in enumerate(zip(runs, repeats, strict=True)):
            if count > 1:
                run()
            times[i, turn] = _seconds(run, count)
        progress.advance()
    progress.finish()
    return tuple(Latency(tuple(each)) for each in (times * 1000).tolist())


def _seconds(run: Callable[[], object], count: int = 1) -> float:
    """Return the median of so many runs."""
    times = []
    for _ in range(count):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times)
