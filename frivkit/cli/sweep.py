"""``frivkit sweep``: train and measure all networks of an experiment."""

import sys
from pathlib import Path

import click

from frivkit.cli.completion import complete_data, complete_recipes, offers
from frivkit.cli.output import check_places, one_line, write_text
from frivkit.errors import UsageError
from frivkit.terminals import is_dumb, is_terminal


@click.command("sweep")
@click.argument("recipe", shell_complete=complete_recipes)
@click.option(
    "--scale",
    type=click.Choice(["full", "laptop", "smoke"]),
    default="full",
    show_default=True,
    help="Size: all of the paper's networks, fewer, or a trial run without meaning.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    help="Follow the paper's text, or its published code, in place of the recipe's choice.",
)
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    multiple=True,
    help="The data, such as cifar10:DIR; its keys override the recipe's.  Repeat it for each "
    "source of a recipe with several.",
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="SPEC",
    shell_complete=offers("engines"),
    help="Where networks are trained: local, processes:N, or another; see 'frivkit plugins'.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Train the I-th of N parts of the networks; the same command without it merges them.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Threads of each network.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of results; networks with results there are not trained again.",
)
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors to stderr.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    *,
    recipe: str,
    scale: str,
    protocol: str | None,
    data: tuple[str, ...],
    engine: str,
    shard: str | None,
    threads: int,
    folder: Path,
    report: Path | None,
    no_progress: bool,
    quiet: bool,
) -> None:
    """Train and measure all networks of RECIPE, a built-in name or a TOML file.

    'frivkit plugins' lists the recipes.  DIR/results.jsonl gets a line for each network and
    measurement, and for each point of a figure; DIR/run.json records their provenance, and
    DIR/arrays holds larger arrays.  After an interruption, the same command resumes the sweep.
    """
    from frivkit.engines.open import open_engine
    from frivkit.engines.shard import Shard
    from frivkit.experiments.jobs import SweepRequest
    from frivkit.experiments.recipe import read_recipe
    from frivkit.experiments.runner import run
    from frivkit.provenance import Clock

    clock = Clock.start()
    check_places(report)
    data = tuple(_spec(each, quiet=quiet) for each in data)
    part = None if shard is None else Shard.parse(shard)
    if part is not None and report is not None:
        raise UsageError("--report shows the whole sweep: leave it out with --shard")
    where = open_engine(engine)
    plans = read_recipe(recipe, SweepRequest(scale, protocol, data))
    show = not (quiet or no_progress or is_dumb()) and is_terminal(sys.stderr)
    for plan in plans:
        plan.check()  # all of them, before the first takes hours
    for plan in plans:
        try:
            swept = run(plan, folder, engine=where, threads=threads, shard=part, show=show)
        except KeyboardInterrupt:
            if not quiet:
                message = f"finished results are in {folder}; the same command resumes the sweep"
                click.echo(f"frivkit: {message}", err=True)
            raise
        if swept.failed and not quiet:
            click.echo(
                f"frivkit: {len(swept.failed)} networks have no results: "
                f"{one_line(swept.failed[0])}",
                err=True,
            )
        figures = one_line(", ".join(plan.figures))
        found = f"{swept.points} points of figure {figures}" if part is None else f"shard {part}"
        click.echo(
            f"{folder / 'results.jsonl'}: {one_line(plan.title)}, {found}; {swept.trained} "
            f"networks trained, {swept.found} found, {swept.seconds:.1f} s"
        )
    if report is not None:
        from frivkit.experiments.figure import read_curves
        from frivkit.report.sweep import sweep_document
        from frivkit.report.sweep_html import sweep_page

        document = sweep_document(read_curves(folder), recipe, protocol, clock)
        write_text(report, sweep_page(document))


def _spec(text: str, *, quiet: bool) -> str:
    """Return a data spec with the name of its source, if a path was given without one."""
    from frivkit.data.bare_path import read_spec
    from frivkit.hooks.registry import installed

    spec = read_spec(text, installed())
    if spec.bare_path is not None and not quiet:
        click.echo(f"frivkit: {spec.bare_path} is read as {spec.name}:{spec.path}", err=True)
    return text if spec.bare_path is None else str(spec)
