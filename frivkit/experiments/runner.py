"""Run a plan: do the work that is missing, write it down, and draw up the figures."""

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.arrays import write_arrays
from frivkit.experiments.jobs import Row, SweepPlan
from frivkit.experiments.progress_table import ProgressTable
from frivkit.experiments.results import Results
from frivkit.experiments.workers import WorkerPool
from frivkit.files import replace_file
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance

SCHEMA = "frivkit.sweep/1"
RESULTS, JOURNAL, ARRAYS, UNFINISHED = "results.jsonl", "run.json", "arrays", "unfinished"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a run did.

    Attributes:
        trained: Networks that were trained.
        found: Networks of the plan that had been trained before.
        points: Rows of its figures.
        seconds: How long it took.
        failed: Why networks could not be trained or measured, one line each.
    """

    trained: int
    found: int
    points: int
    seconds: float
    failed: tuple[str, ...] = ()


def run(
    plan: SweepPlan, folder: Path, *, engine: WorkerPool | None = None, show: bool = False
) -> Swept:
    """Do what ``folder`` does not have yet of a plan, and draw up its figures.

    The rows of each job are on disk as soon as it is done, its arrays before them.  Where a job
    fails, every result that this process had received before is written, then the error is raised;
    no further job is begun, and those that run in other processes are ended.  An interrupted run
    goes on where it stopped; plans may share a folder, and networks.

    Args:
        plan: What to run.
        folder: Where the files go; made if it is not there.
        engine: Who does the work; None for this process, with one thread.
        show: Whether a table of progress is shown on stderr.

    Raises:
        UsageError: the folder has results of other settings, or the plan's data are not named.
        DataError: another run is using the folder, or its files are broken.
        FrivkitError: a job failed, or something cannot be written.
    """
    plan.check()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"another sweep is writing to {folder}; wait for it, or give another folder"
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    with held:
        try:
            return _run(plan, folder, engine or WorkerPool(), show)
        except OSError as error:
            raise _unwritable(folder, error) from error


def _run(plan: SweepPlan, folder: Path, engine: WorkerPool, show: bool) -> Swept:
    clock = Clock.start()
    journal = Journal(folder, plan)
    results = Results(folder / RESULTS)
    todo, found = plan.remaining_jobs(results.measured)
    journal.write(None)
    table = ProgressTable(plan.title, todo, hidden=not (show and todo))
    failed = []
    try:
        with closing(engine.run(todo, folder / UNFINISHED, table)) as finished:
            for job, made, seconds in finished:
                if made.arrays:
                    table_cell = folder / ARRAYS / f"{job.name}.h5"
                    origin = journal.origin(clock) | {"seconds": round(seconds, 3)}
                    write_arrays(table_cell, made.arrays, settings=job.settings, provenance=origin)
                results.append(job.name, made.rows)
                journal.add(job.settings, job.networks, seconds)
                journal.write(clock)
                failed += [str(row["reason"]) for row in made.rows if "reason" in row]
                table.done(job)
        points = plan.points(results.measured)
        results.put_figures(plan.figures, points)
        journal.finished = True
    finally:
        table.close()
        journal.write(clock)
    trained = sum(job.networks for job in todo)
    return Swept(trained, found, len(points), clock.seconds, tuple(failed))


def _unwritable(folder: Path, error: OSError) -> FrivkitError:
    return FrivkitError(
        f"{folder} cannot be written to: {error.strerror or error}; what was finished is kept, and "
        "the same command goes on"
    )


class Journal:
    """``run.json``: what all networks have in common, and each run with its origin and times."""

    def __init__(self, folder: Path, plan: SweepPlan) -> None:
        """Open the journal of a folder.

        Raises:
            UsageError: the folder has results of other settings.
            DataError: it has results and no journal, or the journal is none.
        """
        self._path, self._plan = folder / JOURNAL, plan
        self._works: list[dict[str, Any]] = []
        self._runs: list[Any] = []
        self._settings: dict[str, Any] = dict(plan.settings)
        self.finished = False
        if self._path.exists():
            self._settings = self._agreed(self._path.read_bytes())
        elif (folder / RESULTS).exists():
            raise DataError(f"{folder} has results but no {JOURNAL}; give another folder")

    def _agreed(self, content: bytes) -> dict[str, Any]:
        """Read what is there, and give the settings of both."""
        try:
            before = json.loads(content)
            self._runs, there = list(before["runs"]), dict(before["settings"])
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{self._path} is no journal of a sweep; give another folder") from None
        for name, value in self._plan.settings.items():
            if there.get(name, value) != value:
                request, found = _difference(name, value, there[name])
                raise UsageError(
                    f"{self._path.parent} has results with {found}, and now {request} is "
                    "asked for; "
                    "give another folder"
                )
        return there | dict(self._plan.settings)

    def origin(self, clock: Clock) -> dict[str, object]:
        """Return the provenance of results, without a seed: each network has its own."""
        origin = provenance(clock, 0, installed().versions())
        return {key: value for key, value in origin.items() if key != "seed"}

    def add(self, settings: Row, networks: int, seconds: float) -> None:
        """Note a piece of work that is done."""
        self._works.append({**settings, "networks": networks, "seconds": round(seconds, 3)})

    def write(self, clock: Clock | None) -> None:
        """Write the file, with this run if it has begun."""
        runs = self._runs
        if clock is not None:
            run = {
                "title": self._plan.title,
                "figures": list(self._plan.figures),
                "finished": self.finished,
                **self._plan.described,
                "provenance": self.origin(clock),
                "works": self._works,
            }
            runs = [*runs, run]
        content = {"schema": SCHEMA, "settings": self._settings, "runs": runs}
        replace_file(self._path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def _difference(name: str, request: Any, found: Any) -> tuple[str, str]:
    """Return in what two settings differ; of tables, their first entry that does."""
    if isinstance(request, dict) and isinstance(found, dict):
        for key in request:
            if request[key] != found.get(key):
                return f"{key} = {request[key]!r}", f"{key} = {found.get(key)!r}"
    return f"{name} = {request!r}", f"{name} = {found!r}"
