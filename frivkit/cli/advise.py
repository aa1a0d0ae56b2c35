"""``frivkit advise``: whether a network is too wide, from networks of one family."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frivkit.cli.completion import complete_data, options_of
from frivkit.cli.options import CommonOptions, join_option, model_options
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.cli.terminal import show
from frivkit.errors import UsageError
from frivkit.files import write_file

if TYPE_CHECKING:
    from frivkit.advice import Advice
    from frivkit.measure.metric import Measurement


@click.command("advise")
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    help="Data spec, NAME[:PATH][?key=value&...].",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    default="reference",
    show_default=True,
    help="Follow the paper's text, or its published code.",
)
@click.option(
    "--examples", type=click.IntRange(1, 2**63 - 1), help="Largest number of examples to use."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--option",
    "options",
    multiple=True,
    shell_complete=options_of(("metrics", ("prunability", "redundancy"))),
    help="key=value for the metrics.",
)
@join_option
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw units against width: .svg, .png or .pdf.",
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@model_options
def command(
    *,
    common: CommonOptions,
    models: tuple[Path, ...],
    data: str | None,
    protocol: str,
    examples: int | None,
    seed: int,
    options: tuple[str, ...],
    joined: tuple[str, ...],
    figure: Path | None,
    json_to: str | None,
    report: Path | None,
) -> None:
    """Say which width holds the units that networks of one family use.

    The models have the same layers with more or fewer units, whoever trained them; several may
    have one width.  Their prunable and redundant units are measured, and the gain g is fitted: the
    factor by which such units grow when the width is doubled.
    """
    from frivkit.advice import Query, advise
    from frivkit.hooks.options import split_pairs
    from frivkit.provenance import Clock
    from frivkit.report.width_advice import advice_document, advice_text

    clock = Clock.start()
    for model in models:
        check_places(json_to, report, figure, model=model)
    if figure is not None:
        _check_format(figure)
    progress = common.progress()
    requests = [
        common.request(
            model,
            progress,
            data=data,
            examples=examples,
            joined=joined,
            protocol=protocol,
            seed=seed,
        )
        for model in models
    ]

    def on_measurement(measurement: "Measurement") -> None:
        subject = measurement.layer or measurement.scope
        common.info_if_verbose(f"{measurement.metric} of {subject}: {measurement.value}")

    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            advice = advise(
                Query(requests, dict(split_pairs(options)), common.cache()), on_measurement
            )
    finally:
        progress.finish()
    document = advice_document(advice, clock)
    for warning in document["warnings"]:
        common.info(f"warning: {warning}")
    try:
        if json_to and json_to != "-":
            write_json(document, json_to)
        if report is not None:
            from frivkit.report.width_advice_html import advice_page

            write_text(report, advice_page(document))
        if figure is not None:
            _draw(advice, figure)
    finally:  # the result is shown even if a file cannot be written
        if json_to == "-":
            write_json(document, json_to)
        else:
            show(advice_text(document))


def _check_format(figure: Path) -> None:
    from frivkit.experiments.figure import FORMATS

    if figure.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"{figure} does not say its format; give a name in .png, .svg or .pdf")


def _draw(advice: "Advice", figure: Path) -> None:
    from frivkit.advice.drawing import drawing

    write_file(figure, drawing(advice)(figure.suffix.lower().removeprefix(".")))
