"""Running a plan: its remaining jobs, their results on disk, and the rows of its figures."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from frivkit.documents.parts import ExecutionPart
from frivkit.engines.engine import Engine, LocalEngine
from frivkit.engines.shard import Shard
from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.arrays import write_arrays
from frivkit.experiments.job_timer import JobTimer
from frivkit.experiments.jobs import Job, JobResult, Row, SweepPlan
from frivkit.experiments.progress_table import ProgressTable
from frivkit.experiments.results import Results, encoded_journal, read_journal
from frivkit.experiments.shards import (
    ARRAYS,
    LOCK,
    RESULTS,
    UNFINISHED,
    finished_shards,
    jobs_of_shard,
    move_shard,
    rows_of_all,
    shard_folder,
)
from frivkit.files import replace_file
from frivkit.hooks.registry import installed
from frivkit.progress import Progress, Silent
from frivkit.provenance import Clock, provenance

SCHEMA = "frivkit.sweep/1"
JOURNAL = "run.json"
SECONDS = "seconds"
"""The file in the folder of an unfinished job with the time that it has taken."""


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
    plan: SweepPlan,
    folder: Path,
    *,
    engine: Engine | None = None,
    threads: int = 1,
    shard: Shard | None = None,
    show: bool = False,
) -> Swept:
    """Run the jobs of a plan that ``folder`` has no results of, and write the rows of its figures.

    The rows of each job are on disk as soon as it is done, its arrays before them.  If a job fails,
    every result that this process received before is written, then the error is raised; no further
    job is started, and jobs in other processes are ended.  A job whose workers were lost counts as
    failed, and the others go on.  The same call resumes an interrupted run; plans may share a
    folder, and networks.

    Args:
        plan: The plan.
        folder: The folder of the results; created if it does not exist.
        engine: Where jobs run; None for this process.
        threads: Threads of each job.
        shard: The part of the jobs to run; its results stay apart, and no figure is made of them.
            None runs all, and takes in what shards have found.
        show: Whether a table of progress is shown on stderr.

    Raises:
        UsageError: the folder has results of other settings, or the plan's data are not named.
        DataError: another run is using the folder, or its files are broken.
        FrivkitError: a job failed, or something cannot be written.
    """
    plan.check()
    try:
        place = folder if shard is None else shard_folder(folder, shard)
        place.mkdir(parents=True, exist_ok=True)
        held = FileLock(place / LOCK).acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"another sweep is writing to {place}; wait for it, or give another folder"
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    with held:
        try:
            if shard is None:
                _take_in_shards(plan, folder)
            others = () if shard is None else rows_of_all(folder)
            where = engine or LocalEngine()
            return _Sweep(plan, place, where, threads, shard, others).run(show=show)
        except OSError as error:
            raise _unwritable(folder, error) from error


def _take_in_shards(plan: SweepPlan, folder: Path) -> None:
    """Move what shards have found to the folder of the sweep."""
    with finished_shards(folder) as places:
        if not places:
            return
        journal, results = Journal(folder, plan), Results(folder / RESULTS)
        for place in places:
            if (place / JOURNAL).exists():
                journal.take_in(Journal(place, plan))
            journal.write(None)
            move_shard(place, folder, results)


@dataclass(frozen=True, slots=True)
class _Sweep:
    """A run of a plan in a folder that is locked.

    Attributes:
        plan: The plan.
        folder: The folder of the results: that of the sweep, or that of the shard.
        engine: Where jobs run.
        threads: Threads of each job.
        shard: The part of the jobs to run, None for all.
        others: Of a shard: the rows of finished jobs in all folders of the sweep.
    """

    plan: SweepPlan
    folder: Path
    engine: Engine
    threads: int
    shard: Shard | None
    others: Sequence[Row]

    def run(self, *, show: bool) -> Swept:
        """Run the remaining jobs, and write the rows of figures unless this is a shard."""
        plan, clock = self.plan, Clock.start()
        journal = Journal(self.folder, plan, self._ran)
        results = Results(self.folder / RESULTS)
        if self.shard is None:
            jobs, trained_before = plan.remaining_jobs(results.measured)
        else:
            jobs, trained_before = jobs_of_shard(plan, self.shard, self.others)
        journal.write(None)
        table = ProgressTable(plan.title, jobs, hidden=not (show and jobs))
        try:
            earlier = self._failed_before(results)
            trained, failed = self._train(jobs, journal, results, table, clock)
            failed += earlier
            points = () if self.shard else plan.points(results.measured)
            if self.shard is None:
                results.put_figures(plan.figures, points)
            journal.finished = True
        finally:
            table.close()
            journal.write(clock)
        return Swept(trained, trained_before, len(points), clock.seconds, tuple(failed))

    def _failed_before(self, results: Results) -> list[str]:
        """Return the reasons of networks that an earlier run recorded as failed."""
        names = {job.name for job in self.plan.remaining_jobs(())[0]}
        return [str(r["reason"]) for r in results.measured if "reason" in r and r["work"] in names]

    def _ran(self) -> ExecutionPart:
        return {"threads": self.threads, "machines": dict(self.engine.machines)}

    def _train(
        self,
        jobs: Sequence[Job],
        journal: "Journal",
        results: Results,
        table: ProgressTable,
        clock: Clock,
    ) -> tuple[int, list[str]]:
        """Run jobs, and return the number of networks trained and the reasons of failures."""
        trained, failed = 0, []
        task = _JobTask(self.folder / UNFINISHED, self.threads, table)
        with closing(self.engine.outcomes(task, jobs)) as outcomes:
            for outcome in outcomes:
                job = outcome.item
                table.done(job)
                if outcome.result is None:
                    failed.append(f"{job.name}: {outcome.lost}")
                    continue
                result, seconds = outcome.result
                if result.arrays:
                    path = self.folder / ARRAYS / f"{job.name}.h5"
                    origin = journal.origin(clock) | {"seconds": round(seconds, 3)}
                    write_arrays(path, result.arrays, settings=job.settings, provenance=origin)
                results.append(job.name, result.rows)
                journal.add(job.settings, job.networks, seconds)
                journal.write(clock)
                failed += [str(row["reason"]) for row in result.rows if "reason" in row]
                trained += job.networks
        return trained, failed


class _JobTask:
    """Runs a job with a folder of its own for checkpoints."""

    def __init__(self, scratch: Path, threads: int, progress: Progress) -> None:
        self._scratch, self._threads, self._progress = scratch, threads, progress

    def __reduce__(self) -> Any:
        """Return what makes it again in a worker, which shows no progress."""
        return _JobTask, (self._scratch.absolute(), self._threads, Silent())

    def __call__(self, job: Job) -> tuple[JobResult, float]:
        """Return the result of a job, and its seconds, those of interrupted runs included."""
        folder = self._scratch / job.name
        timer = JobTimer(folder / SECONDS, self._progress)
        with timer.kept_on_failure():
            result = job.run(folder, self._threads, timer)
        shutil.rmtree(folder, ignore_errors=True)
        return result, timer.seconds


def _unwritable(folder: Path, error: OSError) -> FrivkitError:
    there = isinstance(error.filename, str | Path) and Path(error.filename).exists()
    return FrivkitError(
        f"{error.filename if there else folder} cannot be written to: {error.strerror or error}; "
        "what was finished is kept, and the same command goes on"
    )


class Journal:
    """``run.json``: the settings that all networks share, and each run with its provenance."""

    def __init__(
        self, folder: Path, plan: SweepPlan, ran: Callable[[], ExecutionPart | None] = lambda: None
    ) -> None:
        """Read the journal of a folder, if there is one.

        Args:
            folder: The folder.
            plan: The plan.
            ran: Gives the threads and machines of the jobs so far.

        Raises:
            UsageError: the folder has results of other settings.
            DataError: it has results and no journal, or the journal is not valid.
        """
        self._path, self._plan, self._ran = folder / JOURNAL, plan, ran
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
            if before["schema"] != SCHEMA:
                raise ValueError(f"its schema is {before['schema']!r}")
            self._runs, settings = list(before["runs"]), dict(before["settings"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
        origin = provenance(clock, 0, installed().versions(), self._ran())
        return {key: value for key, value in origin.items() if key != "seed"}

    def take_in(self, other: "Journal") -> None:
        """Take over the runs of another journal of the same settings."""
        self._runs += [run for run in other._runs if run not in self._runs]
        self._settings |= other._settings

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
