"""A sweep that throws dice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.plugin import Job, JobResult, Progress, Row, SweepPlan, SweepRequest


@dataclass(frozen=True, slots=True)
class Throws:
    """A number of throws of one die."""

    count: int
    seed: int

    @property
    def name(self) -> str:
        """A name that lasts: results are found again by it."""
        return f"{self.count:06x}{self.seed:06x}"

    @property
    def table_cell(self) -> tuple[str, str]:
        """The row and the column of the table of progress."""
        return "a die", f"{self.count} throws"

    @property
    def networks(self) -> int:
        """How many networks it trains: a die counts as one."""
        return 1

    @property
    def settings(self) -> Mapping[str, Any]:
        """What is stored with each of its rows."""
        return {"count": self.count, "seed": self.seed}

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Throw the die."""
        eyes = np.random.default_rng(self.seed).integers(1, 7, self.count)
        row = {"measurement": "sixes", "value": float((eyes == 6).mean())}
        return JobResult([row], {"eyes": eyes})


def plan(table: dict[str, Any], request: SweepRequest) -> SweepPlan:
    """Make a plan of a recipe such as ``planner = "dice"``, ``throws = 60``, ``dice = 3``."""
    jobs = [Throws(table["throws"], seed) for seed in range(table["dice"])]

    def remaining_jobs(rows: Iterable[Row]) -> tuple[list[Job], int]:
        done = {row["work"] for row in rows}
        remaining: list[Job] = [job for job in jobs if job.name not in done]
        return remaining, len(jobs) - len(remaining)

    def points(rows: Iterable[Row]) -> list[Row]:
        values = {row["work"]: row["value"] for row in rows}
        point = {"figure": "dice", "panel": "test accuracy", "series": "die", "width": 1}
        return [
            point | {"trial": job.seed, "value": values[job.name]}
            for job in jobs
            if job.name in values
        ]

    return SweepPlan("dice", ("dice",), {}, {"dice": table["dice"]}, remaining_jobs, points)
