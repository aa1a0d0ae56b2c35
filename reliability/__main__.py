"""Run the suites: ``python -m reliability kills`` from the root of the repository, on Linux."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring.row_store import RowStore
from reliability import page
from reliability.running import forked
from reliability.running.trials import Trial, run_trials

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "build" / "reliability"
COUNTS = {"kills": 100, "concurrency": 10, "starvation": 1, "fuzz": 10_000, "attacks": 1}
"""Trials of each suite: of each command or situation, for fuzz in all."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("suite", choices=[*COUNTS, "page"], help="page writes the totals' page")
    parser.add_argument("--seed", type=int, default=0, help="what all draws begin with")
    parser.add_argument("--count", type=int, help="trials of each command, for fuzz in all")
    parser.add_argument("--part", type=_part, default=(1, 1), help="i/n: every n-th trial")
    parser.add_argument("--group", action="append", help="only these rows of the table")
    parser.add_argument("-o", type=Path, help="JSON of the totals, beside the stored ones")
    parser.add_argument("--rows", type=Path, default=ROWS, help="folder of rows to continue")
    given = parser.parse_args()
    if given.suite == "page":
        page.write()
        return
    forked.warm()
    count = given.count or COUNTS[given.suite]
    part, parts = given.part
    with TemporaryDirectory(prefix="frivkit-reliability-") as folder:
        trials = [
            trial
            for trial in _trials(given.suite, given.seed, count, Path(folder) / "seeds")
            if given.group is None or trial.group in given.group
        ][part - 1 :: parts]
        store = RowStore(given.rows / f"{given.suite}.jsonl")
        rows = run_trials(given.suite, given.seed, trials, store, given.rows / "faults")
    totals = page.totals(rows, given.seed)
    text = json.dumps(totals, indent=1)
    if given.o:
        given.o.write_text(text + "\n")
    else:
        print(text)
    sys.exit(1 if any(row["fault"] for row in rows) else 0)


def _trials(suite: str, seed: int, count: int, at: Path) -> Iterable[Trial]:
    """Return the trials of a suite; modules of suites import numpy, so not before it is warm."""
    from importlib import import_module

    modules = {name: f"reliability.{name}" for name in COUNTS} | {"fuzz": "reliability.fuzz.cases"}
    make: Callable[[int, int, Path], Iterable[Trial]] = import_module(modules[suite]).trials
    return make(seed, count, at)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; write 1/2 for the first of two")
    return int(part), int(parts)


if __name__ == "__main__":
    main()
