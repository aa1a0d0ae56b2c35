"""Moments of all layers, compared with a plain pass over the same images and other ways to sum."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.competitors import masks
from benchmarks.measuring.fresh_process import run_in_process
from benchmarks.measuring.moment_task import Task, relative_distance
from benchmarks.measuring.rounds import fastest, interleaved_results, ratio
from benchmarks.networks.timed import Case, mnist, one_layer, resnet56, vgg16

TOLERANCE = 1e-5
"""The largest allowed distance of eigenvalues, as a share of the largest of their layer."""

BATCHES = (32, 64, 128)
"""Batch sizes that are tried, on as many examples as the largest."""

COMPETITORS = ("plain", "in_graph", "exact", "taken_out", "delve")


def measure(folder: Path, rounds: int, examples: int = 1024) -> list[dict[str, Any]]:
    """Time all competitors for every network, and check that their eigenvalues are the same.

    Raises:
        SystemExit: two results differ, so that times cannot be compared.
    """
    warm_up = task(one_layer(folder, 4, 4, side=8), folder, batch=4, torch_batch=4)
    cases = (resnet56(folder, examples), vgg16(folder, examples), mnist(folder))
    return [_compare(case, folder, warm_up, rounds) for case in cases]


def task(case: Case, folder: Path, *, batch: int, torch_batch: int) -> Task:
    """Return the task of summing over all layers of a case."""
    net = folder / f"{case.model.stem}.pt"
    torch.save(case.net, net)
    data = case.data.removeprefix("npz:")
    model = str(case.model)
    return Task(model, model, str(net), data, case.input, batch, torch_batch)


def batches(case: Case) -> dict[str, int]:
    """Return the fastest batch sizes of ONNX Runtime and of torch."""
    few = Case(
        case.name,
        case.model,
        case.data,
        case.input,
        case.x[: max(BATCHES)],
        case.net,
        case.hook_points,
    )
    plain, _ = fastest({size: partial(masks.plain, few, 1, size) for size in BATCHES}, 1)
    in_torch, _ = fastest({size: partial(masks.torch_labels, few, size) for size in BATCHES}, 1)
    return {"batch": plain, "torch_batch": in_torch}


def _compare(case: Case, folder: Path, warm_up: Task, rounds: int) -> dict[str, Any]:
    batch_sizes = batches(case)
    arguments = asdict(task(case, folder, **batch_sizes))
    results = interleaved_results(
        {
            name: partial(
                run_in_process, f"benchmarks.competitors.moments:{name}", arguments, asdict(warm_up)
            )
            for name in COMPETITORS
        },
        rounds,
    )
    base = [each["pass"] for each in results["plain"]]
    reference = results["taken_out"][0]["values"]
    ways: dict[str, Any] = {}
    for name, rows in results.items():
        ways[name] = {
            "seconds": [row["seconds"] for row in rows],
            "bytes": [row["bytes"] for row in rows],
            "to_plain": ratio([row["seconds"] for row in rows], base),
        }
        if "pass" in rows[0]:
            ways[name]["pass_to_plain"] = ratio([row["pass"] for row in rows], base)
        if "values" in rows[0]:
            ways[name]["apart"] = distance = max(
                relative_distance(row["values"], reference) for row in rows
            )
            if not distance <= TOLERANCE:
                raise SystemExit(
                    f"{case.name}: {name} is {distance:.1e} apart (at most {TOLERANCE})"
                )
    return {
        "case": case.name,
        "examples": len(case.x),
        "layers": len(reference),
        **batch_sizes,
        "plain_pass": base,
        "ways": ways,
    }
