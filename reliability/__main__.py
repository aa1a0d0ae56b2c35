"""Run the suites: ``python -m reliability kills`` from the root of the repository, on Linux."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring.row_store import RowStore
from reliability import page
from reliability.running import forked, setting
from reliability.running.trials import Trial, run_trials

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "build" / "reliability"
COUNTS = {"kills": 100, "concurrency": 10, "starvation": 1, "fuzz": 10_000, "attacks": 1}
"""Trials of each suite: of each command or situation, for fuzz in all."""
QUICK = {
    "kills": (1, 5),
    "concurrency": (1, 7),
    "starvation": (1, 50),
    "fuzz": (20, 1),
    "attacks": (1, 16),
}
"""The share that runs with the tests: trials as above, and one of how many of them."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    what = "quick runs a few trials of each, page writes the totals' page"
    parser.add_argument("suite", choices=[*COUNTS, "quick", "page"], help=what)
    parser.add_argument("--seed", type=int, default=0, help="what all draws begin with")
    parser.add_argument("--count", type=int, help="trials of each command, for fuzz in all")
    parser.add_argument("--part", type=_part, default=(0, 1), help="i/n: every n-th trial")
    parser.add_argument("--group", action="append", help="only these rows of the table")
    parser.add_argument("-o", type=Path, help="where the JSON of the totals goes [stdout]")
    parser.add_argument("--store", action="store_true", help="put the totals into the docs")
    parser.add_argument("--rows", type=Path, default=ROWS, help="folder of rows to continue")
    given = parser.parse_args()
    if given.suite == "page":
        page.write()
        return
    forked.warm()
    if given.suite == "quick":
        jobs = {name: (count, every // 2, every) for name, (count, every) in QUICK.items()}
    else:
        jobs = {given.suite: (given.count or COUNTS[given.suite], *given.part)}
    found = {}
    for suite, (count, first, step) in jobs.items():
        with TemporaryDirectory(prefix="frivkit-reliability-") as folder:
            trials = [
                trial
                for trial in _trials(suite, given.seed, count, Path(folder) / "seeds")
                if given.group is None or trial.group in given.group
            ][first::step]
            store = RowStore(given.rows / f"{suite}.jsonl")
            rows = run_trials(suite, given.seed, trials, store, given.rows / "faults")
        found[suite] = page.totals(rows, given.seed)
        if given.store:
            page.store(suite, found[suite], setting.describe())
    text = json.dumps(found, indent=1)
    if given.o:
        given.o.write_text(text + "\n")
    else:
        print(text)
    sys.exit(1 if any(each["faults"] for each in found.values()) else 0)


def _trials(suite: str, seed: int, count: int, at: Path) -> Iterable[Trial]:
    """Return the trials of a suite; modules of suites import numpy, so not before it is warm."""
    from importlib import import_module

    modules = {name: f"reliability.{name}" for name in COUNTS} | {
        "fuzz": "reliability.fuzz.cases",
        "attacks": "reliability.attacks.suite",
    }
    make: Callable[[int, int, Path], Iterable[Trial]] = import_module(modules[suite]).trials
    return make(seed, count, at)


def _part(text: str) -> tuple[int, int]:
    """Return the index of the first trial of a part, and the step to the next."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; write 1/2 for the first of two")
    return int(part) - 1, int(parts)


if __name__ == "__main__":
    main()
