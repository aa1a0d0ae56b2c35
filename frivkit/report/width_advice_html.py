"""An advice as one page that needs nothing else, in the style of an analysis."""

from collections.abc import Mapping
from typing import Any

from frivkit.report import tables
from frivkit.report.analysis_html import Card
from frivkit.report.chart import Bar, bar_plot, column_plot
from frivkit.report.figures import MOST_BARS, NAME, Chart, ReportFigure
from frivkit.report.format import ends, file_name, percent, readable, short, span
from frivkit.report.page import render
from frivkit.report.scale import SHARE, Scale
from frivkit.report.width_advice import (
    KINDS,
    advice_sentences,
    covered,
    layer_cells,
    network_cells,
    network_row,
)


def advice_page(document: Mapping[str, Any]) -> str:
    """Return an advice as a page of HTML; every name of a model is escaped.

    Args:
        document: ``frivkit.advice/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    head, *rows = network_cells(shown)
    figures = [each for kind in KINDS for each in _figures(shown, kind)]
    return render(
        "advice.html.j2",
        document,
        file=file_name(shown["models"][-1]["path"]),
        cards=[_card(shown, kind) for kind in reversed(KINDS)],
        lead=advice_sentences(shown),
        warnings=shown["warnings"],
        networks=tables.Table(tuple(head), [tuple(row) for row in rows], "panel-points"),
        figures=list(enumerate(figures, start=1)),
        covered=covered(shown),
        data=[
            ("source", shown["data"]["spec"]),
            ("examples", tables.grouped(shown["data"]["examples"])),
            ("protocol", shown["protocol"]),
        ],
        provenance=_provenance(shown),
    )


def _card(shown: Mapping[str, Any], kind: str) -> Card:
    """Return the share of the widest network's units that are of a kind."""
    widest = network_row(shown, kind)["counts"][-1]
    interval = ends(widest["interval"])
    within = "" if interval is None else span(interval, percent)
    return Card(percent(widest["share"]), f"of its units are {kind}", within, kind)


def _figures(shown: Mapping[str, Any], kind: str) -> list[ReportFigure]:
    """Return the chart of the shares by width, and that of the gains by layer if there are any."""
    counts = network_row(shown, kind)["counts"]
    bars = [
        Bar(f"width {each['width']:.3g}", each["share"], ends(each["interval"])) for each in counts
    ]
    caption = f"The share of {kind} units of the network, by width, with 95 % intervals."
    cells = tuple(
        (
            f"{each['width']:.3g}",
            tables.grouped(each["units"]),
            f"{each['number']:.1f}",
            percent(each["share"]),
            "–" if bar.interval is None else span(bar.interval, percent),
        )
        for each, bar in zip(counts, bars, strict=True)
    )
    columns = ("width", "units", kind, "share", "95 % interval")
    chart = Chart(bar_plot(bars, SHARE, caption))
    return [ReportFigure(caption, (chart,), columns, cells, "left"), *_gains(shown, kind)]


def _gains(shown: Mapping[str, Any], kind: str) -> list[ReportFigure]:
    """Return the chart of the gains of the network and its layers, if any is defined."""
    rows = [row for row in shown["growth"] if row["kind"] == kind]
    bars = [
        Bar(
            short(row["layer"] or row["scope"], NAME),
            row["gain"]["value"],
            ends(row["gain"]["interval"]),
        )
        for row in rows
    ]
    reached = [2.0, *(end for bar in bars for end in (bar.interval or ()))]
    reached += [bar.value for bar in bars if bar.value is not None]
    scale = Scale.over(reached, shares=False)
    if scale is None or len(reached) == 1:
        return []
    few = len(bars) <= MOST_BARS
    caption = (
        f"The gain g of {kind} units, in the network and in its layers: the factor by which their "
        "number grows when the width is doubled.  Dashes: 2, in proportion to the width."
    )
    chart = Chart((bar_plot if few else column_plot)(bars, scale, caption, reference=2.0))
    head, *cells = layer_cells(shown, kind)
    columns = ("of", *head[1:])
    return [ReportFigure(caption, (chart,), columns, tuple(map(tuple, cells)), "panel-points")]


def _provenance(shown: Mapping[str, Any]) -> tables.FactList:
    """Return the origin of the advice, and the digest of each model."""
    facts = tables.provenance_facts(
        {
            "provenance": shown["provenance"],
            "model": shown["models"][0],
            "data": {"sha256": shown["data"]["sha256"]},
        }
    )
    others = [
        fact
        for model in shown["models"][1:]
        for fact in (("model", model["path"]), ("model's sha256", model["sha256"]))
    ]
    return [*facts, *others]
