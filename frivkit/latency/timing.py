"""Latency, measured in interleaved turns, so that other load slows both models alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Literal

import numpy as np

from frivkit.progress import Progress

FEWEST, MOST = 5, 25
"""Rounds, in each of which every model has one turn."""
SECONDS = 4.0
"""Seconds that all rounds of one batch size should take."""
TURN = 0.02
"""Seconds that a turn should last: shorter runs are repeated and their median is taken."""
WARM_UP = 2
"""Runs of each model before the first turn."""
Verdict = Literal["faster", "slower", "no difference measured"]
"""What was measured of a ratio of two latencies, see :func:`verdict`."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of a run.

    Attributes:
        turns: The milliseconds of each turn.

    Example:
        >>> original, compressed = Latency((1.0, 2.0, 4.0)), Latency((0.5, 1.0, 3.0))
        >>> original.median, original.quartiles, compressed.against(original)
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
        """Return the first quartile, the median and the third quartile of the ratio to another.

        Each turn is compared with the other's turn of the same round, so that a slowdown of both
        (another program, a lower clock rate) does not change the ratio.
        """
        ratios = np.divide(self.turns, other.turns)
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high


def verdict(ratio: tuple[float, float, float]) -> Verdict:
    """Return what a ratio of latencies says of the first of two models.

    1. It is faster if three quarters of the pairs say so (the third quartile is below 1), and
       slower if three quarters say the contrary.
    2. Else, where the quartiles are on both sides of 1, no difference is measured.  If they are far
       apart, other load on the machine may hide one.

    Args:
        ratio: The first quartile, the median and the third quartile, as :meth:`Latency.against`
            returns them.

    Example:
        >>> verdict((0.5, 0.6, 0.9)), verdict((0.98, 1.0, 1.01)), verdict((0.7, 0.9, 1.2))
        ('faster', 'no difference measured', 'no difference measured')
    """
    low, _, high = ratio
    if high < 1:
        return "faster"
    if low > 1:
        return "slower"
    return "no difference measured"


def interleaved(
    runs: Sequence[Callable[[], object]], progress: Progress, what: str
) -> tuple[Latency, ...]:
    """Time several functions in turns (the first, the second, the first, ...) after a warm-up.

    A turn of short runs begins with one that is not counted: the threads of the run before may
    still spin, waiting for work, and its weights fill the cache.

    Args:
        runs: The functions to time.
        progress: Receives the rounds.
        what: The name of the task in the progress display.

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
    """Return the median duration of ``count`` runs, in seconds."""
    times = []
    for _ in range(count):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times)
