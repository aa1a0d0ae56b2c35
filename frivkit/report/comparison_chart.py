"""The charts of a comparison: curves over each other, and values side by side, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from frivkit.report import svg
from frivkit.report.chart import ROW, Bar
from frivkit.report.format import short
from frivkit.report.scale import SHARE, Scale

SERIES = 8
"""Analyses that differ in colour and dashes; more take turns."""
NAME = 44
"""The most characters of a name above a row."""
HIGH = 11
"""Height of the place of one analysis in a row, in pixels."""


@dataclass(frozen=True, slots=True)
class OverlaidCurve:
    """An ablation curve of one of several analyses.

    Attributes:
        series: The number of the analysis.
        name: Its name.
        points: Levels, and the share of labels unchanged there.
    """

    series: int
    name: str
    points: Sequence[tuple[float, float]]


def overlay_plot(
    curves: Sequence[OverlaidCurve], across: str, tolerance: float, label: str, *, small: bool
) -> str:
    """Return a chart of curves over each other.

    Args:
        curves: The curves.
        across: The quantity that a level is a share of.
        tolerance: The share of labels that may change, drawn as a line.
        label: A description for screen readers.
        small: Draw one of many charts, without words and with few ticks.

    Returns:
        SVG.
    """
    plot = svg.new_drawing("curve small" if small else "curve", label)
    ticks = [0.0, 0.5, 1.0] if small else SHARE.ticks()
    labelled = [0.0, 1.0] if small else ticks
    for tick in ticks:
        svg.line(plot, "grid", (0, 1 - tick), (1, 1 - tick))
        if tick in labelled:
            svg.text(plot, SHARE.tick(tick), (0, 1 - tick), (-7, 4), anchor="end")
            anchor = "middle" if not small else "end" if tick else "start"
            svg.text(plot, SHARE.tick(tick), (tick, 1), (0, 17), anchor=anchor)
    svg.line(plot, "limit", (0, tolerance), (1, tolerance))
    lines = [
        (f"series s{each.series % SERIES}", [(x, 1 - y) for x, y in each.points]) for each in curves
    ]
    svg.curve(plot, lines)
    if not small:
        svg.text(plot, "labels unchanged", (0, 0), (-40, -14), anchor="start", css="axis")
        svg.text(plot, across, (0.5, 1), (0, 40), css="axis")
    return svg.to_text(plot)


def dot_plot(rows: Sequence[tuple[str, Sequence[Bar | None]]], scale: Scale, label: str) -> str:
    """Return a chart of values side by side: a row for each name, a dot for each analysis.

    Args:
        rows: Names, and the value of each analysis, None if it has none.
        scale: The axis.
        label: A description for screen readers.

    Returns:
        SVG.
    """
    plot = svg.new_drawing("bars dots", label)
    count = max((len(bars) for _, bars in rows), default=0)
    high = ROW - 6 + HIGH * count
    plot.set("height", str(high * len(rows)))
    for tick in scale.ticks():
        x = scale.share(tick)
        svg.line(plot, "grid", (x, 0), (x, 1))
        anchor = "start" if x < 0.01 else "end" if x > 0.99 else "middle"
        svg.text(plot, scale.tick(tick), (x, 1), (0, 17), anchor=anchor)
    for i, (name, bars) in enumerate(rows):
        row = svg.add(plot, "svg", y=str(high * i), width="100%", height=str(high))
        svg.line(row, "grid", (0, 0), (1, 0))
        clip = svg.add(row, "svg", title=name, width="100%", height="20")
        svg.text(clip, short(name, NAME), (0, 0), (0, 15), anchor="start", css="name")
        for series, bar in enumerate(bars):
            if bar is None or bar.value is None:
                continue
            css, y = f"series s{series % SERIES}", str(24 + HIGH * series)
            if bar.interval:
                low, far = (svg.at(scale.share(end)) for end in bar.interval)
                svg.add(row, "line", css, x1=low, y1=y, x2=far, y2=y)
            dot = svg.add(row, "circle", css, f"{bar.name}: {bar.title(scale)}", cy=y, r="4")
            dot.set("cx", svg.at(scale.share(bar.value)))
    return svg.to_text(plot)
