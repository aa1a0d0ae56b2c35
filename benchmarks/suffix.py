"""Prunability of a ResNet-20, where most layers have little behind them."""

from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import sides
from benchmarks.job import job
from benchmarks.nets import resnet20
from benchmarks.prunability import BATCHES
from benchmarks.rounds import fastest, interleaved, ratio

TIMED = 20
"""Plain passes that are timed; all passes are alike, so the others are counted."""


def measure(
    folder: Path, rounds: int, examples: int = 256, repeats: int = 1, levels: int = 7
) -> dict[str, object]:
    """Time frivkit and plain passes."""
    case = resnet20(folder, examples)
    work = job(case.model, case.data, "location", repeats=repeats, levels=levels)
    batch, _ = fastest({size: partial(sides.plain, case, 2, size) for size in BATCHES}, 2)
    seconds = interleaved(
        {
            "plain": partial(sides.plain, case, TIMED, batch),
            "frivkit": partial(sides.frivkit, case, work),
        },
        rounds,
    )
    seconds["plain"] = [taken * work.passes / TIMED for taken in seconds["plain"]]
    return {
        "examples": examples,
        "layers": len(work.sites),
        "repeats": repeats,
        "levels": levels,
        "passes": work.passes,
        "masks": len(work.trials),
        "plain_batch": batch,
        "seconds": seconds,
        "median_seconds": {name: median(taken) for name, taken in seconds.items()},
        "to_plain": ratio(seconds["frivkit"], seconds["plain"]),
    }
