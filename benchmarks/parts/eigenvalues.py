"""Eigenvalues of one layer's covariance at growing numbers of rows: time and peak memory."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.measuring.fresh_process import run_in_process
from benchmarks.measuring.moment_task import Task, rank, relative_distance
from benchmarks.measuring.rounds import interleaved_results, ratio
from benchmarks.networks.timed import Case, one_layer
from benchmarks.parts.moments import TOLERANCE, batches, task
from frivkit.measure.pipeline import Request, inspect_model

POSITIONS = 1024
SIZES = ((64, 10_000), (64, 100_000), (64, 1_000_000), (256, 100_000))
"""Units, and the least number of rows; each example is 1,024 rows."""

PCA_MAY_MISS = 1e-3
"""The largest allowed distance of scikit-learn's PCA, which sums float32 rows in float32."""

COMPETITORS = {
    "frivkit": "benchmarks.competitors.eigenvalues:redundancy",
    "delve": "benchmarks.competitors.moments:delve",
    "numpy": "benchmarks.competitors.eigenvalues:numpy_cov",
    "PCA": "benchmarks.competitors.eigenvalues:pca",
    "IncrementalPCA": "benchmarks.competitors.eigenvalues:incremental_pca",
    "plain": "benchmarks.competitors.moments:plain",
}


def measure(folder: Path, rounds: int, scale: float = 1.0) -> list[dict[str, Any]]:
    """Measure all competitors at every size, and check that eigenvalues and rank are the same.

    Raises:
        SystemExit: two results differ, so that times cannot be compared.
    """
    warm_up = _task(one_layer(folder, 4, 4, side=8), folder, {"batch": 4, "torch_batch": 4})
    outcome = []
    for units, rows in SIZES:
        examples = max(2, -(-round(rows * scale) // POSITIONS))
        case = one_layer(folder, units, examples)
        layer_task = _task(case, folder, batches(case))
        outcome.append(
            {"units": units, "rows": examples * POSITIONS} | _compare(layer_task, warm_up, rounds)
        )
    return outcome


def _task(case: Case, folder: Path, batch: dict[str, int]) -> Task:
    """Return the task of one layer, and a file of the network up to it."""
    run = folder / f"{case.model.stem} to layer.onnx"
    _, site_map = inspect_model(Request(case.model))
    (site,) = (site for site in site_map.sites if site.layer == "layer")
    onnx.utils.extract_model(case.model, run, [case.input], [site.name])
    return replace(task(case, folder, **batch), run=str(run), layer=site.layer)


def _compare(layer_task: Task, warm_up: Task, rounds: int) -> dict[str, Any]:
    results = interleaved_results(
        {
            name: partial(run_in_process, competitor, asdict(layer_task), asdict(warm_up))
            for name, competitor in COMPETITORS.items()
        },
        rounds,
    )
    seconds = {name: [row["seconds"] for row in rows] for name, rows in results.items()}
    reference = results["numpy"][0]["values"]
    expected_rank = rank(reference[0])
    ways: dict[str, Any] = {}
    for name, rows in results.items():
        ways[name] = {
            "seconds": seconds[name],
            "bytes": [row["bytes"] for row in rows],
            "to_frivkit": ratio(seconds[name], seconds["frivkit"]),
        }
        if "arithmetic" in rows[0]:
            ways[name]["arithmetic"] = [row["arithmetic"] for row in rows]
        if "values" in rows[0]:
            ways[name]["apart"] = distance = max(
                relative_distance(row["values"], reference) for row in rows
            )
            allowed = PCA_MAY_MISS if name == "PCA" else TOLERANCE
            ranks = {rank(row["values"][0]) for row in rows}
            if not distance <= allowed or ranks != {expected_rank}:
                raise SystemExit(
                    f"{name} is {distance:.1e} apart (at most {allowed}), its rank is {ranks}, "
                    f"and numpy's is {expected_rank}"
                )
    return {
        "rank": expected_rank,
        "batch": layer_task.batch,
        "torch_batch": layer_task.torch_batch,
        "ways": ways,
    }
