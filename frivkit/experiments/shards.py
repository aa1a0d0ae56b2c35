"""Shards of a sweep: parts that processes train without knowing of each other.

Each shard has a folder of its own in that of the sweep, ``shards/2-of-4``, with results, a journal,
arrays and checkpoints as a sweep has them.  The sweep without a shard takes them in.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from frivkit.engines.shard import Shard
from frivkit.errors import DataError
from frivkit.experiments.jobs import Job, Row, SweepPlan
from frivkit.experiments.results import Results

SHARDS, RESULTS, ARRAYS, UNFINISHED, LOCK = (
    "shards",
    "results.jsonl",
    "arrays",
    "unfinished",
    ".lock",
)


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Return the folder of a shard.

    Example:
        >>> shard_folder(Path("cifar"), Shard(2, 4)).as_posix()
        'cifar/shards/2-of-4'
    """
    return folder / SHARDS / f"{shard.number}-of-{shard.count}"


def jobs_of_shard(plan: SweepPlan, shard: Shard, measured: Sequence[Row]) -> tuple[list[Job], int]:
    """Return the jobs of a shard that are still to be done, and the number of networks that are.

    All jobs of the plan are dealt out in turn, whatever is done of them, so that shards never
    share one.

    Args:
        plan: The plan.
        shard: The shard.
        measured: The rows of finished jobs, of this shard and of others.
    """
    everything, _ = plan.remaining_jobs(())
    mine = {job.name for job in shard.of(everything)}
    dealt = {job.name for job in everything}
    left, _ = plan.remaining_jobs(measured)
    jobs = [
        job for job in left if job.name in mine or (job.name not in dealt and _falls(job, shard))
    ]
    networks = sum(job.networks for job in shard.of(everything))
    return jobs, max(0, networks - sum(job.networks for job in jobs))


def _falls(job: Job, shard: Shard) -> bool:
    """Whether a job that only a half finished sweep has falls to a shard."""
    return int(job.name, 16) % shard.count == shard.number - 1


def rows_of_all(folder: Path) -> list[Row]:
    """Return the rows of finished jobs in the folder of a sweep and in all of its shards."""
    places = [folder, *sorted((folder / SHARDS).glob("*-of-*"))]
    rows: dict[str, list[Row]] = {}
    for place in places:
        if (place / RESULTS).exists():
            own: dict[str, list[Row]] = {}
            for row in Results(place / RESULTS, mend=False).measured:
                own.setdefault(row["work"], []).append(row)
            rows |= own
    return [row for some in rows.values() for row in some]


@contextmanager
def finished_shards(folder: Path) -> Iterator[list[Path]]:
    """Yield the folders of shards, which nobody writes to meanwhile; they are removed afterwards.

    Nothing is removed if the block fails.

    Raises:
        DataError: a shard is still running.
    """
    places = sorted((folder / SHARDS).glob("*-of-*"))
    with ExitStack() as held:
        for place in places:
            try:
                held.enter_context(FileLock(place / LOCK).acquire(timeout=0))
            except Timeout:
                name = place.name.replace("-of-", "/")
                raise DataError(
                    f"shard {name} of {folder} is still running; wait for it, or train another "
                    "shard"
                ) from None
        yield places
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        (folder / SHARDS).rmdir()


def move_shard(place: Path, folder: Path, results: Results) -> None:
    """Move what a shard has to the folder of its sweep: results last, so that none lacks arrays."""
    for kind in (ARRAYS, UNFINISHED):
        for each in sorted((place / kind).glob("*")):
            target = folder / kind / each.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                each.rename(target)
    if not (place / RESULTS).exists():
        return
    known = {row["work"] for row in results.measured}
    found: dict[str, list[Row]] = {}
    for row in Results(place / RESULTS).measured:
        found.setdefault(row["work"], []).append(row)
    for job, rows in found.items():
        if job not in known:
            results.append(
                job, [{k: v for k, v in row.items() if k not in ("work", "rows")} for row in rows]
            )
