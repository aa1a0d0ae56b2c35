"""Train single networks of a recipe again and keep them as ONNX files.

``python -m frivkit_sweep_networks.retrain RECIPE NETWORK -o DIR`` trains the narrowest and the
widest network of that name in a recipe, with the settings of a sweep, and writes an ONNX file each.
A sweep deletes its networks: these files are for what needs the networks themselves, such as
feature visualisation.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from frivkit.cli import Program, main
from frivkit.errors import DataError, UsageError
from frivkit.experiments.figure import RESULTS
from frivkit.experiments.jobs import Row, SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results import read_rows
from frivkit.files import check_writable, write_errors, write_file
from frivkit.progress import Silent
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.points import fraction


def find_jobs(
    recipe: str, request: SweepRequest, network: str, widths: Sequence[float], seed: int
) -> list[NetworkJob]:
    """Return the jobs of a network of a recipe at some widths, narrowest first.

    Args:
        recipe: A built-in name or a TOML file, of single networks.
        request: Scale, protocol and data.
        network: The network's name in the recipe.
        widths: Its widths; empty for the narrowest and the widest.
        seed: The seed.

    Raises:
        UsageError: the recipe has no such network, width or seed.
    """
    jobs = []
    for plan in read_recipe(recipe, request):
        plan.check()
        jobs += [job for job in plan.remaining_jobs(())[0] if isinstance(job, NetworkJob)]
    names = dict.fromkeys(job.label for job in jobs)
    named = [job for job in jobs if job.label == network]
    if not named:
        raise UsageError(
            f"the recipe {recipe} trains no network {network!r}; it has "
            f"{', '.join(names) or 'none of single networks'}"
        )
    there = sorted({job.width for job in named})
    chosen = sorted(set(widths)) or sorted({there[0], there[-1]})
    found = [job for job in named if job.width in chosen and job.seed == seed]
    if {job.width for job in found} != set(chosen):
        seeds = sorted({job.seed for job in named})
        raise UsageError(
            f"the network {network} of {recipe} has the widths {', '.join(map(fraction, there))} "
            f"and the seeds {', '.join(map(str, seeds))}, not all of "
            f"{', '.join(map(fraction, chosen))} with seed {seed}"
        )
    return sorted(found, key=lambda job: job.width)


def retrain(job: NetworkJob, folder: Path, threads: int = 1) -> tuple[Path, dict[str, Any]]:
    """Train a network and write it.

    Args:
        job: The network.
        folder: The folder of the file; created if it does not exist.
        threads: Threads to train with; a sweep takes one unless it is told otherwise.

    Returns:
        The ONNX file, which names its test data, and what a sweep records of the training: test
        accuracy and epochs.

    Raises:
        FrivkitError: the training fails, or the file cannot be written.
    """
    path = folder / file_name(job)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    with TemporaryDirectory() as scratch:
        trained = job.fit(Path(scratch), threads, Silent())
        write_file(path, trained.path.read_bytes())
    found = {"test accuracy": trained.accuracy, "epochs": trained.record.epochs}
    return path, found


def file_name(job: NetworkJob) -> str:
    """Return the name of a network's file: its name in the recipe, width, seed and grid options."""
    choice = "".join(f"-{key}={value}" for key, value in job.choice.items())
    name = f"{job.label}-{fraction(job.width)}-{job.seed}{choice}.onnx"
    return re.sub(r"[/\\\0]", "_", name)  # a file in the folder, whatever a recipe calls it


def recorded_rows(folder: Path) -> list[Row]:
    """Return the rows of a sweep, which is only read.

    Raises:
        DataError: the folder has no results, or they are damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise DataError(f"{folder} holds no {RESULTS}; give the folder that a sweep wrote")
    try:
        return [row for _, row in read_rows(path)]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; run the sweep again") from error


def differences(job: NetworkJob, found: Mapping[str, Any], rows: Iterable[Row]) -> list[str] | None:
    """Return how a network differs from the one of its name, width and seed in a sweep.

    Args:
        job: The network.
        found: What :func:`retrain` returned.
        rows: The rows of the sweep.

    Returns:
        A text for each value that is not the same; None if the sweep has no such network.
    """
    same = (job.label, job.width, job.seed, dict(job.choice))
    recorded = {
        row["measurement"]: row.get("value")
        for row in rows
        if "measurement" in row
        and (row.get("network"), row.get("width"), row.get("seed"), row.get("choice", {})) == same
        and not row.get("back")
    }
    if not recorded:
        return None
    return [
        f"{name} is {value}, and was {recorded[name]}"
        for name, value in found.items()
        if name in recorded and recorded[name] != value
    ]


def _widths(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[float]:
    del context, option
    try:
        return [float(Fraction(text)) for text in given]
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter("give numbers such as 1/8 or 0.5") from None


@click.command(cls=Program)
@click.argument("recipe")
@click.argument("network")
@click.option("--width", "widths", multiple=True, callback=_widths, help="Such as 1/8; repeatable.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--scale", default="laptop", show_default=True)
@click.option("--protocol", type=click.Choice(["paper", "reference"]))
@click.option("--data", multiple=True, metavar="SPEC", help="As for frivkit sweep.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of a sweep: say whether it recorded the same accuracy and epochs.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    *,
    recipe: str,
    network: str,
    widths: list[float],
    seed: int,
    scale: str,
    protocol: str | None,
    data: tuple[str, ...],
    threads: int,
    compare: Path | None,
    output: Path,
) -> None:
    """Train NETWORK of RECIPE again, its narrowest and its widest, and keep them as ONNX files."""
    jobs = find_jobs(recipe, SweepRequest(scale, protocol, data), network, widths, seed)
    recorded = [] if compare is None else recorded_rows(compare)  # before hours of training
    for job in jobs:
        path, found = retrain(job, output, threads)
        line = ", ".join(f"{name} {value}" for name, value in found.items())
        click.echo(f"{path}: width {fraction(job.width)}, {line}")
        if compare is not None:
            click.echo(f"  {_compared(differences(job, found, recorded), compare)}")


def _compared(different: list[str] | None, folder: Path) -> str:
    if different is None:
        return f"{folder} has no such network"
    return "; ".join(different) or f"the same as in {folder}"


if __name__ == "__main__":
    main(None, command, "python -m frivkit_sweep_networks.retrain")
