"""What thinner networks still say: ``frivkit compress`` beside its rivals at equal budgets."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from benchmarks.contenders import FRIVKIT, SIDES, Absent, Contenders
from benchmarks.dial import OutOfReach
from benchmarks.judging import THREADS, amounts, said
from benchmarks.kept import Kept
from benchmarks.subjects import NETS, Kind, Net, Subject

Json = dict[str, Any]
WHOLE = "whole"
"""The side that is the network itself."""

TOLD = ("macs", "params", "units", "agreement", "accuracy", "relative_l2")
"""Numbers of a row that go into the results, one of each seed."""


def measure(folder: Path, seeds: int, rows: Path | None, *, small: bool = False) -> list[Json]:
    """Compress every network under every budget with every side.

    Args:
        folder: Where files are written.
        seeds: Draws of each network.
        rows: The file of rows that an earlier run has measured and this one adds to.
        small: One budget a network, few examples and briefly trained networks.
    """
    kept = Kept(rows)
    torch.set_num_threads(THREADS)
    with threadpool_limits(THREADS):
        for net in NETS:
            for seed in range(seeds):
                _measure(net, seed, kept, folder, small=small)
    return [_gathered(net, seeds, kept, small=small) for net in NETS]


def _asked(net: Net, *, small: bool) -> list[tuple[Kind, float, str]]:
    budgets = [(kind, level) for kind, levels in net.levels.items() for level in levels]
    return [(*budget, side) for budget in budgets[: 1 if small else None] for side in SIDES]


def _key(net: Net, seed: int, kind: str, level: float, side: str) -> Json:
    how = {"how": str(FRIVKIT[side])} if side in FRIVKIT else {}
    return {"net": net.name, "seed": seed, "kind": kind, "level": level, "side": side, **how}


def _measure(net: Net, seed: int, kept: Kept, folder: Path, *, small: bool) -> None:
    """Measure the rows of a seed that are missing."""
    asked = [(WHOLE, 1.0, WHOLE), *_asked(net, small=small)]
    missing = [each for each in asked if kept.get(_key(net, seed, *each)) is None]
    if not missing:
        return
    with TemporaryDirectory(dir=folder) as place:
        subject = net.subject(Path(place), seed, small=small)
        contenders = Contenders(subject, Path(place))
        for kind, level, side in missing:
            start = perf_counter()
            row = _row(subject, contenders, kind, level, side)
            row["seconds"] = perf_counter() - start
            kept.add(_key(net, seed, kind, level, side), row)
            number = asked.index((kind, level, side)) + 1
            told = f"{number}/{len(asked)} {net.name}, seed {seed}, {kind} {level:g}, {side}"
            print(f"{told}: {_brief(row)}, {row['seconds']:.1f} s", file=sys.stderr, flush=True)


def _row(subject: Subject, contenders: Contenders, kind: Any, level: float, side: str) -> Json:
    if side == WHOLE:
        return amounts(subject, subject.model) | said(subject, subject.model)
    try:
        path = contenders.write(side, kind, level)
    except OutOfReach as reached:
        return {"cannot": reached.least}
    except Absent as absent:
        return {"absent": str(absent)}
    except Exception as error:  # whatever a side raises is its result
        return {"fails": f"{type(error).__name__}: {error}"[:300]}
    left = amounts(subject, path)
    if left[kind] > level * contenders.whole[kind]:
        return {"fails": f"{left[kind]} of {contenders.whole[kind]} {kind} are more than {level:g}"}
    return left | said(subject, path)


def _brief(row: Json) -> str:
    if "agreement" in row:
        return f"agreement {row['agreement']:.4f}"
    return str({key: value for key, value in row.items() if key != "seconds"})


def _gathered(net: Net, seeds: int, kept: Kept, *, small: bool) -> Json:
    """Put the rows of all seeds together."""

    def together(kind: str, level: float, side: str) -> Json:
        rows = [kept.get(_key(net, seed, kind, level, side)) for seed in range(seeds)]
        return _together([row for row in rows if row is not None])

    budgets: dict[tuple[str, float], Json] = {}
    for kind, level, side in _asked(net, small=small):
        sides = budgets.setdefault((kind, level), {})
        sides[side] = together(kind, level, side)
    return {
        "net": net.name,
        "whole": together(WHOLE, 1.0, WHOLE),
        "budgets": [
            {"kind": kind, "level": level, "sides": sides}
            for (kind, level), sides in budgets.items()
        ],
    }


def _together(rows: list[Json]) -> Json:
    """Return each number as a list over seeds; what some seed could not do stands for all."""
    for why in ("absent", "fails", "cannot"):
        found = [row[why] for row in rows if why in row]
        if found:
            return {why: min(found)}
    together = {name: [row[name] for row in rows] for name in TOLD}
    return together | {"examples": rows[0]["examples"]}
