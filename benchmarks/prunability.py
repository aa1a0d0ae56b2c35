"""Prunability of the MNIST network beside other ways to measure it."""

from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import sides
from benchmarks.job import Curves, Job, job
from benchmarks.nets import Case, mnist
from benchmarks.rounds import fastest, interleaved, ratio, timed

BATCHES = (32, 64, 128, 256)
TORCH_MAY_MISS = 5
"""Examples of 2,000 whose label torch may give another than ONNX Runtime, by rounding."""

Result = dict[str, object]


def measure(folder: Path, rounds: int, repeats: int = 3, levels: int = 7) -> Result:
    """Time all sides for both readings of units, and check that they give the same curves.

    Raises:
        SystemExit: two sides disagree, so that their times compare nothing.
    """
    case = mnist(folder)
    batch, times = fastest({b: partial(sides.plain, case, 2, b) for b in BATCHES}, rounds)
    found: Result = {
        "examples": len(case.x),
        "plain_batches": {size: median(taken) / 2 for size, taken in times.items()},
        "plain_batch": batch,
        "units": {},
    }
    by_units: Result = {}
    for units in ("location", "map"):
        work = job(case.model, case.data, units, repeats=repeats, levels=levels)
        by_units[units] = _compare(case, work, batch, rounds)
    return found | {"units": by_units}


def _compare(case: Case, work: Job, batch: int, rounds: int) -> Result:
    few, factor = sides.captum_share(work)
    torch_batch, _ = fastest({b: partial(sides.torch_labels, case, b) for b in BATCHES}, rounds)
    curves: dict[str, Curves] = {}

    def kept(name: str, side: "partial[Curves]") -> None:
        curves[name] = side()

    runs = {
        "plain": partial(sides.plain, case, work.passes, batch),
        "frivkit": partial(kept, "frivkit", partial(sides.frivkit, case, work)),
        "torch hook": partial(kept, "torch hook", partial(sides.hooked, case, work, torch_batch)),
        "captum": partial(kept, "captum", partial(sides.by_captum, case, work, torch_batch, few)),
        "session a mask": partial(
            kept, "session a mask", partial(sides.rebuilt, case, work, batch)
        ),
    }
    timed(runs["frivkit"])  # imports and first allocations are nobody's round
    seconds = interleaved(runs, rounds)
    seconds["captum"] = [taken * factor for taken in seconds["captum"]]
    return {
        "passes": work.passes,
        "masks": len(work.trials),
        "torch_batch": torch_batch,
        "captum_factor": factor,
        "seconds": seconds,
        "to_plain": {name: ratio(taken, seconds["plain"]) for name, taken in seconds.items()},
        "to_frivkit": {name: ratio(taken, seconds["frivkit"]) for name, taken in seconds.items()},
        "examples_apart": _apart(curves, len(case.x)),
    }


def _apart(curves: dict[str, Curves], examples: int) -> dict[str, int]:
    """Return by how many examples each side's curves are at most off from frivkit's."""
    ours, apart = curves["frivkit"], {}
    for name, theirs in curves.items():
        apart[name] = round(max(abs(ours[at] - share) for at, share in theirs.items()) * examples)
        may = 0 if name in ("frivkit", "session a mask") else TORCH_MAY_MISS
        if apart[name] > may:
            raise SystemExit(f"{name} and frivkit are {apart[name]} examples apart (at most {may})")
    return apart
