"""``frivkit analyze``: measure a model."""

from pathlib import Path

import click

from frivkit.cli.shared import Common, model_options, write_json, write_text


@click.command("analyze")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, help="A metric; may be given several times.")
@click.option("--data", help="Data spec, NAME[:PATH][?key=value&...].")
@click.option("--units", help="Unit selector; each protocol has its own default.")
@click.option("--layer", "layers", multiple=True, help="Only layers that match this pattern.")
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    default="paper",
    show_default=True,
    help="What the paper's text says, or what its published code does.",
)
@click.option("--examples", type=click.IntRange(min=1), help="Use at most so many examples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--option", "options", multiple=True, help="key=value for the metrics.")
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@model_options
def command(
    *,
    common: Common,
    model: Path,
    metrics: tuple[str, ...],
    data: str | None,
    units: str | None,
    layers: tuple[str, ...],
    protocol: str,
    examples: int | None,
    seed: int,
    options: tuple[str, ...],
    json_to: str | None,
    report: Path | None,
) -> None:
    """Measure how much of MODEL is frivolous.

    Without --metric it measures prunability.  Without --data it takes the data that the model
    names in its metadata, else noise.
    """
    from frivkit.options import split_pairs
    from frivkit.pipeline import analyze
    from frivkit.provenance import Clock
    from frivkit.report.document import analysis_document
    from frivkit.report.terminal import analysis_text

    clock = Clock.start()
    for target in (report, Path(json_to) if json_to and json_to != "-" else None):
        if target is not None and not target.parent.is_dir():
            raise click.UsageError(f"the folder of {target} does not exist")
    request = common.request(
        model,
        data=data,
        examples=examples,
        units=units,
        layers=layers,
        protocol=protocol,
        seed=seed,
    )
    progress = common.progress()
    try:
        analysis = analyze(
            request,
            metrics or ("prunability",),
            split_pairs(options),
            cache=common.cache(),
            progress=progress,
        )
    finally:
        progress.finish()
    document = analysis_document(analysis, clock)
    if analysis.study.reused:
        kinds = ", ".join(f"{count} {what}" for what, count in analysis.study.reused.items())
        common.say(f"reused from the cache: {kinds}")
    for warning in [*document["data"]["warnings"], *document["warnings"]]:
        common.say(f"warning: {warning}")
    if json_to != "-":
        click.echo(analysis_text(document))
    if json_to:
        write_json(document, json_to)
    if report is not None:
        from frivkit.report.html import analysis_page

        write_text(report, analysis_page(document))
