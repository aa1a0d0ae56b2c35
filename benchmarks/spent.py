"""Where frivkit's own time goes: what share is not spent in ONNX Runtime's runs."""

import cProfile
import pstats
from pathlib import Path

from benchmarks import sides
from benchmarks.job import job
from benchmarks.nets import mnist

PARTS = {
    "runs": ("onnxruntime_pybind11_state.run", "~"),
    "making sessions": ("__init__", "engine/session.py"),
    "bootstrap intervals": ("interval", "frivkit_ablation/curve.py"),
    "reading examples": ("read", "frivkit/data.py"),
    "labels of outputs": ("labels_of", "engine/labels.py"),
    "drawing masks": ("random_order", "frivkit/masks.py"),
}
"""Function and the end of its file's name, for each part of the time."""


def measure(folder: Path, repeats: int = 3, levels: int = 7) -> dict[str, dict[str, float]]:
    """Profile prunability of the MNIST network; the shares add up to 1."""
    case = mnist(folder)
    found = {}
    for units in ("location", "map"):
        work = job(case.model, case.data, units, repeats=repeats, levels=levels)
        profile = cProfile.Profile()
        profile.runcall(sides.frivkit, case, work)
        found[units] = _shares(pstats.Stats(profile))
    return found


def _shares(stats: pstats.Stats) -> dict[str, float]:
    total = stats.total_tt  # type: ignore[attr-defined]  # documented only through its printing
    spent = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), row in stats.stats.items():  # type: ignore[attr-defined]  # as above
        for part, (name, end) in PARTS.items():
            if name in function and (function == name or end == "~") and file.endswith(end):
                spent[part] += row[3]
    shares = {part: seconds / total for part, seconds in spent.items()}
    return shares | {"all else": 1 - sum(shares.values())}
