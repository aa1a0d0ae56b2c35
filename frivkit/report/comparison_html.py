"""A comparison of analyses as one page that needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.report import tables
from frivkit.report.chart import Bar
from frivkit.report.comparison import answers, resolution_note, show_difference, shows_shares
from frivkit.report.comparison_chart import SERIES, OverlaidCurve, dot_plot, overlay_plot
from frivkit.report.figures import MOST_BARS, MOST_PANELS, NAME, Chart, ReportFigure
from frivkit.report.format import ends, number, percent, readable, short, span
from frivkit.report.layer_table import SortableTable, TableCell
from frivkit.report.page import render
from frivkit.report.scale import SHARE, Scale


def comparison_page(document: Mapping[str, Any]) -> str:
    """Return a comparison as a page of HTML; every name of a model is escaped.

    Args:
        document: ``frivkit.comparison/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    labels = [short(analysis["label"], NAME) for analysis in shown["analyses"]]
    metrics = [
        (
            metric["metric"],
            ". ".join(filter(None, [f"{metric['protocol']} protocol", resolution_note(metric)])),
            _figures(metric, labels),
            _table(metric, labels, i),
        )
        for i, metric in enumerate(shown["metrics"], start=1)
    ]
    return render(
        "comparison.html.j2",
        document,
        labels=labels,
        keys=[(i % SERIES, label) for i, label in enumerate(labels)],
        lead=answers(shown),
        over=any(row["over_networks"] for each in shown["metrics"] for row in each["rows"]),
        warnings=shown["warnings"],
        networks=_networks(shown),
        metrics=metrics,
        widths=_widths(shown, labels),
        nav=[
            *((f"metric-{i}", metric[0]) for i, metric in enumerate(metrics, start=1)),
            ("networks", "Networks"),
            ("widths", "Widths"),
            ("provenance", "Provenance"),
        ],
        provenance=_provenance(shown),
    )


def _networks(shown: Mapping[str, Any]) -> tables.Table:
    """Return the table of what was analysed."""
    rows = [
        (
            short(each["label"], NAME),
            short(each["path"], NAME),
            tables.grouped(each["units"]),
            tables.grouped(each["parameters"]),
            tables.grouped(each["macs"]),
            "–" if each["accuracy"] is None else percent(each["accuracy"]),
            tables.grouped(each["examples"]),
            short(each["data"], NAME),
        )
        for each in shown["analyses"]
    ]
    columns = ("analysis", "model", "units", "parameters", "MACs", "accuracy", "examples", "data")
    return tables.Table(columns, rows, "networks")


def _figures(metric: Mapping[str, Any], labels: Sequence[str]) -> list[ReportFigure]:
    """Return the figures of a metric: the network's curves, values by layer, the layers' curves."""
    rows = metric["rows"]
    network = [row for row in rows if row["scope"] == "network" and any(row["curves"])]
    layers = [row for row in rows if row["scope"] == "layer"]
    curved = [row for row in layers if sum(map(bool, row["curves"])) > 1]
    figures = [_overlaid(network, labels)] if network else []
    figures += _dots(metric, layers, labels)
    figures += [_overlaid(_widest(curved, MOST_PANELS), labels)] if curved else []
    return figures


def _widest(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return the rows whose values differ most, in their order."""

    def gap(row: Mapping[str, Any]) -> float:
        return max((abs(each["value"] or 0.0) for each in row["differences"]), default=0.0)

    ranked = sorted(range(len(rows)), key=lambda i: -gap(rows[i]))
    return [rows[i] for i in sorted(ranked[:most])]


def _overlaid(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> ReportFigure:
    """Return the figure of the curves of one row or several."""
    small = rows[0]["scope"] == "layer"
    charts, cells = [], []
    for row in rows:
        known = [(i, curve) for i, curve in enumerate(row["curves"]) if curve]
        first = known[0][1]
        name = short(row["layer"] or "the whole network", NAME)
        drawn = [
            OverlaidCurve(i, labels[i], list(zip(c["levels"], c["unchanged"], strict=True)))
            for i, c in known
        ]
        label = f"Curves of {name} in {len(drawn)} analyses: labels unchanged."
        plot = overlay_plot(drawn, first["across"], first["tolerance"], label, small=small)
        charts.append(Chart(plot, name if small else ""))
        for curve in drawn:
            cells += [(name, curve.name, percent(x), percent(y)) for x, y in curve.points]
    across = next(curve["across"] for curve in rows[0]["curves"] if curve)
    which = "each layer" if small else "the whole network"
    caption = (
        f"Curves of {which} over each other, the best repeat of each analysis. Horizontal: "
        f"{across}; vertical: labels unchanged; dashes: what is required."
    )
    columns = ("layer", "analysis", across, "labels unchanged")
    return ReportFigure(caption, tuple(charts), columns, tuple(cells), "panel-points")


def _dots(
    metric: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> list[ReportFigure]:
    """Return the figure of the values of the layers, none if no value is known."""
    shares = shows_shares(metric)
    rows = _widest(layers, MOST_BARS)
    bars = [[_bar(row, i, labels) for i in range(len(labels))] for row in rows]
    reached = [v for line in bars for b in line if b.value is not None for v in _ends(b)]
    scale = SHARE if shares else Scale.over(reached, shares=False)
    if scale is None or not reached:
        return []
    names = [short(row["layer"], NAME) for row in rows]
    show = percent if shares else number
    cells = tuple(
        (name, *("–" if b.value is None else show(b.value) for b in line))
        for name, line in zip(names, bars, strict=True)
    )
    which = "Each layer" if len(rows) == len(layers) else f"The {len(rows)} layers that differ most"
    caption = f"{which}: {metric['metric']} in each analysis, with lines for 95 % intervals."
    chart = Chart(dot_plot(list(zip(names, bars, strict=True)), scale, caption))
    return [ReportFigure(caption, (chart,), ("layer", *labels), cells, "panel-points")]


def _bar(row: Mapping[str, Any], at: int, labels: Sequence[str]) -> Bar:
    return Bar(labels[at], row["values"][at], ends(row["intervals"][at]))


def _ends(bar: Bar) -> tuple[float, ...]:
    return (bar.value or 0.0, *(bar.interval or ()))


def _table(metric: Mapping[str, Any], labels: Sequence[str], place: int) -> SortableTable:
    """Return the table of the differences, which can be sorted."""
    shares = shows_shares(metric)
    show = percent if shares else number
    over = any(row["over_networks"] for row in metric["rows"])
    rows = []
    for row in metric["rows"]:
        cells = [TableCell(short(row["layer"] or f"the {row['scope']}", NAME))]
        for value, interval in zip(row["values"], row["intervals"], strict=True):
            text = None if value is None else show(value)
            cells.append(TableCell.of(value, text, _interval(interval, show)))
        for each in row["differences"]:
            text = None if each["value"] is None else show_difference(each["value"], shares=shares)
            within = _interval(each["interval"], lambda end: show_difference(end, shares=shares))
            words = ", ".join(filter(None, (each["verdict"], within)))
            cells.append(TableCell.of(each["value"], text, words))
        if over:
            mean = row["over_networks"]
            cells.append(
                TableCell.of(mean["mean"], show(mean["mean"]), _interval(mean["interval"], show))
                if mean
                else TableCell.of(None)
            )
        rows.append(tuple(cells))
    columns = ["layer", *labels, *(f"{label} − {labels[0]}" for label in labels[1:])]
    columns += ["mean of the networks"] if over else []
    numbers = frozenset(range(1, len(columns)))
    row = f"difference-{place}"
    return SortableTable("differences", tuple(columns), rows, numbers, row, title=0)


def _interval(interval: Any, show: Any) -> str:
    found = ends(interval)
    return "" if found is None else span(found, show)


def _widths(shown: Mapping[str, Any], labels: Sequence[str]) -> tables.Table:
    """Return the table of the widths of the layers."""
    rows = [
        (
            short(next(name for name in layer["names"] if name is not None), NAME),
            *("–" if units is None else tables.grouped(units) for units in layer["units"]),
        )
        for layer in shown["layers"]
    ]
    return tables.Table(("layer", *labels), rows, "panel-points")


def _provenance(shown: Mapping[str, Any]) -> tables.FactList:
    """Return the origin of the comparison, and the digest of each model and its data."""
    first = shown["analyses"][0]
    facts = tables.provenance_facts(
        {
            "provenance": shown["provenance"],
            "model": first,
            "data": {"sha256": first["data_sha256"]},
        }
    )
    others = [
        fact
        for each in shown["analyses"][1:]
        for fact in (
            ("model", each["path"]),
            ("model's sha256", each["sha256"]),
            ("data's sha256", each["data_sha256"]),
        )
    ]
    return [*facts, *others]
