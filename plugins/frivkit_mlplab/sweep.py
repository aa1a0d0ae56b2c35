"""Run a recipe: train what is missing, write it down stack by stack, and draw up the figure."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from filelock import FileLock, Timeout

from frivkit.errors import DataError, UsageError
from frivkit.progress import Progress, Silent
from frivkit.provenance import Clock, provenance
from frivkit.registry import installed
from frivkit_mlplab.data import make_data
from frivkit_mlplab.figures import figure_rows
from frivkit_mlplab.measures import measure
from frivkit_mlplab.recipes import Recipe
from frivkit_mlplab.results import Results, keys, replace_file, rows_of
from frivkit_mlplab.stack import Stack
from frivkit_mlplab.training import train

SCHEMA = "frivkit.sweep/1"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a run did.

    Attributes:
        trained: Networks that were trained.
        found: Networks of the recipe that had been trained before.
        points: Rows of the figure.
        seconds: How long it took.
    """

    trained: int
    found: int
    points: int
    seconds: float


def run(
    recipe: Recipe, folder: Path, *, threads: int = 1, progress: Progress | None = None
) -> Swept:
    """Train the networks of a recipe that ``folder`` does not have yet, and draw up the figure.

    ``results.jsonl`` gets the rows of each stack as soon as it is measured, ``run.json`` what was
    run.  An interrupted run goes on where it stopped; recipes may share a folder, and networks.

    Args:
        recipe: What to run.
        folder: Where the files go; made if it is not there.
        threads: How many torch may use; one is nearly as fast as two.
        progress: Told how many hidden units are done.

    Raises:
        UsageError: the folder has results of another protocol.
        DataError: another run is using the folder, or its files are broken.
    """
    clock = Clock.start()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"another sweep is writing to {folder}; wait for it, or give another folder"
        ) from None
    with lock:
        journal = _Journal(folder / "run.json", recipe)
        results = Results(folder / "results.jsonl")
        todo, found = missing(recipe, results)
        try:
            with _torch(threads):
                _train(recipe, todo, results, journal, progress or Silent())
            points = figure_rows(recipe, results.rows)
            results.put_figure(recipe.figure, points)
            journal.finished = True
        finally:
            journal.write(clock)
    trained = sum(len(stack.nets) for stack in todo)
    return Swept(trained, found, len(points), clock.seconds)


def missing(recipe: Recipe, results: Results) -> tuple[list[Stack], int]:
    """Give the stacks of a recipe without the networks that are there, and how many those are."""
    finished = results.finished
    todo, found = [], 0
    for stack in recipe.stacks():
        nets = [key.net for key in keys(stack) if key not in finished]
        found += len(stack.nets) - len(nets)
        if nets:
            todo.append(stack.of(nets))
    return todo, found


def _train(
    recipe: Recipe, todo: list[Stack], results: Results, journal: "_Journal", progress: Progress
) -> None:
    progress.start("training", sum(stack.units * len(stack.nets) for stack in todo))
    for stack in todo:
        started = perf_counter()
        data = make_data(stack.inputs, stack.examples, stack.seed, recipe.protocol.balance)
        networks = train(stack, recipe.protocol, data)
        results.append(rows_of(stack, measure(networks, stack, recipe.protocol, data)))
        journal.add(stack, perf_counter() - started)
        progress.advance(stack.units * len(stack.nets))
    progress.finish()


class _Journal:
    """``run.json``: the protocol, and each run with its origin and times."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self._path, self._recipe = path, recipe
        self._stacks: list[dict[str, Any]] = []
        self.finished = False
        self._runs: list[Any] = []
        protocol = asdict(recipe.protocol)
        if path.exists():
            try:
                before = json.loads(path.read_bytes())
                self._runs, other = before["runs"], before["protocol"]
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path} is no journal of a sweep; give another folder") from None
            for name, value in protocol.items():
                if other.get(name) != value:
                    raise UsageError(
                        f"{path.parent} has results with {name} = {other.get(name)!r}, and now "
                        f"{value!r} is asked for; give another folder"
                    )
        elif path.with_name("results.jsonl").exists():
            raise DataError(f"{path.parent} has results but no run.json; give another folder")
        self.write(None)

    def add(self, stack: Stack, seconds: float) -> None:
        self._stacks.append(
            {
                "inputs": stack.inputs,
                "examples": stack.examples,
                "optimiser": stack.optimiser,
                "width": stack.width,
                "seed": stack.seed,
                "networks": len(stack.nets),
                "seconds": round(seconds, 3),
            }
        )

    def write(self, clock: Clock | None) -> None:
        """Write the file, with this run if it has begun."""
        runs = self._runs
        if clock is not None:
            plugins = [(plugin.name, plugin.version) for plugin in installed().plugins]
            seeds = self._recipe.scale.seeds
            run = {
                "figure": self._recipe.figure,
                "title": self._recipe.title,
                "finished": self.finished,
                "series": [asdict(series) for series in self._recipe.series],
                "scale": asdict(self._recipe.scale),
                "provenance": provenance(clock, seeds[0], plugins),
                "stacks": self._stacks,
            }
            runs = [*runs, run]
        content = {"schema": SCHEMA, "protocol": asdict(self._recipe.protocol), "runs": runs}
        replace_file(self._path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


@contextmanager
def _torch(threads: int) -> Iterator[None]:
    """Bound torch's threads, and count numbers too small to matter as 0: they are slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
