"""The competitors in the part ``latency``, and how each meets a budget of MACs or time."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Literal

import numpy as np

from benchmarks.competitors import low_rank, onnxsim_pruning, torch_pruners
from benchmarks.competitors.compression import FEW, Absent
from benchmarks.competitors.ratio_search import OutOfReach, RatioSearch
from benchmarks.measuring.command import run_command
from benchmarks.measuring.time_share import time_shares
from benchmarks.networks.trained import Network
from frivkit.errors import UsageError

Kind = Literal["macs", "latency"]
Write = Callable[[Network, float, Path], None]

FRIVKIT = {
    "frivkit": (),
    "frivkit, units only": ("--basis", "select"),
    "frivkit, units only, any width": ("--basis", "select", "--round-to", "1"),
    "interpolative decomposition (ours)": (
        *("--basis", "select", "--ranking", "cholesky", "--refit", "ridge"),
        *("--allocation", "uniform", "--round-to", "1"),
    ),
}
"""The options of ``frivkit compress``, by the name of the competitor."""

PRUNERS: dict[str, Write] = {
    "onnxsim L2 + finetune": partial(onnxsim_pruning.prune, wanda=False, together=False),
    "Torch-Pruning magnitude": partial(torch_pruners.prune, importance="magnitude", together=False),
    "Torch-Pruning magnitude, round_to 16": partial(
        torch_pruners.prune, importance="magnitude", together=False, round_to=16
    ),
}
"""Competitors that take a ratio of channels."""

FACTORIZED: dict[str, Write] = {
    "SVD of the weights (ours)": partial(low_rank.factorize, kind="weights"),
    "BALF (ours)": partial(low_rank.factorize, kind="activations"),
}
"""Competitors that take a budget of multiply-accumulates."""

COMPETITORS = (*FRIVKIT, *PRUNERS, *FACTORIZED)
"""All competitors, in the order of the tables."""

QUICK_COMPETITORS = ("frivkit", *PRUNERS, *FACTORIZED)
"""The competitors of a quick run."""

VERIFIED = 32
"""Examples on which ``frivkit compress`` compares its file; the benchmark scores it on others."""

COARSE, FINE = 16, 4
"""Coarse steps of the reduction under a budget of time, and fine steps in each."""

TRIAL_SECONDS = 0.4
"""The time for measuring the file of a step."""


class Refused(Exception):  # noqa: N818  # a finding, and no error
    """A budget that frivkit refuses; the message is its own."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a competitor wrote.

    Attributes:
        path: The file.
        cpu_seconds: The processor time that it took: of the whole command for frivkit, without
            the search for a ratio and without imports for the others.
        peak_bytes: The largest resident memory of the command; None for the others.
    """

    path: Path
    cpu_seconds: float
    peak_bytes: int | None


class TimedCompetitors:
    """All competitors for one network.

    Args:
        network: The network.
        folder: The folder of files.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._ratios: dict[str, RatioSearch] = {}
        self._times: dict[str, TimeSearch] = {}
        self._few = folder / "few.npz"
        x, y = network.examples
        np.savez(self._few, x=x[:VERIFIED], y=y[:VERIFIED])

    def write(self, competitor: str, kind: Kind, level: float) -> Written:
        """Write the file of a competitor under a budget.

        Raises:
            Absent: the competitor does not support such a network.
            OutOfReach: the competitor cannot meet the budget.
            Refused: frivkit refuses it.
        """
        path = self._folder / "thin.onnx"
        path.unlink(missing_ok=True)
        if competitor in FRIVKIT:
            return self._compress(FRIVKIT[competitor], kind, level, path)
        if competitor.startswith("Torch-Pruning") and self._network.net is None:
            raise Absent("no torch network")
        write = {**PRUNERS, **FACTORIZED}[competitor]
        if kind == "latency":
            amount = self._time_search(competitor, write).amount(level)
        elif competitor in FACTORIZED:
            amount = level
        else:
            amount = self._ratio_search(competitor).ratio(kind, level)
        start = process_time()
        write(self._network, amount, path)
        if competitor.endswith("+ finetune"):
            onnxsim_pruning.refit(self._network, path)
        return Written(path, process_time() - start, None)

    def _compress(self, options: tuple[str, ...], kind: Kind, level: float, path: Path) -> Written:
        """Run ``frivkit compress``.

        Raises:
            Refused: it wrote no file.
            SystemExit: the command line is wrong, which is an error of the benchmark.
        """
        command = [sys.executable, "-m", "frivkit", "compress", str(self._network.model)]
        command += ["-o", str(path), f"--{kind}", f"{level:g}", *options]
        command += ["--data", f"npz:{self._network.calibration}", "--verify-data"]
        command += [f"npz:{self._few}", "--seed", str(self._network.seed), "--threads", "1"]
        finished = run_command([*command, "--no-cache", "--no-progress", "--quiet"])
        if finished.exit_code == UsageError.exit_code:
            raise SystemExit(f"{' '.join(command)}\n{finished.output}")
        if not path.exists():
            raise Refused(" ".join(finished.output.split())[-250:])
        return Written(path, finished.cpu_seconds, finished.peak_bytes)

    def _ratio_search(self, pruner: str) -> RatioSearch:
        if pruner not in self._ratios:
            few = replace(self._network, few=FEW)
            write = partial(PRUNERS[pruner], few)
            self._ratios[pruner] = RatioSearch(write, few, self._folder / "tried.onnx")
        return self._ratios[pruner]

    def _time_search(self, competitor: str, write: Write) -> "TimeSearch":
        if competitor not in self._times:
            # the widths of a pruner do not depend on examples, the ranks of a factorization do
            few = None if competitor in FACTORIZED else FEW
            network, tried = replace(self._network, few=few), self._folder / "tried.onnx"
            most = 1 - _least(write, network, tried) if competitor in FACTORIZED else None
            self._times[competitor] = TimeSearch(write, network, tried, most)
        return self._times[competitor]


class TimeSearch:
    """Finds the amount at which a competitor's file meets a budget of time at batch 1.

    Reductions are tried in rising order, and a bisection is made only between the first one that
    meets the budget and the one before it, as in :class:`RatioSearch`.

    Args:
        write: A function that writes the file of an amount.
        network: The network.
        path: The path of files.
        most: The largest share of multiply-accumulates that can leave, if the amount is the share
            that is kept; None if it is the ratio of channels that leave.
    """

    def __init__(self, write: Write, network: Network, path: Path, most: float | None) -> None:
        self._write, self._network, self._path, self._most = write, network, path, most
        self._known: dict[int, float] = {}

    def amount(self, level: float) -> float:
        """Return the amount of the largest file that takes at most a share of the time.

        Raises:
            OutOfReach: no file does.
        """
        steps = range(FINE, COARSE * FINE, FINE)
        high = next((step for step in steps if self._share(step) <= level), None)
        if high is None:
            raise OutOfReach(min(self._share(step) for step in steps))
        low = high - FINE
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._share(middle) <= level else (middle, high)
        return self._amount(high)

    def _amount(self, step: int) -> float:
        removed = step / (COARSE * FINE)
        return removed if self._most is None else 1 - self._most * removed

    def _share(self, step: int) -> float:
        """Return the share of the time at a step."""
        if step not in self._known:
            self._write(self._network, self._amount(step), self._path)
            x, _ = self._network.examples
            original = self._network.model
            shares = time_shares(original, self._path, x, TRIAL_SECONDS, batches=(1,))
            self._known[step] = shares["1"]["median"]
        return self._known[step]


def _least(write: Write, network: Network, path: Path) -> float:
    """Return the smallest share of multiply-accumulates that a factorization can leave."""
    try:
        write(network, 0.0, path)
    except OutOfReach as reached:
        return reached.least
    return 0.0
