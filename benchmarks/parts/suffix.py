"""Prunability of a ResNet-20, in which a small part of the graph depends on most layers."""

from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.competitors import masks
from benchmarks.measuring.mask_job import job
from benchmarks.measuring.rounds import fastest, interleaved, ratio
from benchmarks.networks.timed import resnet20
from benchmarks.parts.prunability import BATCHES

TIMED = 20
"""Plain passes that are timed; the time of all passes is extrapolated."""


def measure(
    folder: Path, rounds: int, examples: int = 256, repeats: int = 1, levels: int = 7
) -> dict[str, object]:
    """Time frivkit and plain passes."""
    case = resnet20(folder, examples)
    mask_job = job(case.model, case.data, "location", repeats=repeats, levels=levels)
    batch, _ = fastest({size: partial(masks.plain, case, 2, size) for size in BATCHES}, 2)
    seconds = interleaved(
        {
            "plain": partial(masks.plain, case, TIMED, batch),
            "frivkit": partial(masks.frivkit, case, mask_job),
        },
        rounds,
    )
    seconds["plain"] = [taken * mask_job.passes / TIMED for taken in seconds["plain"]]
    return {
        "examples": examples,
        "layers": len(mask_job.sites),
        "repeats": repeats,
        "levels": levels,
        "passes": mask_job.passes,
        "masks": len(mask_job.trials),
        "plain_batch": batch,
        "seconds": seconds,
        "median_seconds": {name: median(taken) for name, taken in seconds.items()},
        "to_plain": ratio(seconds["frivkit"], seconds["plain"]),
    }
