"""Figures of what lies behind a value: explained variance, and histograms of correlations."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from frivkit.report.chart import Bar, area_plot
from frivkit.report.figures import MOST_PANELS, Chart, ReportFigure, Section, SectionRow
from frivkit.report.format import ends, percent


def distribution_figures(section: Section) -> list[ReportFigure]:
    """Return the figures of the distributions in the details of a metric's layers.

    A detail with ``explained``, ``rank`` and ``units`` gives a curve of explained variance, one
    with ``histogram`` a histogram; see ``docs/reference/json.md``.
    """
    rows = [row for row, _ in section.layers]
    explained = [row for row in rows if _explained(row["detail"])]
    histograms = [row for row in rows if _histogram(row["detail"])]
    figures = []
    if explained:
        chosen, which = _chosen(explained)
        figures.append(_explained_figure(chosen, which))
    if histograms:
        chosen, which = _chosen(histograms)
        figures.append(_histogram_figure(chosen, which, section.metric))
    return figures


def _chosen(rows: Sequence[SectionRow]) -> tuple[list[SectionRow], str]:
    """Return the rows that are drawn, and which they are in words."""
    if len(rows) <= MOST_PANELS:
        return list(rows), "each layer"
    half = MOST_PANELS // 2
    ranked = sorted(range(len(rows)), key=lambda i: _rank(rows[i]))
    chosen = sorted({*ranked[:half], *ranked[-half:]})
    which = f"the {half} layers of the lowest and the {half} of the highest value"
    return [rows[i] for i in chosen], which


def _rank(row: SectionRow) -> float:
    return -1.0 if row["value"] is None else float(row["value"])


def _explained(detail: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return the share explained by each share of components, empty if there is no such curve."""
    shares, units = detail.get("explained"), detail.get("units")
    if not isinstance(shares, list) or not isinstance(units, int) or len(shares) < 2:
        return []
    known = [each for each in shares if isinstance(each, int | float) and 0 <= each <= 1 + 1e-9]
    if len(known) < len(shares) or units < len(shares) or isinstance(detail.get("rank"), bool):
        return []
    return [(0.0, 0.0), *((i / units, min(y, 1.0)) for i, y in enumerate(known, start=1))]


def _explained_figure(rows: Sequence[SectionRow], which: str) -> ReportFigure:
    charts, cells = [], []
    for row in rows:
        detail, points = row["detail"], _explained(row["detail"])
        tolerance, rank = detail.get("tolerance"), detail.get("rank")
        level = 1 - tolerance if isinstance(tolerance, float) and 0 < tolerance < 1 else None
        share = rank / detail["units"] if isinstance(rank, int) else None
        interval = ends(row["interval"])
        band = None if interval is None else (1 - interval[1], 1 - interval[0])
        needed = "" if share is None else f"{rank} of {detail['units']}"
        label = f"Variance that components of {row['layer']} explain; {needed} are needed."
        mark = Bar(row["layer"], share, band)
        charts.append(Chart(area_plot(points, label, level=level, mark=mark), row["layer"], needed))
        cells.append((row["layer"], needed, *(_needed(points, y) for y in (0.5, 0.9, 0.99))))
    caption = (
        f"Explained variance of {which}. Horizontal: components, largest first, as a share of "
        "the units; vertical: the share of the variance that they explain. The dashed line is what "
        "must be explained, the circle the components that do; the band is their 95 % interval."
    )
    columns = ("layer", "components needed", "for 50 %", "for 90 %", "for 99 %")
    return ReportFigure(caption, tuple(charts), columns, tuple(cells), "panel-points")


def _needed(points: Sequence[tuple[float, float]], level: float) -> str:
    """Return the share of the units whose components explain this share of the variance."""
    found = next((x for x, y in points if y >= level), None)
    return "more" if found is None else percent(found)


def _histogram(detail: Mapping[str, Any]) -> list[int]:
    counts = detail.get("histogram")
    if not isinstance(counts, list) or len(counts) < 2:
        return []
    valid = all(isinstance(each, int) and each >= 0 for each in counts)
    return counts if valid and sum(counts) > 0 else []


def _histogram_figure(rows: Sequence[SectionRow], which: str, metric: str) -> ReportFigure:
    charts, cells = [], []
    for row in rows:
        counts = _histogram(row["detail"])
        most, bins = max(counts), len(counts)
        steps = [(0.0, 0.0)]
        for i, count in enumerate(counts):
            steps += [(i / bins, count / most), ((i + 1) / bins, count / most)]
        steps.append((1.0, 0.0))
        value = "undefined" if row["value"] is None else f"{row['value']:.2f}"
        label = f"Histogram of {metric} in {row['layer']}; the mean is {value}."
        mark = Bar(row["layer"], row["value"] if 0 <= (row["value"] or 0) <= 1 else None)
        charts.append(Chart(area_plot(steps, label, mark=mark, counts=True), row["layer"], value))
        below = list(accumulate(counts))
        shares = (1 - below[round(level * bins) - 1] / below[-1] for level in (0.5, 0.9))
        cells.append((row["layer"], value, *map(percent, shares)))
    caption = (
        f"Histograms of {metric} over the pairs of units of {which}. Horizontal: from 0 to 1; "
        "vertical: pairs, the highest column the same in all. The line is the mean."
    )
    columns = ("layer", "mean", "pairs above 0.5", "pairs above 0.9")
    return ReportFigure(caption, tuple(charts), columns, tuple(cells), "panel-points")
