"""Label agreement against measured time of networks that frivkit and competitors compressed."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from benchmarks.competitors.compression import Absent, check_packages
from benchmarks.competitors.ratio_search import OutOfReach
from benchmarks.competitors.timed_compression import (
    COMPETITORS,
    FRIVKIT,
    QUICK_COMPETITORS,
    Refused,
    TimedCompetitors,
)
from benchmarks.measuring.row_store import RowStore
from benchmarks.measuring.scoring import THREADS, amounts, score
from benchmarks.measuring.time_share import SECONDS, time_shares
from benchmarks.networks.trained import Network, NetworkKind, timed_networks

Json = dict[str, Any]
WHOLE = "whole"
"""The competitor that is the network itself: its time shows what noise does to a share."""

QUICK_SECONDS = 0.1
COLUMNS = ("macs", "params", "agreement", "accuracy", "time", "cpu_seconds", "peak_bytes")
"""What of a row goes into the results, one for each seed."""

REASONS = ("absent", "fails", "cannot", "refused")


def measure(
    folder: Path, seeds: int, rows: Path | None, cifar10: Path | None, *, small: bool = False
) -> list[Json]:
    """Compress and time every network under every budget with every competitor.

    Args:
        folder: The folder of files.
        seeds: The number of seeds of each network.
        rows: The file of rows, to which this run adds those that it lacks; None for no file.
        cifar10: The folder of CIFAR-10 for two of the networks; None for Fashion-MNIST.
        small: Use one budget for each network, fewer competitors, few examples, and briefly
            trained networks.
    """
    check_packages()
    store, networks = RowStore(rows), timed_networks(cifar10)
    torch.set_num_threads(THREADS)
    with threadpool_limits(THREADS):
        for net in networks:
            for seed in range(seeds):
                _measure(net, seed, store, folder, small=small)
    return [_gather(net, seeds, store, small=small) for net in networks]


def _requested(net: NetworkKind, *, small: bool) -> list[tuple[str, float, str]]:
    budgets = [(kind, level) for kind, levels in net.levels.items() for level in levels]
    if small:
        return [(*budgets[0], competitor) for competitor in QUICK_COMPETITORS]
    return [(*budget, competitor) for budget in budgets for competitor in COMPETITORS]


def _key(net: NetworkKind, seed: int, kind: str, level: float, competitor: str) -> Json:
    how = {"how": " ".join(FRIVKIT[competitor])} if competitor in FRIVKIT else {}
    return {"net": net.name, "seed": seed, "kind": kind, "level": level, "side": competitor, **how}


def _measure(net: NetworkKind, seed: int, store: RowStore, folder: Path, *, small: bool) -> None:
    """Measure the rows of a seed that are missing."""
    requested = [(WHOLE, 1.0, WHOLE), *_requested(net, small=small)]
    missing = [each for each in requested if store.get(_key(net, seed, *each)) is None]
    if not missing:
        return
    with TemporaryDirectory(dir=folder) as seed_folder:
        network = net.network(Path(seed_folder), seed, small=small)
        competitors = TimedCompetitors(network, Path(seed_folder))
        seconds = QUICK_SECONDS if small else SECONDS
        for kind, level, competitor in missing:
            start = perf_counter()
            row = _row(network, competitors, kind, level, competitor, seconds=seconds)
            row["seconds"] = perf_counter() - start
            store.add(_key(net, seed, kind, level, competitor), row)
            number = requested.index((kind, level, competitor)) + 1
            budget = f"{net.name}, seed {seed}, {kind} {level:g}, {competitor}"
            label = f"{number}/{len(requested)} {budget}: {_brief(row)}"
            print(f"{label}, {row['seconds']:.1f} s", file=sys.stderr, flush=True)


def _row(
    network: Network,
    competitors: TimedCompetitors,
    kind: Any,
    level: float,
    competitor: str,
    *,
    seconds: float,
) -> Json:
    x, _ = network.examples
    path, cost = network.model, {}
    try:
        if competitor != WHOLE:
            written = competitors.write(competitor, kind, level)
            path = written.path
            cost = {"cpu_seconds": written.cpu_seconds, "peak_bytes": written.peak_bytes}
        remaining, scored = amounts(network, path), score(network, path)
        times = time_shares(network.model, path, x, seconds)
    except OutOfReach as reached:
        return {"cannot": reached.least}
    except Absent as absent:
        return {"absent": str(absent)}
    except Refused as refused:
        return {"refused": str(refused)}
    except Exception as error:  # an error of a competitor is its result
        return {"fails": f"{type(error).__name__}: {error}"[:300]}
    return remaining | scored | {"time": times} | cost


def _brief(row: Json) -> str:
    if "agreement" not in row:
        return str({key: value for key, value in row.items() if key != "seconds"})
    times = ", ".join(f"{one['median']:.3f}" for one in row["time"].values())
    return f"agreement {row['agreement']:.4f}, time {times}"


def _gather(net: NetworkKind, seeds: int, store: RowStore, *, small: bool) -> Json:
    """Return the results of a network from the rows of all seeds."""

    def together(kind: str, level: float, competitor: str) -> Json:
        rows = [store.get(_key(net, seed, kind, level, competitor)) for seed in range(seeds)]
        return _together([row for row in rows if row is not None])

    budgets: dict[tuple[str, float], Json] = {}
    for kind, level, competitor in _requested(net, small=small):
        by_competitor = budgets.setdefault((kind, level), {})
        by_competitor[competitor] = together(kind, level, competitor)
    return {
        "net": net.name,
        "whole": together(WHOLE, 1.0, WHOLE),
        "budgets": [
            {"kind": kind, "level": level, "sides": by_competitor}
            for (kind, level), by_competitor in budgets.items()
        ],
    }


def _together(rows: list[Json]) -> Json:
    """Return each number as a list over seeds, or the reason of a seed that has none."""
    for why in REASONS:
        reasons = [row[why] for row in rows if why in row]
        if reasons:
            return {why: min(reasons)}
    together = {name: [row[name] for row in rows] for name in COLUMNS if name in rows[0]}
    return together | {"examples": rows[0]["examples"]}
