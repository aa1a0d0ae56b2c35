"""Where keeping the tensors that enter a layer's suffix beats computing them again."""

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.job import request
from benchmarks.nets import Case, mnist, resnet20
from benchmarks.rounds import interleaved
from frivkit.cache import Cache, Key
from frivkit.measure.pipeline import open_study
from frivkit.measure.study import Study
from frivkit.runtime.perturbed_model import PerturbedModel


def measure(folder: Path, rounds: int, examples: int = 2048) -> dict[str, object]:
    """Time computing, writing and reading back the entries of every site."""
    rows = []
    for case in (mnist(folder), resnet20(folder, examples)):
        study, _ = open_study(request(case.model, case.data, "location"))
        rows += [_site(case, study, number, folder, rounds) for number in range(len(study.sites))]
    rows.sort(key=lambda row: row["macs_per_byte"])
    rate = median(row["macs"] / row["compute"] for row in rows)
    read, opening = _line(rows, "read")
    written, closing = _line(rows, "write")
    rates = {
        "macs_a_second": rate,
        "bytes_read_a_second": 1 / read,
        "bytes_written_a_second": 1 / written,
        "seconds_to_open": opening,
        "seconds_to_close": closing,
    }
    pays = {"second_run": rate * read, "write_and_first_read": rate * (read + written)}
    return {"sites": rows, "rates": rates, "macs_per_byte_that_pay": pays}


def _line(rows: list[dict[str, Any]], step: str) -> tuple[float, float]:
    """Fit seconds a byte and seconds a file to all sites, each weighted by what it took."""
    taken = np.array([row[step] for row in rows])
    slope, least = np.polyfit([row["bytes"] for row in rows], taken, 1, w=1 / taken)
    return float(slope), float(least)


def _site(case: Case, study: Study, number: int, folder: Path, rounds: int) -> dict[str, Any]:
    site = study.sites[number]
    device = request(case.model, case.data, "location").device
    path = PerturbedModel(study.model, [site], study.model.output(None), device, 2 << 30)
    steps = [
        (first, min(first + path.batch, study.examples))
        for first in range(0, study.examples, path.batch)
    ]
    batches = [study.data.read(first, last).inputs for first, last in steps]
    entries = [path.prepare(inputs) for inputs in batches]
    with TemporaryDirectory(dir=folder) as place:
        cache = Cache(Path(place))

        def write(name: str) -> None:
            with cache.build(Key(name, "data", site.name, "", "entries")) as writer:
                for entry in entries:
                    for tensor, array in entry.items():
                        writer.append(tensor, array)

        def read() -> None:
            found = cache.get(Key("kept", "data", site.name, "", "entries"))
            if found is None:
                raise SystemExit(f"the entries of {site.layer} were not kept; is the disk full?")
            with found:
                for first, last in steps:
                    for tensor in path.entries:
                        found.read(tensor, first, last)

        write("kept")
        seconds = interleaved(
            {
                "compute": lambda: [path.prepare(inputs) for inputs in batches],
                "write": partial(write, "again"),
                "read": read,
            },
            rounds,
        )
    taken = {name: median(times) for name, times in seconds.items()}
    macs, size = path.prefix_macs() * study.examples, path.prefix_bytes() * study.examples
    return {
        "case": case.name,
        "layer": site.layer,
        "macs": macs,
        "bytes": size,
        "macs_per_byte": macs / size,
        **taken,
    }
