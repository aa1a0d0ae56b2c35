"""Prunability of residual networks and a VGG-16: only what lies behind a layer is run again."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.competitors import masks
from benchmarks.measuring.mask_job import Job, job, request
from benchmarks.measuring.rounds import Json, fastest, interleaved, ratio
from benchmarks.networks.timed import Case, resnet20, resnet56, vgg16
from frivkit.graph.cost import macs
from frivkit.measure.pipeline import open_study
from frivkit.runtime.perturbed_model import PerturbedModel

TIMED = 4
"""Plain passes that are timed; the time of all passes is extrapolated."""
BATCHES = (8, 16, 32, 64)
NETWORKS: tuple[Callable[[Path, int], Case], ...] = (resnet20, resnet56, vgg16)


def measure(
    folder: Path, rounds: int, examples: int = 128, repeats: int = 1, levels: int = 7
) -> list[Json]:
    """Time frivkit and plain passes for each network."""
    cases = (network(folder, examples) for network in NETWORKS)
    return [_compare(case, rounds, examples, repeats, levels) for case in cases]


def _compare(case: Case, rounds: int, examples: int, repeats: int, levels: int) -> Json:
    mask_job = job(case.model, case.data, "location", repeats=repeats, levels=levels)
    batches = {size: partial(masks.plain, case, 1, size) for size in BATCHES}
    batch, _ = fastest(batches, 2, process_time)
    seconds = interleaved(
        {
            "plain": partial(masks.plain, case, TIMED, batch),
            "frivkit": partial(masks.frivkit, case, mask_job),
        },
        rounds,
        process_time,
    )
    a_pass = [taken / TIMED for taken in seconds["plain"]]
    least = _least_passes(case, mask_job)
    return {
        "network": case.name,
        "examples": examples,
        "layers": len(mask_job.sites),
        "repeats": repeats,
        "levels": levels,
        "passes": mask_job.passes,
        "masks": len(mask_job.trials),
        "least_passes": least,
        "plain_batch": batch,
        "a_pass": a_pass,
        "seconds": seconds["frivkit"],
        "median_pass": median(a_pass),
        "median_seconds": median(seconds["frivkit"]),
        "to_plain": ratio(seconds["frivkit"], [each * mask_job.passes for each in a_pass]),
        "to_least": ratio(seconds["frivkit"], [each * least for each in a_pass]),
    }


def _least_passes(case: Case, mask_job: Job) -> float:
    """Return the multiply-accumulates behind the layer of each mask, as plain passes."""
    requested = request(case.model, case.data, "location")
    study, _ = open_study(requested)
    whole = macs(study.model.graph)
    if whole is None:
        raise SystemExit(f"the multiply-accumulates of {case.name} are not known")
    device, output = requested.execution.placement, study.model.output(None)
    behind = {
        site.layer: 1
        - PerturbedModel(study.model, [site], output, device, 2 << 30).prefix_macs() / whole
        for site in study.sites
    }
    return sum(behind.get(trial.scope, 1.0) for trial in mask_job.trials)
