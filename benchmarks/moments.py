"""Moments of all layers beside a plain pass over the same images, and other ways to sum them."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import sides
from benchmarks.fresh import measured
from benchmarks.nets import Case, mnist, one_layer, resnet56, vgg16
from benchmarks.rounds import fastest, in_turn, ratio
from benchmarks.task import Task, apart

TOLERANCE = 1e-5
"""How far eigenvalues may be apart, as a share of the largest of their layer."""

BATCHES = (32, 64, 128)
"""Batches that are tried, on as many examples as the largest."""

SIDES = ("plain", "in_graph", "exact", "taken_out", "delve")


def measure(folder: Path, rounds: int, examples: int = 1024) -> list[dict[str, Any]]:
    """Time all sides for every network, and check that they give the same eigenvalues.

    Raises:
        SystemExit: two sides disagree, so that their times compare nothing.
    """
    warm = task(one_layer(folder, 4, 4, side=8), folder, batch=4, torch_batch=4)
    cases = (resnet56(folder, examples), vgg16(folder, examples), mnist(folder))
    return [_compare(case, folder, warm, rounds) for case in cases]


def task(case: Case, folder: Path, *, batch: int, torch_batch: int) -> Task:
    """Return the task of summing over all layers of a case."""
    net = folder / f"{case.model.stem}.pt"
    torch.save(case.net, net)
    data = case.data.removeprefix("npz:")
    model = str(case.model)
    return Task(model, model, str(net), data, case.input, batch, torch_batch)


def batches(case: Case) -> dict[str, int]:
    """Return the fastest batch of ONNX Runtime and that of torch."""
    few = Case(
        case.name, case.model, case.data, case.input, case.x[: max(BATCHES)], case.net, case.taps
    )
    plain, _ = fastest({size: partial(sides.plain, few, 1, size) for size in BATCHES}, 1)
    hooked, _ = fastest({size: partial(sides.torch_labels, few, size) for size in BATCHES}, 1)
    return {"batch": plain, "torch_batch": hooked}


def _compare(case: Case, folder: Path, warm: Task, rounds: int) -> dict[str, Any]:
    found = batches(case)
    given = asdict(task(case, folder, **found))
    told = in_turn(
        {
            name: partial(measured, f"benchmarks.momentsides:{name}", given, asdict(warm))
            for name in SIDES
        },
        rounds,
    )
    base = [each["pass"] for each in told["plain"]]
    reference = told["taken_out"][0]["values"]
    ways: dict[str, Any] = {}
    for name, rows in told.items():
        ways[name] = {
            "seconds": [row["seconds"] for row in rows],
            "bytes": [row["bytes"] for row in rows],
            "to_plain": ratio([row["seconds"] for row in rows], base),
        }
        if "pass" in rows[0]:
            ways[name]["pass_to_plain"] = ratio([row["pass"] for row in rows], base)
        if "values" in rows[0]:
            ways[name]["apart"] = distance = max(apart(row["values"], reference) for row in rows)
            if not distance <= TOLERANCE:
                raise SystemExit(
                    f"{case.name}: {name} is {distance:.1e} apart (at most {TOLERANCE})"
                )
    return {
        "case": case.name,
        "examples": len(case.x),
        "layers": len(reference),
        **found,
        "plain_pass": base,
        "ways": ways,
    }
