"""``frivkit visualize``: images that excite units most."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from frivkit.cli.completion import complete_layers
from frivkit.cli.options import CommonOptions, model_options
from frivkit.cli.output import write_json


@click.command("visualize")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--layer",
    "layers",
    multiple=True,
    shell_complete=complete_layers,
    help="Only layers that match this pattern.",
)
@click.option(
    "--units",
    type=click.IntRange(1, 100_000),
    default=8,
    show_default=True,
    help="Units of each layer.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="WIDER",
    help="A wider network with layers of the same names, to compare with.",
)
@click.option("--data", metavar="SPEC", help="Data spec, NAME[:PATH][?key=value&...].")
@click.option(
    "--method",
    type=click.Choice(["fourier", "phase"]),
    default="fourier",
    show_default=True,
    help="What is free: Fourier coefficients, or phases with the magnitudes of the data.",
)
@click.option(
    "--position",
    type=click.Choice(["mean", "centre"]),
    default="mean",
    show_default=True,
    help="What is maximised: the mean over all positions of a unit, or the one in the middle.",
)
@click.option("--steps", type=click.IntRange(1, 1_000_000), default=256, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--examples",
    type=click.IntRange(1, 2**63 - 1),
    default=512,
    show_default=True,
    help="Largest number of examples to take the range of pixels from.",
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the pictures and the page; a run that was interrupted goes on there.",
)
@model_options
def command(
    *,
    common: CommonOptions,
    model: Path,
    layers: tuple[str, ...],
    units: int,
    against: Path | None,
    data: str | None,
    method: str,
    position: str,
    steps: int,
    seed: int,
    examples: int,
    json_to: str | None,
    folder: Path,
) -> None:
    """Find images that excite units of MODEL most.

    Images are found by gradient ascent.  DIR gets a grid of pictures of each layer, the images as
    arrays, a page that shows all of them (index.html) and the results as JSON.
    """
    from frivkit_featurevis.render import Settings
    from frivkit_featurevis.work import VisualizationJob, text_of, visualize

    progress = common.progress()
    settings = Settings(units, steps, method, position, seed)
    requests = [
        common.request(path, progress, data=data, examples=examples, layers=layers, seed=seed)
        for path in (model, against)
        if path is not None
    ]
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            document = visualize(
                VisualizationJob(requests, settings, folder, common.cache()), common.info
            )
    finally:
        progress.finish()
    for warning in document["warnings"]:
        common.info(f"warning: {warning}")
    if json_to:
        write_json(document, json_to)
    if json_to != "-":
        click.echo(text_of(document, folder))
