"""The suite ``concurrency``: several processes on one cache, one output or one folder at once.

Every process must end with exit code 0 or with one line, and every result must be that of a process
alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reliability.inputs import copy_inputs, write_inputs
from reliability.running.forked import Child, Ended, Limits, run, start
from reliability.running.outputs import array_digests, digest, json_values, row_values
from reliability.running.trials import Trial
from reliability.running.verdict import Verdict, judged

PROCESSES = 8
LIMITS = Limits(seconds=300)
DATA = ("--data", "npz:x.npz")
ANALYZE = ("analyze", "net.onnx", *DATA, "--units", "map", "--json")
ACTIVATIONS = ("activations", "net.onnx", *DATA, "--memory", "4MB", "-o")
COMPRESS = ("compress", "net.onnx", *DATA, "--no-time", "--macs", "0.5", "-o")
SWEEP = ("sweep", "recipe.toml", "-o", "swept")

Attempt = Callable[[Path, "Alone", np.random.Generator], Verdict]


class Alone:
    """The results of single processes, computed once each."""

    def __init__(self, at: Path) -> None:
        """Write the inputs into a folder."""
        self.folder = at
        write_inputs(at)
        self._found: dict[str, Any] = {}

    def result(self, command: Sequence[str], name: str, read: Callable[[Path], Any]) -> Any:
        """Return what a command alone writes to a file."""
        key = " ".join(command)
        if key not in self._found:
            folder = self.folder / str(len(self._found))
            copy_inputs(self.folder, folder)
            ended = run(command, folder, LIMITS)
            if ended.code:
                raise RuntimeError(f"alone, it fails: {ended.err}")
            self._found[key] = read(folder / name)
        return self._found[key]


def trials(seed: int, count: int, at: Path) -> Iterator[Trial]:
    """Yield the trials of this suite, ``count`` of each situation."""
    alone = Alone(at)
    for name, attempt in SITUATIONS.items():

        def perform(folder: Path, attempt: Attempt, number: int, name: str) -> Verdict:
            copy_inputs(alone.folder, folder)
            return attempt(folder, alone, np.random.default_rng([seed, number, *name.encode()]))

        for number in range(count):
            yield Trial(name, number, partial(perform, attempt=attempt, number=number, name=name))


def _together(commands: Sequence[Sequence[str]], folder: Path, rng: np.random.Generator) -> Any:
    """Start commands within half a second, and return how they ended."""
    children: list[Child] = []
    for command in commands:
        children.append(start(command, folder, LIMITS))
        time.sleep(float(rng.uniform(0, 0.5 / len(commands))))
    return [child.wait() for child in children]


def _judged_all(runs: Sequence[Ended], *, may_fail: bool = False) -> Verdict:
    """Return the first fault of several runs, or the verdict on all of them."""
    verdicts = [judged(ended) for ended in runs]
    for verdict in verdicts:
        if verdict.fault:
            return verdict
        if verdict.outcome == "refused" and not may_fail:
            return Verdict("fault", f"refused: {verdict.told}", verdict.told)
    if all(verdict.outcome == "refused" for verdict in verdicts):
        return Verdict("fault", f"none was done: {verdicts[0].told}")
    refused = sum(verdict.outcome == "refused" for verdict in verdicts)
    return Verdict("some refused" if refused else "all done", None, verdicts[-1].told)


def _left(folder: Path) -> str | None:
    cache = folder.with_name(f"{folder.name}-around") / "cache"
    left = [path.name for path in cache.glob("*") if path.suffix != ".h5"]
    left += [path.name for path in folder.glob(".*.tmp")]
    return f"left behind: {left[0]}" if left else None


def _verdict(verdict: Verdict, folder: Path, wrong: str | None) -> Verdict:
    fault = verdict.fault or wrong or _left(folder)
    return Verdict("fault", fault, verdict.told) if fault else verdict


def _one_cache(folder: Path, alone: Alone, rng: np.random.Generator) -> Verdict:
    """Let eight processes with equal and other seeds share one cache."""
    commands = [[*ANALYZE, f"{n}.json", "--seed", str(n % 2)] for n in range(PROCESSES)]
    verdict = _judged_all(_together(commands, folder, rng))
    expected = [
        alone.result([*ANALYZE, "a.json", "--seed", str(seed)], "a.json", json_values)
        for seed in range(2)
    ]
    wrong = None
    if verdict.fault is None:
        found = [json_values(folder / f"{n}.json") for n in range(PROCESSES)]
        wrong = next(
            (f"result {n} is another" for n in range(PROCESSES) if found[n] != expected[n % 2]),
            None,
        )
    return _verdict(verdict, folder, wrong)


def _one_output(
    folder: Path,
    alone: Alone,
    rng: np.random.Generator,
    *,
    command: Sequence[str],
    name: str,
    read: Callable[[Path], Any],
) -> Verdict:
    """Let two processes write one name; the file must be whole and of one of them."""
    runs = _together([[*command, name]] * 2, folder, rng)
    verdict = _judged_all(runs, may_fail=True)
    wrong = None
    if verdict.fault is None and read(folder / name) != alone.result([*command, name], name, read):
        wrong = f"{name} is another"
    return _verdict(verdict, folder, wrong)


def _two_results_of_one_name(folder: Path, alone: Alone, rng: np.random.Generator) -> Verdict:
    """Let two processes write different results to one name."""
    commands = [[*ANALYZE, "a.json", "--seed", seed] for seed in ("0", "1")]
    verdict = _judged_all(_together(commands, folder, rng))
    expected = [alone.result(command, "a.json", json_values) for command in commands]
    wrong = None
    if verdict.fault is None and json_values(folder / "a.json") not in expected:
        wrong = "a.json is of neither"
    return _verdict(verdict, folder, wrong)


def _one_sweep(folder: Path, alone: Alone, rng: np.random.Generator) -> Verdict:
    """Let two processes run one sweep into one folder: one does it, or both in turn."""
    verdict = _judged_all(_together([SWEEP, SWEEP], folder, rng), may_fail=True)
    expected = alone.result(SWEEP, "swept/results.jsonl", row_values)
    wrong = None
    if verdict.fault is None and row_values(folder / "swept/results.jsonl") != expected:
        wrong = "results.jsonl is another"
    return _verdict(verdict, folder, wrong)


def _cache_command(
    folder: Path, alone: Alone, rng: np.random.Generator, *, command: Sequence[str]
) -> Verdict:
    """Clear or prune the cache again and again while a process works with it."""
    working = start([*ANALYZE, "a.json"], folder, LIMITS)
    runs = []
    for _ in range(5):
        time.sleep(float(rng.uniform(0, 0.3)))
        runs.append(run(command, folder, LIMITS))
    verdict = _judged_all([working.wait(), *runs])
    expected = alone.result([*ANALYZE, "a.json"], "a.json", json_values)
    wrong = None
    if verdict.fault is None and json_values(folder / "a.json") != expected:
        wrong = "a.json is another"
    return _verdict(verdict, folder, wrong)


SITUATIONS: dict[str, Attempt] = {
    "eight processes, one cache": _one_cache,
    "two files of activations, one name": partial(
        _one_output, command=ACTIVATIONS, name="out.h5", read=array_digests
    ),
    "two compressed models, one name": partial(
        _one_output, command=COMPRESS, name="thin.onnx", read=digest
    ),
    "two results, one name": _two_results_of_one_name,
    "two sweeps, one folder": _one_sweep,
    "cache clear during a run": partial(_cache_command, command=("cache", "clear")),
    "cache prune during a run": partial(
        _cache_command, command=("cache", "prune", "--size", "1kB")
    ),
}
