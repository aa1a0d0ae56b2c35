"""Running a plan: its remaining jobs, their results on disk, and the rows of its figures."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.arrays import write_arrays
from frivkit.experiments.jobs import Row, SweepPlan
from frivkit.experiments.progress_table import ProgressTable
from frivkit.experiments.results import Results, encoded_journal, read_journal
from frivkit.experiments.workers import WorkerPool
from frivkit.files import replace_file
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance

SCHEMA = "frivkit.sweep/1"
RESULTS, JOURNAL, ARRAYS, UNFINISHED = "results.jsonl", "run.json", "arrays", "unfinished"


@dataclass(frozen=True, slots=True)
class Swept:
    """The outcome of a run.

    Attributes:
        trained: The number of networks that were trained.
        found: The number of networks of the plan that had been trained before.
        points: The number of rows of its figures.
        seconds: Its duration in seconds.
        failed: Reasons of networks that could not be trained or measured, one line each.
    """

    trained: int
    found: int
    points: int
    seconds: float
    failed: tuple[str, ...] = ()


def run(
    plan: SweepPlan, folder: Path, *, engine: WorkerPool | None = None, show: bool = False
) -> Swept:
    """Run the jobs of a plan that ``folder`` has no results of, and write the rows of its figures.

    The rows of each job are on disk as soon as it is done, its arrays before them.  If a job fails,
    every result that this process received before is written, then the error is raised; no further
    job is started, and jobs in other processes are ended.  The same call resumes an interrupted
    run; plans may share a folder, and networks.

    Args:
        plan: The plan.
        folder: The folder of the results; created if it does not exist.
        engine: The workers; None for this process, with one thread.
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
    jobs, trained_before = plan.remaining_jobs(results.measured)
    journal.write(None)
    table = ProgressTable(plan.title, jobs, hidden=not (show and jobs))
    failed = []
    try:
        with closing(engine.run(jobs, folder / UNFINISHED, table)) as finished:
            for job, result, seconds in finished:
                if result.arrays:
                    path = folder / ARRAYS / f"{job.name}.h5"
                    origin = journal.origin(clock) | {"seconds": round(seconds, 3)}
                    write_arrays(path, result.arrays, settings=job.settings, provenance=origin)
                results.append(job.name, result.rows)
                journal.add(job.settings, job.networks, seconds)
                journal.write(clock)
                failed += [str(row["reason"]) for row in result.rows if "reason" in row]
                table.done(job)
        points = plan.points(results.measured)
        results.put_figures(plan.figures, points)
        journal.finished = True
    finally:
        table.close()
        journal.write(clock)
    trained = sum(job.networks for job in jobs)
    return Swept(trained, trained_before, len(points), clock.seconds, tuple(failed))


def _unwritable(folder: Path, error: OSError) -> FrivkitError:
    return FrivkitError(
        f"{folder} cannot be written to: {error.strerror or error}; what was finished is kept, and "
        "the same command goes on"
    )


class Journal:
    """``run.json``: the settings that all networks share, and each run with its provenance."""

    def __init__(self, folder: Path, plan: SweepPlan) -> None:
        """Read the journal of a folder, if there is one.

        Raises:
            UsageError: the folder has results of other settings.
            DataError: it has results and no journal, or the journal is not valid.
        """
        self._path, self._plan = folder / JOURNAL, plan
        self._jobs: list[dict[str, Any]] = []
        self._runs: list[Any] = []
        self._settings: dict[str, Any] = dict(plan.settings)
        self.finished = False
        if self._path.exists():
            self._settings = self._agreed()
        elif (folder / RESULTS).exists():
            raise DataError(f"{folder} has results but no {JOURNAL}; give another folder")

    def _agreed(self) -> dict[str, Any]:
        """Return the settings of the file and of the plan together."""
        try:
            before = read_journal(self._path)
            self._runs, settings = list(before["runs"]), dict(before["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self._path} is no journal of a sweep ({error}); give another folder"
            ) from None
        for name, value in self._plan.settings.items():
            if settings.get(name, value) != value:
                requested, present = _difference(name, value, settings[name])
                raise UsageError(
                    f"{self._path.parent} has results with {present}, and now {requested} is "
                    "asked for; give another folder"
                )
        return settings | dict(self._plan.settings)

    def origin(self, clock: Clock) -> dict[str, object]:
        """Return the provenance of results, without a seed: each network has its own."""
        origin = provenance(clock, 0, installed().versions())
        return {key: value for key, value in origin.items() if key != "seed"}

    def add(self, settings: Row, networks: int, seconds: float) -> None:
        """Record a job that is done."""
        self._jobs.append({**settings, "networks": networks, "seconds": round(seconds, 3)})

    def write(self, clock: Clock | None) -> None:
        """Write the file, with this run if a clock is given."""
        runs = self._runs
        if clock is not None:
            run = {
                "title": self._plan.title,
                "figures": list(self._plan.figures),
                "finished": self.finished,
                **self._plan.described,
                "provenance": self.origin(clock),
                "works": self._jobs,
            }
            runs = [*runs, run]
        content = {"schema": SCHEMA, "settings": self._settings, "runs": runs}
        replace_file(self._path, encoded_journal(content))


def _difference(name: str, requested: Any, present: Any) -> tuple[str, str]:
    """Return two different settings as text; of two tables, their first different entry."""
    if isinstance(requested, dict) and isinstance(present, dict):
        for key in requested:
            if requested[key] != present.get(key):
                return f"{key} = {requested[key]!r}", f"{key} = {present.get(key)!r}"
    return f"{name} = {requested!r}", f"{name} = {present!r}"
