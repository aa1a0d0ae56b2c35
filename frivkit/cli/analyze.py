"""``frivkit analyze``: measure a model."""

import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frivkit.cli.shared import (
    CommonOptions,
    check_places,
    join_option,
    model_options,
    write_json,
    write_text,
)
from frivkit.errors import FrivkitError, PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from frivkit.measure.metric import Measurement


@click.command("analyze")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, help="A metric; may be given several times.")
@click.option("--data", help="Data spec, NAME[:PATH][?key=value&...].")
@click.option("--units", help="Unit selector; each protocol has its own default.")
@click.option("--layer", "layers", multiple=True, help="Only layers that match this pattern.")
@join_option
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    default="paper",
    show_default=True,
    help="What the paper's text says, or what its published code does.",
)
@click.option("--examples", type=click.IntRange(1, 2**63 - 1), help="Use at most so many examples.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--option", "options", multiple=True, help="key=value for the metrics.")
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@click.option(
    "--table", type=click.Path(path_type=Path, dir_okay=False), help="Write single units as CSV."
)
@model_options
def command(
    *,
    common: CommonOptions,
    model: Path,
    metrics: tuple[str, ...],
    data: str | None,
    units: str | None,
    layers: tuple[str, ...],
    joined: tuple[str, ...],
    protocol: str,
    examples: int | None,
    seed: int,
    options: tuple[str, ...],
    json_to: str | None,
    report: Path | None,
    table: Path | None,
) -> None:
    """Measure how much of MODEL is frivolous.

    Without --metric it measures prunability.  Without --data it takes the data that the model
    names in its metadata, else noise.
    """
    from frivkit.hooks.options import split_pairs
    from frivkit.measure.pipeline import analyze
    from frivkit.provenance import Clock
    from frivkit.report.document import analysis_document
    from frivkit.report.terminal import analysis_text

    clock = Clock.start()
    metrics = metrics or ("prunability",)
    check_places(json_to, report, table, model=model)
    if table is not None:
        _check_per_unit(metrics)
    progress = common.progress()
    request = common.request(
        model,
        progress,
        data=data,
        examples=examples,
        units=units,
        layers=layers,
        joined=joined,
        protocol=protocol,
        seed=seed,
    )

    def tell(found: "Measurement") -> None:
        common.explain(f"{found.metric} of {found.layer or found.scope}: {found.value}")

    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            analysis = analyze(
                request,
                metrics,
                split_pairs(options),
                cache=common.cache(),
                done=tell,
            )
    finally:
        progress.finish()
    document = analysis_document(analysis, clock)
    if analysis.study.reused:
        kinds = ", ".join(f"{count} {what}" for what, count in analysis.study.reused.items())
        common.say(f"reused from the cache: {kinds}")
    for warning in [*document["data"]["warnings"], *document["warnings"]]:
        common.say(f"warning: {warning}")
    try:
        if json_to and json_to != "-":
            write_json(document, json_to)
        if report is not None:
            from frivkit.report.analysis_html import analysis_page

            write_text(report, analysis_page(document))
        if table is not None:
            _write_table(document, table)
    finally:  # what cannot be written is still shown, and what nobody reads is still written
        if json_to == "-":
            write_json(document, json_to)
        else:
            click.echo(analysis_text(document))


def _check_per_unit(metrics: "Sequence[str]") -> None:
    """Refuse a table of single units, before the work, when no metric tells anything of them."""
    from frivkit.hooks.registry import installed

    registry, asked = installed(), dict.fromkeys(metrics)
    if not any(registry.load("metrics", name).per_unit for name in asked):
        raise UsageError(
            f"--table writes values of single units and {', '.join(asked)} "
            f"{'gives' if len(asked) == 1 else 'give'} none; {_remedy()}"
        )


def _remedy() -> str:
    """Return which metrics tell something of single units."""
    from frivkit.hooks.registry import installed

    registry, able = installed(), []
    for name in registry.offers("metrics"):
        with suppress(PluginError):  # one that cannot be loaded is no remedy
            able += [name] if registry.load("metrics", name).per_unit else []
    return f"add --metric with one of {', '.join(able)}" if able else "no metric here does"


def _write_table(document: "Mapping[str, Any]", table: Path) -> None:
    from frivkit.report.unit_table import unit_csv, unit_tables

    found = unit_tables(document)
    if not found:
        raise FrivkitError(f"{table} is not written: no metric gave values of single units")
    write_text(table, unit_csv(found))
