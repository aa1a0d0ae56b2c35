"""How long a device takes as a share of the CPU, and what it gains by keeping arrays."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.correctness import execution, request
from benchmarks.measuring.rounds import Json, interleaved, ratio
from benchmarks.networks.timed import Case, resnet56, vgg16
from frivkit.measure.pipeline import analyze, open_study
from frivkit.runtime.moment_pass import accumulate_moments
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.units.masks import Mask, keep_mask, random_order

MASKS = 21
LEAST, MOST = 3, 20
"""Rounds of a comparison: as many as there is time for, within these."""

Competitors = Mapping[str, Callable[[], object]]


def ratios(folder: Path, device: str, examples: int, seconds: float) -> list[Json]:
    """Return comparisons for two networks, each with its ratio and the spread of that.

    Args:
        folder: A folder for files.
        device: The device that is compared with the CPU.
        examples: Examples of each network.
        seconds: How long all of them may take.
    """
    cases = [resnet56(folder, examples), vgg16(folder, examples)]
    jobs = [
        (f"{case.name}: {what}", competitors)
        for case in cases
        for what, competitors in _comparisons(case, device).items()
    ]
    ends = time.perf_counter() + seconds
    found = []
    for number, (what, competitors) in enumerate(jobs):
        interleaved(competitors, 1)  # the first runs allocate, and choose kernels
        until = time.perf_counter() + (ends - time.perf_counter()) / (len(jobs) - number)
        times: dict[str, list[float]] = {name: [] for name in competitors}
        while len(times[next(iter(times))]) < LEAST or (
            time.perf_counter() < until and len(times[next(iter(times))]) < MOST
        ):
            for name, taken in interleaved(competitors, 1).items():
                times[name] += taken
        one, other = times
        found.append(
            {"what": what, "of": [one, other], "seconds": times, **ratio(times[one], times[other])}
        )
    return found


def _comparisons(case: Case, device: str) -> dict[str, Competitors]:
    on_device, on_cpu = (_passes(case, where) for where in (device, "cpu"))
    masks = _masks(case, device)
    return {
        "a plain pass": {"device": on_device["plain"], "cpu": on_cpu["plain"]},
        "second moments, sessions included": {
            "device": on_device["moments"],
            "cpu": on_cpu["moments"],
        },
        "prunability of a layer": {"device": on_device["curve"], "cpu": on_cpu["curve"]},
        "second moments, sessions included, on the device": {
            "moments": on_device["moments"],
            "plain pass": on_device["plain"],
        },
        f"{MASKS} masks of a batch on the device": masks,
    }


def _passes(case: Case, where: str) -> dict[str, Callable[[], object]]:
    study, _ = open_study(request(case, where))
    model = BaselineModel(study.model, study.output, execution(where).placement, 1 << 30)
    layer = study.sites[len(study.sites) // 2].layer

    def plain() -> None:
        for start in range(0, len(case.x), model.batch):
            model.run({case.input: case.x[start : start + model.batch]})

    def moments() -> object:
        selector, how = study.units("map"), execution(where)
        return accumulate_moments(
            study.model, study.sites, selector, study.data, how, groups=1, exact=False
        )

    def curve() -> object:
        of_layer = request(case, where, layers=(layer,))
        return analyze(of_layer, options={"repeats": "3", "levels": "7", "refine": "0"})

    return {"plain": plain, "moments": moments, "curve": curve}


def _masks(case: Case, device: str) -> Competitors:
    """Return runs of the masks of one batch, whose entry stays on the device or does not."""
    study, _ = open_study(request(case, device))
    site, selector = study.sites[len(study.sites) // 2], study.units("map")
    model = PerturbedModel(study.model, [site], study.output, execution(device).placement, 1 << 30)
    batch = model.prepare({case.input: case.x[: model.batch]})
    again = model.prepare({case.input: case.x[: model.batch]})
    again.entry = {name: array.copy() for name, array in again.entry.items()}
    order = random_order(0, site.layer, 0, selector.count(site))
    masks = [Mask({site.name: keep_mask(order, i * len(order) // MASKS)}) for i in range(MASKS)]

    def runs(prepared: Any) -> Callable[[], None]:
        def run() -> None:
            for mask in masks:
                model.run(prepared, mask, selector)

        return run

    return {"kept": runs(batch), "uploaded for each": runs(again)}
