"""``frivkit analyze``: measure a model."""

import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frivkit.cli.completion import complete_data, complete_layers, offers, options_of
from frivkit.cli.options import CommonOptions, join_option, model_options
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.cli.terminal import show
from frivkit.errors import FrivkitError, PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from frivkit.engines.shard import Shard
    from frivkit.measure.metric import Measurement
    from frivkit.measure.pipeline import Analysis

METRIC = "{metric}"
"""What stands for the metric in the name of a file of node data."""


@click.command("analyze")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    shell_complete=offers("metrics"),
    help="A metric; may be given several times.",
)
@click.option(
    "--data", shell_complete=complete_data, help="Data spec, NAME[:PATH][?key=value&...]."
)
@click.option(
    "--units",
    shell_complete=offers("unit_selectors"),
    help="Unit selector; each protocol has its own default.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    shell_complete=complete_layers,
    help="Only layers that match this pattern.",
)
@join_option
@click.option(
    "--shard",
    metavar="I/N",
    help="Measure the I-th of N parts of the layers into the cache; the same command without it "
    "merges them.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    default="paper",
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
    shell_complete=options_of(("metrics", "metrics")),
    help="key=value for the metrics.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="Run levels of prunability on no more examples than say on which side of the crossing "
    "they lie.",
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the values of single units as CSV.",
)
@click.option(
    "--node-data",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the values of layers for Model Explorer; with several metrics put {metric} into "
    "the name.",
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
    shard: str | None,
    protocol: str,
    examples: int | None,
    seed: int,
    options: tuple[str, ...],
    fast: bool,
    json_to: str | None,
    report: Path | None,
    table: Path | None,
    node_data: Path | None,
) -> None:
    """Measure how much of MODEL is frivolous.

    Without --metric it measures prunability.  Without --data it uses the data that the model
    names in its metadata, else noise.
    """
    from frivkit.digests import with_checksum
    from frivkit.hooks.options import split_pairs
    from frivkit.measure.pipeline import analyze
    from frivkit.provenance import Clock
    from frivkit.report.document import analysis_document
    from frivkit.report.terminal import analysis_text

    clock = Clock.start()
    metrics = metrics or ("prunability",)
    nodes_to = {} if node_data is None else _places_of_metrics(node_data, metrics)
    check_places(json_to, report, table, *nodes_to.values(), model=model)
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
        shard=_shard(shard, common),
        protocol=protocol,
        seed=seed,
    )

    def on_measurement(measurement: "Measurement") -> None:
        subject = measurement.layer or measurement.scope
        common.info_if_verbose(f"{measurement.metric} of {subject}: {measurement.value}")

    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            analysis = analyze(
                request,
                metrics,
                split_pairs(options) | ({"fast": "true"} if fast else {}),
                cache=common.cache(),
                done=on_measurement,
            )
    finally:
        progress.finish()
    document = analysis_document(analysis, clock)
    for note in _notes(analysis, request.shard):
        common.info(note)
    for warning in [*document["data"]["warnings"], *document["warnings"]]:
        common.info(f"warning: {warning}")
    try:
        if json_to and json_to != "-":
            write_json(with_checksum(document), json_to)
        if report is not None:
            from frivkit.report.analysis_html import analysis_page

            write_text(report, analysis_page(document))
        if table is not None:
            _write_table(document, table)
        for metric, place in nodes_to.items():
            _write_node_data(analysis, metric, place)
    finally:  # the result is shown even if a file cannot be written
        if json_to == "-":
            write_json(with_checksum(document), json_to)
        else:
            show(analysis_text(document))


def _notes(analysis: "Analysis", shard: "Shard | None") -> "Iterator[str]":
    """Yield what a user may want to know of a run beside its results."""
    if analysis.study.reused:
        reused = ", ".join(f"{count} {kind}" for kind, count in analysis.study.reused.items())
        yield f"reused from the cache: {reused}"
    if shard is not None:
        layers = len(analysis.study.sites)
        yield (
            f"shard {shard}: {layers} of the layers; the same command without --shard merges the "
            "shards"
        )


def _shard(text: str | None, common: CommonOptions) -> "Shard | None":
    """Return the shard that a text names.

    Raises:
        UsageError: the text means nothing, or nothing would keep what the shard finds.
    """
    from frivkit.engines.shard import Shard

    if text is None:
        return None
    shard = Shard.parse(text)
    if common.no_cache:
        raise UsageError("--shard leaves its results in the cache: leave --no-cache out")
    return shard


def _places_of_metrics(place: Path, metrics: "Sequence[str]") -> dict[str, Path]:
    """Return the file of each metric, whose name stands in that of the file if there are several.

    Raises:
        UsageError: it does not.
    """
    names = list(dict.fromkeys(metrics))
    if len(names) > 1 and METRIC not in place.name:
        raise UsageError(
            f"values of {' and '.join(names)} cannot all be written to {place}; put {METRIC} into "
            "its name"
        )
    return {name: place.with_name(place.name.replace(METRIC, name)) for name in names}


def _write_node_data(analysis: "Analysis", metric: str, place: Path) -> None:
    from frivkit.report.node_data import node_data

    values = {row.layer: row.value for row in analysis.measurements if row.metric == metric}
    known = {layer: value for layer, value in values.items() if layer is not None}
    shares = all(value is None or 0 <= value <= 1 for value in known.values())
    study = analysis.study
    document = node_data(study.model, study.site_map, known, metric, shares=shares)
    write_json(document, str(place))


def _check_per_unit(metrics: "Sequence[str]") -> None:
    """Raise an error, before the work, if no metric gives values of single units for the table.

    Raises:
        UsageError: none does.
    """
    from frivkit.hooks.registry import installed

    registry, names = installed(), dict.fromkeys(metrics)
    if not any(registry.load("metrics", name).per_unit for name in names):
        raise UsageError(
            f"--table writes values of single units and {', '.join(names)} "
            f"{'gives' if len(names) == 1 else 'give'} none; {_remedy()}"
        )


def _remedy() -> str:
    """Return a sentence on the metrics that give values of single units."""
    from frivkit.hooks.registry import installed

    registry, suitable = installed(), []
    for name in registry.offers("metrics"):
        with suppress(PluginError):  # a metric that cannot be loaded is no remedy
            suitable += [name] if registry.load("metrics", name).per_unit else []
    return f"add --metric with one of {', '.join(suitable)}" if suitable else "no metric here does"


def _write_table(document: "Mapping[str, Any]", table: Path) -> None:
    from frivkit.report.unit_table import unit_csv, unit_tables

    tables = unit_tables(document)
    if not tables:
        raise FrivkitError(f"{table} is not written: no metric gave values of single units")
    write_text(table, unit_csv(tables))
