"""Timing in rounds, A B C, A B C, so that a slow minute of the machine affects all competitors.

The clock is ``perf_counter`` for elapsed time, or ``process_time`` for processor time: with one
thread they are equal on an idle machine, and on a shared one processor time leaves out the waiting.
"""

import gc
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

Json = dict[str, Any]
Seconds = dict[str, list[float]]
Clock = Callable[[], float]


def timed(work: Callable[[], object], clock: Clock = perf_counter) -> float:
    """Return the seconds that a function takes, after a garbage collection."""
    gc.collect()
    start = clock()
    work()
    return clock() - start


def interleaved(
    competitors: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = perf_counter
) -> Seconds:
    """Return the seconds of every competitor in every round."""
    seconds: Seconds = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, work in competitors.items():
            seconds[name].append(timed(work, clock))
    return seconds


def fastest(
    choices: Mapping[int, Callable[[], object]], rounds: int, clock: Clock = perf_counter
) -> tuple[int, Seconds]:
    """Return the choice with the least median time, after one round of warm-up, and all times."""
    interleaved({str(key): work for key, work in choices.items()}, 1)
    seconds = interleaved({str(key): work for key, work in choices.items()}, rounds, clock)
    return min(choices, key=lambda key: median(seconds[str(key)])), seconds


def ratio(competitor: list[float], base: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum of the ratios of two competitors, round by round."""
    ratios = [
        numerator / denominator for numerator, denominator in zip(competitor, base, strict=True)
    ]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def interleaved_results(
    competitors: Mapping[str, Callable[[], Json]], rounds: int
) -> dict[str, list[Json]]:
    """Return the JSON of every competitor in every round; competitors time themselves."""
    results: dict[str, list[Json]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, work in competitors.items():
            results[name].append(work())
    return results
