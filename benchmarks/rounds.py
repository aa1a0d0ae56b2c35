"""Timing in rounds: A B C, A B C, so that a slow minute of the machine meets every side."""

import gc
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

Json = dict[str, Any]
Seconds = dict[str, list[float]]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes, rubbish of what ran before cleared first."""
    gc.collect()
    start = perf_counter()
    work()
    return perf_counter() - start


def interleaved(sides: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Return the seconds of every side in every round."""
    seconds: Seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            seconds[name].append(timed(work))
    return seconds


def fastest(choices: Mapping[int, Callable[[], object]], rounds: int) -> tuple[int, Seconds]:
    """Return choice with the least median, after one round that does not count, and all times."""
    interleaved({str(key): work for key, work in choices.items()}, 1)
    seconds = interleaved({str(key): work for key, work in choices.items()}, rounds)
    return min(choices, key=lambda key: median(seconds[str(key)])), seconds


def ratio(side: list[float], base: list[float]) -> dict[str, float]:
    """Return median, least and most of the ratios of two sides, round by round."""
    ratios = [ours / theirs for ours, theirs in zip(side, base, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def in_turn(sides: Mapping[str, Callable[[], Json]], rounds: int) -> dict[str, list[Json]]:
    """Return what every side tells in every round; the sides take their own time."""
    told: dict[str, list[Json]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            told[name].append(work())
    return told
