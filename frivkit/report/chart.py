"""The charts of a report: ablation curves, bars and columns, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from frivkit.report import svg
from frivkit.report.curves import Curves
from frivkit.report.format import percent, short, span
from frivkit.report.scale import SHARE, Scale, round_step

ROW = 38
"""Height of one bar with its name above, in pixels."""
NAME = 44
"""The most characters of a name above a bar; what still is too wide is clipped."""
NUMBERED = 8
"""The most columns that carry their number below the axis, apart from the first."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval; None where it is undefined."""

    name: str
    value: float | None
    interval: tuple[float, float] | None = None

    def said(self, scale: Scale) -> str:
        """Return the value as text."""
        return "undefined" if self.value is None else scale.show(self.value)

    def title(self, scale: Scale) -> str:
        """Return the value and its interval as text."""
        sure = f", 95 % interval {span(self.interval, scale.show)}" if self.interval else ""
        return self.said(scale) + sure


def curve_plot(curves: Curves, crossing: Bar, label: str, *, small: bool = False) -> str:
    """Draw ablation curves: every repeat faint, the chosen one strong, and where it crosses.

    Args:
        curves: What to draw.
        crossing: Where the chosen curve crosses, in [0, 1], with the band around it.
        label: What the drawing says, for those who do not see it.
        small: One panel of many: no words, few ticks.

    Returns:
        SVG; so do the others.
    """
    plot = svg.drawing("curve small" if small else "curve", label)
    ticks = [0.0, 0.5, 1.0] if small else SHARE.ticks()
    named = [0.0, 1.0] if small else ticks
    _grid(plot, SHARE, ticks, named)
    for x in named:
        anchor = "middle" if not small else "end" if x else "start"
        svg.text(plot, SHARE.tick(x), (x, 1), (0, 17), anchor=anchor)
    if crossing.interval and curves.crossed:
        low, high = crossing.interval
        svg.box(plot, "band", (low, 0), (high - low, 1))
    svg.line(plot, "limit", (0, curves.tolerance), (1, curves.tolerance))
    order = [r for r in range(len(curves.repeats)) if r != curves.chosen] + [curves.chosen]
    svg.curve(
        plot,
        [
            (
                "chosen" if repeat == curves.chosen else "repeat",
                [(x, 1 - y) for x, y in curves.points(repeat)],
            )
            for repeat in order
        ],
    )
    if not small:
        svg.text(plot, "labels unchanged", (0, 0), (-40, -14), anchor="start", css="axis")
        svg.text(plot, curves.across, (0.5, 1), (0, 40), css="axis")
        _limit_label(plot, curves, crossing)
        for x, y in curves.points(curves.chosen):
            title = f"{percent(x)} of {curves.across}: {percent(y)} of labels unchanged"
            svg.dot(plot, "point", (x, 1 - y), 3.5, title)
    if crossing.value is not None and curves.crossed:
        x, y = crossing.value, curves.tolerance
        svg.line(plot, "crossing", (x, y), (x, 1))
        svg.dot(plot, "crossing", (x, y), 4 if small else 6, crossing.title(SHARE))
        if not small:
            shift, anchor = ((12, -9), "start") if x <= 0.8 else ((-12, 24), "end")
            svg.text(plot, percent(x), (x, y), shift, anchor=anchor, css="crossing")
    return svg.written(plot)


def bar_plot(bars: Sequence[Bar], scale: Scale, label: str, mark: float | None = None) -> str:
    """Draw a bar for each value, one below the other, its name and its value above it.

    Args:
        bars: What to draw, from the top.
        scale: The axis.
        label: What the drawing says, for those who do not see it.
        mark: A value to compare with, drawn as a line from top to bottom.
    """
    plot = svg.drawing("bars", label)
    plot.set("height", str(ROW * len(bars)))
    for tick in scale.ticks():
        x = scale.share(tick)
        svg.line(plot, "grid", (x, 0), (x, 1))
        anchor = "start" if x < 0.01 else "end" if x > 0.99 else "middle"
        svg.text(plot, scale.tick(tick), (x, 1), (0, 17), anchor=anchor)
    zero = scale.share(0.0)
    for i, bar in enumerate(bars):
        row = svg.add(plot, "svg", y=str(ROW * i), width="100%", height=str(ROW))
        clip = svg.add(row, "svg", title=bar.name, width="62%", height="20")
        svg.text(clip, short(bar.name, NAME), (0, 0), (0, 15), anchor="start", css="name")
        svg.text(row, bar.said(scale), (1, 0), (0, 15), anchor="end", css="value")
        if bar.value is None:
            continue
        end = scale.share(bar.value)
        left, width = svg.at(min(zero, end)), svg.at(abs(end - zero))
        svg.add(row, "rect", "bar", bar.title(scale), x=left, y="21", width=width, height="10")
        if bar.interval:
            low, high = (svg.at(scale.share(value)) for value in bar.interval)
            svg.add(row, "line", "whisker", x1=low, y1="26", x2=high, y2="26")
            for x2 in (low, high):
                svg.add(row, "line", "whisker", x1=x2, y1="22", x2=x2, y2="30")
    if mark is not None:
        _mark(plot, (scale.share(mark), 0), (scale.share(mark), 1))
    return svg.written(plot)


def column_plot(bars: Sequence[Bar], scale: Scale, label: str, mark: float | None = None) -> str:
    """Draw a column for each of many values, side by side and numbered from 1.

    Args:
        bars: What to draw, from the left.
        scale: The axis.
        label: What the drawing says, for those who do not see it.
        mark: A value to compare with, drawn as a line from left to right.
    """
    plot = svg.drawing("columns", label)
    _grid(plot, scale, scale.ticks(), scale.ticks())
    every = max(1, round(round_step(len(bars) / NUMBERED)))
    zero = 1 - scale.share(0.0)
    for i, bar in enumerate(bars):
        middle = (i + 0.5) / len(bars)
        if i == 0 or (i + 1) % every == 0:
            svg.text(plot, str(i + 1), (middle, 1), (0, 17))
        if bar.value is None:
            svg.text(plot, "?", (middle, zero), (0, -4), css="value")
            continue
        end = 1 - scale.share(bar.value)
        corner = ((i + 0.14) / len(bars), min(zero, end))
        title = f"{i + 1}  {short(bar.name, NAME)}: {bar.title(scale)}"
        svg.box(plot, "bar", corner, (0.72 / len(bars), abs(end - zero)), title)
        if bar.interval:
            low, high = (1 - scale.share(value) for value in bar.interval)
            svg.line(plot, "whisker", (middle, low), (middle, high))
    if mark is not None:
        _mark(plot, (0, 1 - scale.share(mark)), (1, 1 - scale.share(mark)))
    return svg.written(plot)


def _grid(plot: Element, scale: Scale, ticks: Sequence[float], named: Sequence[float]) -> None:
    for tick in ticks:
        y = 1 - scale.share(tick)
        svg.line(plot, "grid", (0, y), (1, y))
        if tick in named:
            svg.text(plot, scale.tick(tick), (0, y), (-7, 4), anchor="end")


def _limit_label(plot: Element, curves: Curves, crossing: Bar) -> None:
    """Say what the limit is, where no curve passes: below it on the left, or above on the right."""
    words, y = f"{curves.kept} unchanged", curves.tolerance
    if crossing.value is not None and curves.crossed and crossing.value < 0.55:
        svg.text(plot, words, (1, y), (0, -7), anchor="end", css="limit")
    else:
        svg.text(plot, words, (0, y), (6, 16 if y < 0.9 else -7), anchor="start", css="limit")


def _mark(plot: Element, begin: svg.Point, end: svg.Point) -> None:
    svg.line(plot, "halo", begin, end)  # the colour of the paper, so that it shows on bars
    svg.line(plot, "limit", begin, end)
