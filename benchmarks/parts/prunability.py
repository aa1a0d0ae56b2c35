"""Prunability of the MNIST network, measured by frivkit and by other ways."""

from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.competitors import masks
from benchmarks.measuring.mask_job import Curves, Job, job
from benchmarks.measuring.rounds import fastest, interleaved, ratio, timed
from benchmarks.networks.timed import Case, mnist

BATCHES = (32, 64, 128, 256)
TORCH_MAY_MISS = 5
"""Examples of 2,000 whose label in torch may differ from ONNX Runtime's, by rounding."""

Result = dict[str, object]


def measure(folder: Path, rounds: int, repeats: int = 3, levels: int = 7) -> Result:
    """Time all competitors for two unit selectors, and check that their curves are the same.

    Raises:
        SystemExit: two curves differ, so that times cannot be compared.
    """
    case = mnist(folder)
    batch, times = fastest(
        {b: partial(masks.plain, case, 2, b) for b in BATCHES}, rounds, process_time
    )
    outcome: Result = {
        "examples": len(case.x),
        "plain_batches": {size: median(taken) / 2 for size, taken in times.items()},
        "plain_batch": batch,
        "units": {},
    }
    by_units: Result = {}
    for units in ("location", "map"):
        mask_job = job(case.model, case.data, units, repeats=repeats, levels=levels)
        by_units[units] = _compare(case, mask_job, batch, rounds)
    return outcome | {"units": by_units}


def _compare(case: Case, mask_job: Job, batch: int, rounds: int) -> Result:
    few, factor = masks.captum_share(mask_job)
    torch_batch, _ = fastest(
        {b: partial(masks.torch_labels, case, b) for b in BATCHES}, rounds, process_time
    )
    curves: dict[str, Curves] = {}

    def record(name: str, competitor: "partial[Curves]") -> None:
        curves[name] = competitor()

    runs = {
        "plain": partial(masks.plain, case, mask_job.passes, batch),
        "frivkit": partial(record, "frivkit", partial(masks.frivkit, case, mask_job)),
        "torch hook": partial(
            record, "torch hook", partial(masks.torch_hooks, case, mask_job, torch_batch)
        ),
        "captum": partial(
            record, "captum", partial(masks.captum, case, mask_job, torch_batch, few)
        ),
        "session a mask": partial(
            record, "session a mask", partial(masks.session_for_each_mask, case, mask_job, batch)
        ),
    }
    timed(runs["frivkit"])  # a warm-up: imports and first allocations
    seconds = interleaved(runs, rounds, process_time)
    seconds["captum"] = [taken * factor for taken in seconds["captum"]]
    return {
        "passes": mask_job.passes,
        "masks": len(mask_job.trials),
        "torch_batch": torch_batch,
        "captum_factor": factor,
        "seconds": seconds,
        "to_plain": {name: ratio(taken, seconds["plain"]) for name, taken in seconds.items()},
        "to_frivkit": {name: ratio(taken, seconds["frivkit"]) for name, taken in seconds.items()},
        "examples_apart": _distances(curves, len(case.x)),
    }


def _distances(curves: dict[str, Curves], examples: int) -> dict[str, int]:
    """Return the largest distance of each competitor's curves from frivkit's, in examples."""
    distances: dict[str, int] = {}
    for name, competitor in curves.items():
        differences = (abs(curves["frivkit"][key] - share) for key, share in competitor.items())
        distances[name] = round(max(differences) * examples)
        allowed = 0 if name in ("frivkit", "session a mask") else TORCH_MAY_MISS
        if distances[name] > allowed:
            raise SystemExit(
                f"{name} and frivkit are {distances[name]} examples apart (at most {allowed})"
            )
    return distances
