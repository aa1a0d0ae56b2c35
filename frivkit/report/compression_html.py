"""A compression as one page that needs nothing else, in the style of an analysis."""

from collections.abc import Mapping
from typing import Any

from frivkit.report import tables
from frivkit.report.analysis_html import environment
from frivkit.report.chart import Bar, bar_plot, column_plot
from frivkit.report.compression import (
    RESOURCES,
    calibration_sentence,
    describe_kinds,
    overshoot_sentence,
)
from frivkit.report.figures import MOST_BARS, NAME, Chart, ReportFigure
from frivkit.report.format import file_name, number, percent, readable, short
from frivkit.report.recovery import recovery_sentence
from frivkit.report.scale import SHARE
from frivkit.report.verification import doubt_lines, savings, sentences

PLANNED = "This is a plan: no model was written, so nothing is known of its labels."


def compression_page(document: Mapping[str, Any]) -> str:
    """Return a compression as a page of HTML.

    Args:
        document: ``frivkit.compression/1``, see ``docs/json.md``.
    """
    shown = readable(document)
    left = shown["budget"]["left"]
    what = shown["budget"]["kind"]
    if what not in RESOURCES:
        what = "params" if left["macs"] is None else "macs"
    planned = document["thin"] is None
    return (
        environment()
        .get_template("compression.html.j2")
        .render(
            file=file_name(document["original" if planned else "thin"]["path"]),
            left=percent(left[what]),
            what=RESOURCES[what],
            lead=PLANNED if planned else " ".join([*doubt_lines(document), sentences(shown)]),
            warnings=shown["warnings"],
            calibration=f"{calibration_sentence(shown)} {overshoot_sentence(shown)}".strip(),
            kinds=describe_kinds(shown["kinds"]) if shown["kinds"]["leaving"] else "",
            recovery=recovery_sentence(shown["recovery"]) if shown.get("recovery") else "",
            figure=_figure(shown["layers"]),
            split=_split(shown["factors"]),
            savings=tables.Table(
                ("", "original", "compressed", "ratio"),
                [] if planned else savings(shown),
                "savings",
            ),
            skipped=_skipped(shown["skipped"]),
            refits=_refits(shown["refits"]),
            provenance=_provenance(shown),
        )
    )


def _figure(layers: list[Mapping[str, Any]]) -> ReportFigure:
    """Return the chart of the share of units that each layer keeps."""
    bars = [
        Bar(short(each["layer"], NAME), each["units_after"] / each["units_before"])
        for each in layers
    ]
    few = len(bars) <= MOST_BARS
    draw = bar_plot if few else column_plot
    whole = sum(each["units_after"] == each["units_before"] for each in layers)
    label = f"Units kept in {len(bars)} layers; {whole} of them keep all."
    order = "from input to output" if few else "numbered from input to output"
    cells = tuple(
        (
            str(i),
            bar.name,
            f"{tables.grouped(each['units_after'])} of {tables.grouped(each['units_before'])}",
            percent(each["units_after"] / each["units_before"]),
            _error(each["predicted_error"]),
        )
        for i, (bar, each) in enumerate(zip(bars, layers, strict=True), start=1)
    )
    columns = ("#", "layer", "units kept", "share", "predicted error")
    caption = f"The share of units that each layer keeps, {order}."
    return ReportFigure(caption, (Chart(draw(bars, SHARE, label)),), columns, cells, "left")


def _skipped(skipped: list[Mapping[str, str]]) -> tables.Table:
    rows = [
        (short(skip.get("layer") or skip["node"], NAME), short(skip["op"], NAME), skip["reason"])
        for skip in skipped
    ]
    return tables.Table(("layer or node", "operator", "why"), rows, "skipped")


def _split(factors: list[Mapping[str, Any]]) -> tables.Table:
    rows = [
        (
            short(each["node"], NAME),
            f"{each['columns']} × {each['outputs']}",
            str(each["rank"]),
            percent(each["weights_left"]),
            _error(each["error"]),
        )
        for each in factors
    ]
    return tables.Table(("node", "weight", "rank", "of its cost", "error"), rows, "refits")


def _refits(refits: list[Mapping[str, Any]]) -> tables.Table:
    rows = [
        (short(fit["node"], NAME), number(fit["ridge"]), _error(fit["error"])) for fit in refits
    ]
    return tables.Table(("node", "ridge", "error"), rows, "refits")


def _error(error: float | None) -> str:
    return "–" if error is None else number(error)


def _provenance(shown: Mapping[str, Any]) -> tables.FactList:
    """Return the origin of the compressed model, and its digest."""
    calibration, compressed = shown["calibration"], shown["thin"]
    facts = tables.provenance_facts(
        {
            "provenance": shown["provenance"],
            "model": shown["original"],
            "data": {"sha256": calibration["sha256"]},
        }
    )
    if compressed is None:
        return facts
    return [
        *facts,
        ("compressed model", compressed["path"]),
        ("its sha256", compressed["sha256"]),
    ]
