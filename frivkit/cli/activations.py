"""``frivkit activations``: write the activations of layers to an HDF5 file."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from frivkit.cli.completion import complete_data, complete_layers, offers
from frivkit.cli.options import CommonOptions, join_option, model_options
from frivkit.cli.output import check_places


@click.command("activations")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    help="Data spec, NAME[:PATH][?key=value&...].",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    shell_complete=complete_layers,
    help="Only layers that match this pattern.",
)
@join_option
@click.option("--examples", type=click.IntRange(min=1), help="Largest number of examples to use.")
@click.option(
    "--rows", type=click.IntRange(min=1), help="Number of rows to draw from each layer [all]."
)
@click.option(
    "--units", shell_complete=offers("unit_selectors"), help="Unit selector for --rows [map]."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the drawn rows.",
)
@click.option(
    "--compress", type=click.Choice(["lzf"]), help="Compress; needs space for both files."
)
@click.option("--force", is_flag=True, help="Replace a file of other content.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.h5",
    help="File to write.",
)
@model_options
def command(
    *,
    common: CommonOptions,
    model: Path,
    data: str | None,
    layers: tuple[str, ...],
    joined: tuple[str, ...],
    examples: int | None,
    rows: int | None,
    units: str | None,
    seed: int,
    compress: str | None,
    force: bool,
    output: Path,
) -> None:
    """Write the activations of MODEL's layers, its outputs and labels to an HDF5 file.

    The same command resumes an interrupted run.  Plain h5py reads the file.
    """
    from frivkit.activation_files import write_activations
    from frivkit.cache import format_size
    from frivkit.errors import UsageError

    check_places(str(output), model=model)
    if str(output) == "-" or (output.exists() and not output.is_file()):
        raise UsageError(f"-o {output} is no file that can be written piece by piece; give one")
    progress = common.progress()
    request = common.request(
        model,
        progress,
        data=data,
        examples=examples,
        units=units,
        layers=layers,
        joined=joined,
        seed=seed,
    )
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            written = write_activations(
                request,
                output,
                rows=rows,
                compress=compress,
                force=force,
                info=common.info,
            )
    except KeyboardInterrupt:
        progress.finish()
        common.info("finished work is kept: run the same command again to resume")
        raise
    finally:
        progress.finish()
    if written.existed:
        common.info(f"{output} existed already; give --force to write it again")
    click.echo(
        f"{output}: {len(written.layers)} layers of {model.name} over {written.examples:,} "
        f"examples of {written.spec}, {format_size(written.bytes)}"
    )
