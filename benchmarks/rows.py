"""Eigenvalues of one layer's covariance at growing numbers of rows: time and peak memory."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.fresh import measured
from benchmarks.moments import TOLERANCE, batches, task
from benchmarks.nets import Case, one_layer
from benchmarks.rounds import in_turn, ratio
from benchmarks.task import Task, apart, rank
from frivkit.measure.pipeline import Request, inspect_model

PLACES = 1024
SIZES = ((64, 10_000), (64, 100_000), (64, 1_000_000), (256, 100_000))
"""Units, and rows at least; each example is 1,024 rows."""

PCA_MAY_MISS = 1e-3
"""How far scikit-learn's PCA may be apart, which sums float32 rows in float32."""

SIDES = {
    "frivkit": "benchmarks.rowsides:redundancy",
    "delve": "benchmarks.momentsides:delve",
    "numpy": "benchmarks.rowsides:numpy_cov",
    "PCA": "benchmarks.rowsides:pca",
    "IncrementalPCA": "benchmarks.rowsides:incremental_pca",
    "plain": "benchmarks.momentsides:plain",
}


def measure(folder: Path, rounds: int, scale: float = 1.0) -> list[dict[str, Any]]:
    """Measure all sides at every size, and check that they give the same eigenvalues and rank.

    Raises:
        SystemExit: two sides disagree, so that their times compare nothing.
    """
    warm = _task(one_layer(folder, 4, 4, side=8), folder, {"batch": 4, "torch_batch": 4})
    found = []
    for units, rows in SIZES:
        examples = max(2, -(-round(rows * scale) // PLACES))
        case = one_layer(folder, units, examples)
        given = _task(case, folder, batches(case))
        found.append({"units": units, "rows": examples * PLACES} | _compare(given, warm, rounds))
    return found


def _task(case: Case, folder: Path, batch: dict[str, int]) -> Task:
    """Return the task of one layer, and a file of the network up to it."""
    run = folder / f"{case.model.stem} to layer.onnx"
    _, found = inspect_model(Request(case.model))
    (site,) = (site for site in found.sites if site.layer == "layer")
    onnx.utils.extract_model(case.model, run, [case.input], [site.name])
    return replace(task(case, folder, **batch), run=str(run), layer=site.layer)


def _compare(given: Task, warm: Task, rounds: int) -> dict[str, Any]:
    told = in_turn(
        {
            name: partial(measured, side, asdict(given), asdict(warm))
            for name, side in SIDES.items()
        },
        rounds,
    )
    seconds = {name: [row["seconds"] for row in rows] for name, rows in told.items()}
    reference = told["numpy"][0]["values"]
    due = rank(reference[0])
    ways: dict[str, Any] = {}
    for name, rows in told.items():
        ways[name] = {
            "seconds": seconds[name],
            "bytes": [row["bytes"] for row in rows],
            "to_frivkit": ratio(seconds[name], seconds["frivkit"]),
        }
        if "arithmetic" in rows[0]:
            ways[name]["arithmetic"] = [row["arithmetic"] for row in rows]
        if "values" in rows[0]:
            ways[name]["apart"] = distance = max(apart(row["values"], reference) for row in rows)
            may = PCA_MAY_MISS if name == "PCA" else TOLERANCE
            ranks = {rank(row["values"][0]) for row in rows}
            if not distance <= may or ranks != {due}:
                raise SystemExit(
                    f"{name} is {distance:.1e} apart (at most {may}), its rank is {ranks} where "
                    f"numpy's is {due}"
                )
    return {"rank": due, "batch": given.batch, "torch_batch": given.torch_batch, "ways": ways}
