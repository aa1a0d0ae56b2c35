"""``frivkit inspect``: what of a model is analysed, what is not, and why."""

from pathlib import Path

import click

from frivkit.cli.shared import CommonOptions, check_places, join_option, model_options, write_json


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@join_option
@model_options
def command(
    *, common: CommonOptions, model: Path, json_to: str | None, joined: tuple[str, ...]
) -> None:
    """Show the sites, couplings, weights and costs of MODEL, and what is skipped and why."""
    from frivkit.measure.pipeline import inspect_model
    from frivkit.provenance import Clock
    from frivkit.report.document import inspection_document
    from frivkit.report.terminal import inspection_text

    clock = Clock.start()
    check_places(json_to, model=model)
    request = common.request(model, common.progress(), joined=joined)
    found, site_map = inspect_model(request)
    labels = request.execution.labels
    document = inspection_document(found, site_map, clock, request.output, labels)
    if json_to:
        write_json(document, json_to)
    if json_to != "-":
        click.echo(inspection_text(document, everything=common.verbose))
