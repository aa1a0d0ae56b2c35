"""The time of frivkit by part: the shares of ONNX Runtime's runs and of frivkit's own functions."""

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

from benchmarks.competitors import masks
from benchmarks.measuring.mask_job import job
from benchmarks.networks.timed import mnist
from frivkit.data import Dataset
from frivkit.runtime.labels import labels_of
from frivkit.runtime.session import Session
from frivkit.units.masks import random_order
from frivkit_ablation.curve import interval

RUNS = "onnxruntime_pybind11_state.run"
"""The part of the name of ONNX Runtime's compiled function, which has no file."""
PARTS: dict[str, Callable[..., object]] = {
    "making sessions": Session.__init__,
    "bootstrap intervals": interval,
    "reading examples": Dataset.read,
    "labels of outputs": labels_of,
    "drawing masks": random_order,
}
"""The function that each part of the time is spent in."""


def measure(folder: Path, repeats: int = 3, levels: int = 7) -> dict[str, dict[str, float]]:
    """Profile prunability of the MNIST network, and return shares that add up to 1."""
    case = mnist(folder)
    outcome = {}
    for units in ("location", "map"):
        mask_job = job(case.model, case.data, units, repeats=repeats, levels=levels)
        profile = cProfile.Profile()
        profile.runcall(masks.frivkit, case, mask_job)
        outcome[units] = _shares(pstats.Stats(profile))
    return outcome


def _shares(stats: pstats.Stats) -> dict[str, float]:
    total = stats.total_tt  # type: ignore[attr-defined]  # documented only through its printing
    seconds = {"runs": 0.0, **dict.fromkeys(PARTS, 0.0)}
    part_of = {
        (code.co_filename, code.co_firstlineno, code.co_name): part
        for part, code in ((part, function.__code__) for part, function in PARTS.items())
    }
    for key, row in stats.stats.items():  # type: ignore[attr-defined]  # as above
        part = "runs" if key[0] == "~" and RUNS in key[2] else part_of.get(key)
        if part is not None:
            seconds[part] += row[3]
    shares = {part: spent / total for part, spent in seconds.items()}
    return shares | {"all else": 1 - sum(shares.values())}
