"""Prefix activations of a layer: whether it is faster to store them or to compute them again."""

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measuring.mask_job import request
from benchmarks.measuring.rounds import interleaved
from benchmarks.networks.timed import Case, mnist, resnet20
from frivkit.cache import Cache, Key
from frivkit.measure.pipeline import open_study
from frivkit.measure.study import Study
from frivkit.runtime.perturbed_model import PerturbedModel


def measure(folder: Path, rounds: int, examples: int = 2048) -> dict[str, object]:
    """Time computing, writing and reading the prefix activations of every site."""
    rows = []
    for case in (mnist(folder), resnet20(folder, examples)):
        study, _ = open_study(request(case.model, case.data, "location"))
        rows += [_site(case, study, number, folder, rounds) for number in range(len(study.sites))]
    rows.sort(key=lambda row: row["macs_per_byte"])
    rate = median(row["macs"] / row["compute"] for row in rows)
    read, opening = _fit_line(rows, "read")
    written, closing = _fit_line(rows, "write")
    rates = {
        "macs_a_second": rate,
        "bytes_read_a_second": 1 / read,
        "bytes_written_a_second": 1 / written,
        "seconds_to_open": opening,
        "seconds_to_close": closing,
    }
    pays = {"second_run": rate * read, "write_and_first_read": rate * (read + written)}
    return {"sites": rows, "rates": rates, "macs_per_byte_that_pay": pays}


def _fit_line(rows: list[dict[str, Any]], step: str) -> tuple[float, float]:
    """Fit seconds per byte and per file to all sites, weighted by the inverse of their times."""
    seconds = np.array([row[step] for row in rows])
    slope, least = np.polyfit([row["bytes"] for row in rows], seconds, 1, w=1 / seconds)
    return float(slope), float(least)


def _site(case: Case, study: Study, number: int, folder: Path, rounds: int) -> dict[str, Any]:
    site = study.sites[number]
    device = request(case.model, case.data, "location").execution.placement
    model = PerturbedModel(study.model, [site], study.model.output(None), device, 2 << 30)
    steps = [
        (first, min(first + model.batch, study.examples))
        for first in range(0, study.examples, model.batch)
    ]
    batches = [study.data.read(first, last).inputs for first, last in steps]
    prefixes = [model.prepare(inputs).entry for inputs in batches]
    with TemporaryDirectory(dir=folder) as cache_folder:
        cache = Cache(Path(cache_folder))

        def write(name: str) -> None:
            with cache.build(Key(name, "data", site.name, "", "entries")) as writer:
                for prefix in prefixes:
                    for tensor, array in prefix.items():
                        writer.append(tensor, array)

        def read() -> None:
            stored = cache.get(Key("stored", "data", site.name, "", "entries"))
            if stored is None:
                raise SystemExit(f"the prefix of {site.layer} was not stored; is the disk full?")
            with stored:
                for first, last in steps:
                    for tensor in model.prefix:
                        stored.read(tensor, first, last)

        write("stored")
        seconds = interleaved(
            {
                "compute": lambda: [model.prepare(inputs) for inputs in batches],
                "write": partial(write, "again"),
                "read": read,
            },
            rounds,
        )
    seconds_of = {name: median(times) for name, times in seconds.items()}
    macs, size = model.prefix_macs() * study.examples, model.prefix_bytes() * study.examples
    return {
        "case": case.name,
        "layer": site.layer,
        "macs": macs,
        "bytes": size,
        "macs_per_byte": macs / size,
        **seconds_of,
    }
