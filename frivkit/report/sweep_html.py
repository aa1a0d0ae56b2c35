"""A sweep as one page that needs nothing else: each panel against the width, and the gains."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.report import svg, tables
from frivkit.report.comparison_chart import SERIES
from frivkit.report.figures import NAME, Chart, ReportFigure
from frivkit.report.format import ends, number, percent, readable, short, span
from frivkit.report.layer_table import SortableTable, TableCell
from frivkit.report.page import render
from frivkit.report.scale import Scale


def sweep_page(document: Mapping[str, Any]) -> str:
    """Return a sweep as a page of HTML; every name is escaped.

    Args:
        document: ``frivkit.sweep/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for curve in shown["curves"]:
        panels.setdefault((curve["figure"], curve["panel"]), []).append(curve)
    sections = [
        (
            f"figure {figure}: {panel}" if figure else panel,
            [(i % SERIES, short(curve["series"], NAME)) for i, curve in enumerate(curves)],
            _figure(panel, curves),
            _table(curves, number),
        )
        for number, ((figure, panel), curves) in enumerate(panels.items(), start=1)
    ]
    return render(
        "sweep.html.j2",
        document,
        title=shown["title"],
        lead=_answer(shown),
        sections=sections,
        nav=[(f"panel-{i}", section[0]) for i, section in enumerate(sections, start=1)],
        warnings=shown["warnings"],
        provenance=tables.origin_facts(shown["provenance"]),
    )


def _answer(shown: Mapping[str, Any]) -> list[str]:
    """Return how far units grow with the width, in a sentence for each panel of units."""
    sentences = []
    for panel in dict.fromkeys(curve["panel"] for curve in shown["curves"]):
        gains = [
            curve["gain"]["value"]
            for curve in shown["curves"]
            if curve["panel"] == panel and curve["gain"] and curve["gain"]["value"] is not None
        ]
        if gains:
            middle = statistics.median(gains)
            sentences.append(
                f"When the width doubles, {panel} units grow by {middle:.2f} in the median of "
                f"{len(gains)} {'curve' if len(gains) == 1 else 'curves'} "
                f"({min(gains):.2f} to {max(gains):.2f})."
            )
    count = len(shown["curves"])
    return sentences or [f"{count} {'curve' if count == 1 else 'curves'} against the width."]


def _show(curve: Mapping[str, Any]) -> Any:
    values = [value for trials in curve["values"] for value in trials]
    return percent if values and all(0 <= value <= 1 for value in values) else number


def _figure(panel: str, curves: Sequence[Mapping[str, Any]]) -> ReportFigure:
    """Return the chart of the means against the width, with the range of the trials."""
    shares = all(_show(curve) is percent for curve in curves)
    values = [value for curve in curves for trials in curve["values"] for value in trials]
    scale = Scale.over(values, shares=shares)
    widths = curves[0]["widths"]
    label = f"{panel} of {len(curves)} series against {len(widths)} widths."
    charts = () if scale is None else (Chart(_plot(curves, widths, scale, panel, label)),)
    cells = tuple(
        (
            short(curve["series"], NAME),
            f"{width:g}",
            str(len(trials)),
            _show(curve)(statistics.fmean(trials)),
            span((min(trials), max(trials)), _show(curve)),
        )
        for curve in curves
        for width, trials in zip(curve["widths"], curve["values"], strict=True)
        if trials
    )
    caption = (
        f"{panel[:1].upper()}{panel[1:]} against the width, evenly spaced. Dots are means over "
        "trials, and thin lines reach from the least to the largest."
    )
    columns = ("series", "width", "trials", "mean", "least and most")
    return ReportFigure(caption, charts, columns, cells, "panel-points")


def _plot(
    curves: Sequence[Mapping[str, Any]],
    widths: Sequence[float],
    scale: Scale,
    panel: str,
    label: str,
) -> str:
    plot = svg.new_drawing("curve", label)
    for tick in scale.ticks():
        y = 1 - scale.share(tick)
        svg.line(plot, "grid", (0, y), (1, y))
        svg.text(plot, scale.tick(tick), (0, y), (-7, 4), anchor="end")
    place = {width: (i + 0.5) / len(widths) for i, width in enumerate(widths)}
    for width, x in place.items():
        svg.text(plot, f"{width:.4g}", (x, 1), (0, 17))
    lines, dots = [], []
    for i, curve in enumerate(curves):
        points = []
        for width, trials in zip(curve["widths"], curve["values"], strict=True):
            if trials and width in place:
                at = place[width] + (i - (len(curves) - 1) / 2) * 0.006
                points.append((at, 1 - scale.share(statistics.fmean(trials))))
                dots.append((i, at, trials, curve))
        lines.append((f"series s{i % SERIES}", points))
    svg.curve(plot, lines)
    for i, at, trials, curve in dots:
        low, high = (1 - scale.share(end) for end in (min(trials), max(trials)))
        svg.line(plot, f"series thin s{i % SERIES}", (at, low), (at, high))
        mean = statistics.fmean(trials)
        title = f"{curve['series']}: {scale.show(mean)}, {len(trials)} trials"
        svg.dot(plot, f"series s{i % SERIES}", (at, 1 - scale.share(mean)), 4, title)
    svg.text(plot, panel, (0, 0), (-40, -14), anchor="start", css="axis")
    svg.text(plot, "width", (0.5, 1), (0, 40), css="axis")
    return svg.to_text(plot)


def _table(curves: Sequence[Mapping[str, Any]], place: int) -> SortableTable:
    """Return the table of the means and the gain of each series."""
    widths = curves[0]["widths"]
    gains = any(curve["gain"] for curve in curves)
    rows = []
    for curve in curves:
        show = _show(curve)
        cells = [TableCell(short(curve["series"], NAME))]
        for trials in curve["values"]:
            mean = statistics.fmean(trials) if trials else None
            cells.append(TableCell.of(mean, None if mean is None else show(mean)))
        if gains:
            cells.append(_gain(curve["gain"]))
        rows.append(tuple(cells))
    columns = ("series", *(f"width {width:.4g}" for width in widths), *(["gain"] if gains else []))
    numbers = frozenset(range(1, len(columns)))
    return SortableTable("series", columns, rows, numbers, f"series-{place}", title=0)


def _gain(gain: Mapping[str, Any] | None) -> TableCell:
    if gain is None or gain["value"] is None:
        return TableCell.of(None)
    interval = ends(gain["interval"])
    within = "" if interval is None else span(interval, lambda end: f"{end:.2f}")
    return TableCell.of(gain["value"], f"{gain['value']:.2f}", within)
