"""The planner of stacked perceptrons: plans, and their jobs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from frivkit.experiments.jobs import Job, JobResult, Row, SweepPlan, SweepRequest
from frivkit.progress import Progress
from frivkit_sweep_mlp.data import make_data
from frivkit_sweep_mlp.figures import figure_rows
from frivkit_sweep_mlp.keys import Key, keys, rows_of
from frivkit_sweep_mlp.measures import curves_of, measure
from frivkit_sweep_mlp.protocol import Protocol
from frivkit_sweep_mlp.recipe import Recipe, read_table
from frivkit_sweep_mlp.stack import Stack
from frivkit_sweep_mlp.training import train


@dataclass(frozen=True, slots=True)
class StackJob:
    """The job of training and measuring one stack.

    Attributes:
        stack: The networks.
        protocol: How they are trained and measured.
    """

    stack: Stack
    protocol: Protocol

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits of a hash of the stack and the protocol."""
        # "StackWork" is part of the names of arrays and rows written so far.
        text = f"StackWork(stack={self.stack!r}, protocol={self.protocol!r})"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def table_cell(self) -> tuple[str, str]:
        """Row and column of the progress table."""
        return f"{self.stack.inputs:,} inputs, {self.stack.optimiser}", f"{self.stack.units} units"

    @property
    def networks(self) -> int:
        """The number of networks in the stack."""
        return len(self.stack.nets)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the result."""
        stack = self.stack
        return {
            "inputs": stack.inputs,
            "examples": stack.examples,
            "optimiser": stack.optimiser,
            "width": stack.width,
            "seed": stack.seed,
        }

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Train and measure; a stack is trained in seconds, so it writes no checkpoint."""
        del folder
        stack, protocol = self.stack, self.protocol
        with _torch(threads):
            data = make_data(stack.inputs, stack.examples, stack.seed, protocol.balance)
            progress.start(f"{stack.units} units, seed {stack.seed}", protocol.epochs)
            networks = train(stack, protocol, data, progress)
            progress.finish()
            measured = measure(networks, stack, protocol, data)
        return JobResult(rows_of(stack, measured), curves_of(stack, measured))


def plan(table: dict[str, Any], request: SweepRequest) -> SweepPlan:
    """Return the plan of a recipe of stacked perceptrons.

    Raises:
        UsageError: the table is not valid.
    """
    recipe = read_table(table, request)
    return plan_of(recipe)


def plan_of(recipe: Recipe) -> SweepPlan:
    """Return the plan of a recipe that has been read."""
    return SweepPlan(
        title=recipe.title,
        figures=(recipe.figure,),
        settings={"stacks": asdict(recipe.protocol)},
        described={
            "series": [asdict(series) for series in recipe.series],
            "scale": asdict(recipe.scale),
        },
        remaining_jobs=lambda rows: remaining_jobs(recipe, rows),
        points=lambda rows: figure_rows(recipe, rows),
    )


def remaining_jobs(recipe: Recipe, rows: Sequence[Row]) -> tuple[list[Job], int]:
    """Return the jobs without the networks that are measured, and the number of those."""
    finished = {Key.of(row) for row in rows}
    jobs: list[Job] = []
    done = 0
    for stack in recipe.stacks():
        nets = [key.net for key in keys(stack) if key not in finished]
        done += len(stack.nets) - len(nets)
        if nets:
            jobs.append(StackJob(stack.of(nets), recipe.protocol))
    return jobs, done


@contextmanager
def _torch(threads: int) -> Iterator[None]:
    """Bound the threads of torch, and flush denormal numbers, which are slow, to 0."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
