"""``frivkit sweep``: repeat an experiment of the paper's multilayer perceptrons."""

import sys
from pathlib import Path

import click

from frivkit.cli.shared import TerminalProgress


@click.command("sweep")
@click.argument("recipe")
@click.option(
    "--scale",
    type=click.Choice(["full", "laptop", "smoke"]),
    default="full",
    show_default=True,
    help="How much of it: all of the paper's, one seed, or a trial run of seconds.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    help="Follow the paper's text, or its published code, in place of what the recipe says.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of results; what is there already is not trained again.",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads."
)
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    *,
    recipe: str,
    scale: str,
    protocol: str | None,
    folder: Path,
    threads: int,
    no_progress: bool,
    quiet: bool,
) -> None:
    """Train and measure all networks of RECIPE, a built-in name or a TOML file.

    Built in are e1-mlp, e7, e8, e9, fig4d and data-sizes.  DIR/results.jsonl gets a line for each
    network and measurement, and for each point of the figure; DIR/run.json says where they come
    from.  After an interruption, the same command goes on where it stopped.
    """
    from frivkit_mlplab.recipes import read_recipe
    from frivkit_mlplab.sweep import run

    asked = read_recipe(recipe, scale, protocol)
    progress = TerminalProgress(hidden=quiet or no_progress or not sys.stderr.isatty())
    try:
        swept = run(asked, folder, threads=threads, progress=progress)
    except KeyboardInterrupt:
        progress.finish()
        if not quiet:
            again = f"the stacks that were finished are in {folder}; the same command goes on"
            click.echo(f"frivkit: {again}", err=True)
        raise
    finally:
        progress.finish()
    click.echo(
        f"{folder / 'results.jsonl'}: {asked.title}, {swept.points} points of figure "
        f"{asked.figure}; {swept.trained} networks trained, {swept.found} found, "
        f"{swept.seconds:.1f} s"
    )
