"""From measured times to the maps that are simulated, and what the simulation says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.measuring.rounds import Json
from benchmarks.scaling.schedule import Costs, TaskMap, floors, simulate
from frivkit.runtime.batch_loops import _parts

Results = Mapping[str, Any]

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
EXAMPLES = 50_000
"""Images of the validation set of ImageNet."""
MASKS = 63
"""Masks of a layer: 21 levels, each for three random orders."""
STORE_RATE = 125e6
"""Bytes a second of the store of the examples, and of the client's network: one gigabit."""
NETWORKS = ("ResNet-50", "VGG-16")
ENGINE = "dask"
"""The engine whose measured costs are simulated: the dearer one."""


def costs_of(overheads: Json, engine: str = ENGINE) -> Costs:
    """Return the costs of an engine."""
    own = overheads[engine]
    return Costs(own["hand_over"], own["around"], own["start"], STORE_RATE, STORE_RATE)


def analysis_maps(network: Json, decoding: Json, workers: int) -> list[TaskMap]:
    """Return the maps of the ablation of all layers of a network, over the parts that are made.

    Args:
        network: Its batch, and the sample of each layer.
        decoding: What reading an image costs.
        workers: For how many workers the work is divided.
    """
    parts = _parts(EXAMPLES, network["batch"], MASKS, workers)
    return [
        TaskMap(
            seconds=[
                (part.last - part.first)
                * (decoding["seconds"] + one["prefix"] + part.changes * one["mask"])
                for part in parts
            ],
            write=one["write"],
            begin=one["begin"],
            read_bytes=network["batch"] * decoding["bytes"],
            result_bytes=network["batch"] * MASKS * one["result_bytes"],
        )
        for one in network["layers"]
    ]


def sweep_maps(jobs: Sequence[Sequence[Json]], *, longest_first: bool = False) -> list[TaskMap]:
    """Return the maps of a sweep, one for each plan; a network is an item.

    Args:
        jobs: The networks of each plan with their ``seconds``, in the order of their training.
        longest_first: Train those that take longest first, in place of that order.
    """
    times = [[job["seconds"] for job in plan] for plan in jobs]
    if longest_first:
        times = [sorted(plan, reverse=True) for plan in times]
    return [TaskMap(plan, ordered=False) for plan in times]


def measured_networks(stored: Results) -> list[str]:
    """Return the networks whose ablations were measured."""
    return [name for name in NETWORKS if name in stored]


def simulated(stored: Results) -> Json:
    """Return what the simulation says, from stored measurements."""
    overheads, decoding = stored["overheads"]["found"], stored["decoding"]["found"]
    costs = costs_of(overheads)
    found: Json = {"analysis": {}, "sweep": {}, "limits": {}, "hand_over": costs.hand_over}
    for name in measured_networks(stored):
        network = stored[name]["found"]
        found["analysis"][name] = {
            str(workers): _row(analysis_maps(network, decoding, workers), workers, costs)
            for workers in WORKERS
        }
        found["limits"][name] = _limits(analysis_maps(network, decoding, 1), overheads)
    jobs = stored["steps"]["found"]["jobs"]
    for order, longest_first in (("narrowest first", False), ("longest first", True)):
        maps = sweep_maps(jobs, longest_first=longest_first)
        found["sweep"][order] = {str(workers): _row(maps, workers, costs) for workers in WORKERS}
    found["check"] = checked(stored["check"]["found"], overheads["processes"])
    return found


def _row(maps: Sequence[TaskMap], workers: int, costs: Costs) -> Json:
    return {
        **asdict(simulate(maps, workers, costs)),
        "floors": asdict(floors(maps, workers, costs)),
    }


def _limits(maps: Sequence[TaskMap], overheads: Json) -> Json:
    """Return from how many workers on the client or the store, and not the workers, would bind."""
    work = floors(maps, 1).work
    limits = {
        engine: work / floors(maps, 1, costs_of(overheads, engine)).client for engine in overheads
    }
    return {
        "seconds_an_item": work / sum(len(one.seconds) for one in maps),
        **limits,
        "store": work / floors(maps, 1, Costs(store_rate=STORE_RATE)).store,
        "items_a_map": len(maps[0].seconds),
    }


def checked(check: Json, overheads: Json) -> Json:
    """Return what was foretold of real runs, as shares of what they took, by workers.

    ``schedule`` foretells a run from the times that its own items took.  ``fitted`` foretells it
    from the sampled processor times, drawn out by what the items of this run took more than their
    processor time: other programs were running.
    """
    found: Json = {}
    for workers, runs in check["runs"].items():
        shares: dict[str, list[float]] = {"schedule": [], "fitted": []}
        drawn_out = []
        for run in runs:
            took = sum(one["seconds"] for one in run["maps"])
            items = [seconds for one in run["maps"] for seconds in one["items"]]
            stretch = sum(items) / sum(s for one in run["maps"] for s in one["processor"])
            drawn_out.append(stretch)
            costs = Costs(*(stretch * overheads[key] for key in ("hand_over", "around")))
            own, fitted = [], []
            for one, sample in zip(run["maps"], check["samples"], strict=True):
                begin, write = (stretch * sample[key] for key in ("begin", "write"))
                own.append(TaskMap(one["items"], write, begin))
                each = [
                    stretch * examples * (sample["prefix"] + masks * sample["mask"])
                    for examples, masks in one["parts"]
                ]
                fitted.append(TaskMap(each, write, begin))
            shares["schedule"].append(simulate(own, int(workers), costs).seconds / took)
            shares["fitted"].append(simulate(fitted, int(workers), costs).seconds / took)
        found[workers] = {
            "seconds": median(sum(one["seconds"] for one in run["maps"]) for run in runs),
            "items": len(runs[0]["maps"][0]["items"]),
            "stretch": median(drawn_out),
            **{name: _spread(each) for name, each in shares.items()},
        }
    return found


def _spread(numbers: Sequence[float]) -> Json:
    return {"median": median(numbers), "least": min(numbers), "most": max(numbers)}
