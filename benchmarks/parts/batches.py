"""The fastest batch size of each network, and rules that choose one."""

from functools import partial
from math import log2
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measuring.mask_job import request
from benchmarks.measuring.rounds import interleaved
from benchmarks.networks.timed import Case, dense, large_images, mnist, resnet20, wide_end
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import open_study
from frivkit.runtime.memory import live_bytes
from frivkit.runtime.perturbed_model import PerturbedModel
from frivkit.units.masks import Mask

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MEGABYTES = (2, 4, 8, 16, 32, 48, 64, 128, 256)
LARGEST = (64, 128, 256, 512)
FEWEST = 256
"""The least number of examples that are timed, if there are as many."""

MOST_BYTES = 1 << 30
"""The most bytes of activations of a batch that is tried."""


def measure(folder: Path, rounds: int, scale: float = 1.0) -> dict[str, Any]:
    """Time the masked network of every case at every batch, and score the rules."""
    cases = [
        mnist(folder),
        resnet20(folder, round(512 * scale)),
        dense(folder, round(1024 * scale)),
        wide_end(folder, round(512 * scale)),
        large_images(folder, round(32 * scale)),
    ]
    rows = [_time(case, rounds) for case in cases]
    rules = [
        {"megabytes": megabytes, "largest": largest, "weights": weights}
        | _score(rows, [_batch(row, megabytes << 20, largest, weights=weights) for row in rows])
        for weights in (False, True)
        for largest in LARGEST
        for megabytes in MEGABYTES
    ]
    in_use = _score(rows, [row["in_use"] for row in rows])
    return {"cases": rows, "rules": rules, "in_use": in_use}


def _time(case: Case, rounds: int) -> dict[str, Any]:
    study, _ = open_study(request(case.model, case.data, "map"))
    device = request(case.model, case.data, "map").execution.placement
    model = PerturbedModel(study.model, study.sites, study.model.output(None), device, 2 << 30)
    selector = installed().load("unit_selectors", "map")
    flags = {site.name: np.arange(selector.count(site)) % 2 == 0 for site in study.sites}
    mask, live = Mask(flags), live_bytes(study.model.graph)

    def count(size: int) -> int:
        return min(len(case.x), max(FEWEST, size))

    def run(size: int) -> None:
        for first in range(0, count(size), size):
            last = min(first + size, count(size))
            batch = model.prepare({case.input: case.x[first:last]})
            model.run(batch, mask, selector)

    tried = [size for size in SIZES if size <= len(case.x) and size * live <= MOST_BYTES]
    interleaved({str(size): partial(run, size) for size in tried}, 1)
    seconds = interleaved({str(size): partial(run, size) for size in tried}, rounds)
    weights = sum(
        value.const_value.nbytes
        for value in study.model.graph.initializers.values()
        if value.const_value is not None
    )
    taken = {size: median(times) / count(int(size)) for size, times in seconds.items()}
    return {
        "case": case.name,
        "live_bytes": live,
        "weight_bytes": weights,
        "in_use": model.batch,
        "seconds_an_example": taken,
        "to_fastest": {size: time / min(taken.values()) for size, time in taken.items()},
    }


def _batch(row: dict[str, Any], bound: int, largest: int, *, weights: bool) -> int:
    """Return the batch size whose activations take some bytes, at least those of the weights."""
    if weights:  # a batch reads the weights once, however large it is
        bound = max(bound, row["weight_bytes"])
    return int(max(1, min(largest, bound // row["live_bytes"])))


def _score(rows: list[dict[str, Any]], batches: list[int]) -> dict[str, Any]:
    """Return the ratios of the times of batch sizes to those of the fastest ones, by case."""
    loss = [_between(row["to_fastest"], batch) for row, batch in zip(rows, batches, strict=True)]
    return {
        "batches": batches,
        "to_fastest": loss,
        "mean": float(np.mean(loss)),
        "worst": max(loss),
    }


def _between(to_fastest: dict[str, float], batch: int) -> float:
    """Return the ratio of a batch size between two that were timed, linear in its logarithm."""
    tried = [log2(int(size)) for size in to_fastest]
    return float(np.interp(log2(batch), tried, list(to_fastest.values())))
