"""Trials: one after the other, each in a folder of its own, with the verdicts in a file."""

import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.measuring.row_store import Json, RowStore
from reliability.running.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt to break the program.

    Attributes:
        group: The row of the table of totals that counts it.
        number: Its number or name in the group.
        run: Does it in a new folder.
    """

    group: str
    number: int | str
    run: Callable[[Path], Verdict]


def run_trials(
    suite: str, seed: int, trials: Iterable[Trial], store: RowStore, faults: Path
) -> list[Json]:
    """Run the trials that have no row yet, and return the rows of all.

    Args:
        suite: The name of the suite.
        seed: What its draws began with; part of the key of a row.
        trials: The trials.
        store: The rows, to which each verdict is added at once.
        faults: Folder that keeps the folders of trials with faults.
    """
    trials = list(trials)
    rows, todo = [], []
    for trial in trials:
        key = {"suite": suite, "group": trial.group, "number": trial.number, "seed": seed}
        row = store.get(key)
        if row is None:
            todo.append((key, trial))
        else:
            rows.append(row)
    begun, found = time.monotonic(), Counter[str]()
    for done, (key, trial) in enumerate(todo, 1):
        row = _row(suite, trial, faults)
        store.add(key, row)
        rows.append(row)
        found["faults" if row["fault"] else row["outcome"]] += 1
        if row["fault"]:
            _say(f"{suite} {trial.group} {trial.number}: {row['fault'][:300]}")
        if done == len(todo) or done % max(1, min(100, len(todo) // 20)) == 0:
            left = (time.monotonic() - begun) / done * (len(todo) - done)
            counts = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
            _say(f"{suite}: {done} of {len(todo)}, {counts}; {left / 60:.1f} min left")
    return rows


def _row(suite: str, trial: Trial, faults: Path) -> Json:
    around = Path(mkdtemp(prefix="frivkit-trial-"))
    folder = around / "work"
    folder.mkdir()
    begun = time.monotonic()
    try:
        verdict = trial.run(folder)
    except Exception as error:  # a fault of the trial itself must not end the others
        traceback.print_exc()
        verdict = Verdict("fault", f"the trial failed: {type(error).__name__}: {error}")
    if verdict.fault:
        kept = faults / f"{suite}-{trial.group}-{trial.number}".replace("/", "-").replace(" ", "-")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(around, kept, symlinks=True, ignore_dangling_symlinks=True)
    shutil.rmtree(around, ignore_errors=True)
    return {
        "group": trial.group,
        "outcome": verdict.outcome,
        "fault": verdict.fault,
        "told": verdict.told,
        "seconds": round(time.monotonic() - begun, 2),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
