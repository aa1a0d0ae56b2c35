"""The charts of a report: ablation curves, bars and columns, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from frivkit.report import svg
from frivkit.report.curves import Curves
from frivkit.report.format import percent, short, span
from frivkit.report.scale import SHARE, Scale, round_step

ROW = 38
"""Height of one bar and the name above it, in pixels."""
NAME = 44
"""The most characters of a name above a bar; a name that is still too wide is clipped."""
NUMBERED = 8
"""The most columns with their number below the axis, apart from the first."""
NAMED, BELOW = 80, 18
"""The most columns that have names below the axis where there is room, and characters of a name."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A named value with its interval.

    Attributes:
        name: The layer, or whatever has the value.
        value: The value, None if it is undefined.
        interval: Both ends of its 95 % interval, None if there is none.
        before: What it was before, drawn faint behind it; None if it is not compared.
        words: The value in words, empty for the value itself.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    before: float | None = None
    words: str = ""

    def label(self, scale: Scale) -> str:
        """Return the value as text."""
        return self.words or ("undefined" if self.value is None else scale.show(self.value))

    def title(self, scale: Scale) -> str:
        """Return the value and its interval as text."""
        interval = f", 95 % interval {span(self.interval, scale.show)}" if self.interval else ""
        return self.label(scale) + interval


def curve_plot(curves: Curves, crossing: Bar, label: str, *, small: bool = False) -> str:
    """Return a chart of ablation curves: repeats thin, the chosen one thick, and its crossing.

    Args:
        curves: The curves.
        crossing: The level at which the chosen curve crosses the tolerance, in [0, 1], with its
            interval.
        label: A description for screen readers.
        small: Draw one of many charts, without words and with few ticks.

    Returns:
        SVG.
    """
    plot = svg.new_drawing("curve small" if small else "curve", label)
    ticks = [0.0, 0.5, 1.0] if small else SHARE.ticks()
    labelled = [0.0, 1.0] if small else ticks
    _grid(plot, SHARE, ticks, labelled)
    for x in labelled:
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
    return svg.to_text(plot)


def area_plot(
    points: Sequence[svg.Point],
    label: str,
    *,
    level: float | None = None,
    mark: Bar,
    counts: bool = False,
) -> str:
    """Return a small chart of a line over [0, 1], filled below.

    Args:
        points: Its points, both coordinates shares, y upwards.
        label: A description for screen readers.
        level: A height to reach, drawn as a dashed line; None draws none.
        mark: A position on the horizontal axis to point out, with its interval.
        counts: Whether heights are counts, which have no scale.

    Returns:
        SVG.
    """
    plot = svg.new_drawing("curve small", label)
    _grid(plot, SHARE, [0.0, 0.5, 1.0], [] if counts else [0.0, 1.0])
    for x, anchor in ((0.0, "start"), (1.0, "end")):
        svg.text(plot, f"{x:g}" if counts else SHARE.tick(x), (x, 1), (0, 17), anchor=anchor)
    if mark.interval:
        low, high = (min(max(end, 0.0), 1.0) for end in mark.interval)
        svg.box(plot, "band", (low, 0), (high - low, 1))
    svg.curve(plot, [("area", [(x, 1 - y) for x, y in points])])
    if level is not None:
        svg.line(plot, "limit", (0, 1 - level), (1, 1 - level))
    if mark.value is not None:
        svg.line(plot, "crossing", (mark.value, 1 - (level or 1)), (mark.value, 1))
    if mark.value is not None and level is not None:
        svg.dot(plot, "crossing", (mark.value, 1 - level), 4, mark.title(SHARE))
    return svg.to_text(plot)


def bar_plot(bars: Sequence[Bar], scale: Scale, label: str, reference: float | None = None) -> str:
    """Return a chart of horizontal bars, each with its name and its value above it.

    Args:
        bars: The values, from the top.
        scale: The axis.
        label: A description for screen readers.
        reference: A value to compare with, drawn as a line from top to bottom.

    Returns:
        SVG.
    """
    plot = svg.new_drawing("bars", label)
    plot.set("height", str(ROW * len(bars)))
    for tick in scale.ticks():
        x = scale.share(tick)
        svg.line(plot, "grid", (x, 0), (x, 1))
        anchor = "start" if x < 0.01 else "end" if x > 0.99 else "middle"
        svg.text(plot, scale.tick(tick), (x, 1), (0, 17), anchor=anchor)
    zero = scale.share(0.0)
    for i, bar in enumerate(bars):
        row = svg.add(plot, "svg", y=str(ROW * i), width="100%", height=str(ROW))
        clip = svg.add(row, "svg", title=bar.name, width="78%", height="20")
        svg.text(clip, short(bar.name, NAME), (0, 0), (0, 15), anchor="start", css="name")
        svg.text(row, bar.label(scale), (1, 0), (0, 15), anchor="end", css="value")
        if bar.before is not None:
            before = svg.at(scale.share(bar.before))
            svg.add(row, "rect", "before", x="0", y="21", width=before, height="10")
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
    if reference is not None:
        x = scale.share(reference)
        _reference_line(plot, (x, 0), (x, 1))
    return svg.to_text(plot)


def column_plot(
    bars: Sequence[Bar], scale: Scale, label: str, reference: float | None = None
) -> str:
    """Return a chart of a column for each of many values, numbered from 1.

    Args:
        bars: The values, from the left.
        scale: The axis.
        label: A description for screen readers.
        reference: A value to compare with, drawn as a line from left to right.

    Returns:
        SVG.
    """
    named = len(bars) <= NAMED
    plot = svg.new_drawing("columns named" if named else "columns", label)
    _grid(plot, scale, scale.ticks(), scale.ticks())
    every = max(1, round(round_step(len(bars) / NUMBERED)))
    zero = 1 - scale.share(0.0)
    for i, bar in enumerate(bars):
        middle = (i + 0.5) / len(bars)
        if i == 0 or (i + 1) % every == 0:
            svg.text(plot, str(i + 1), (middle, 1), (0, 17), css="tick number")
        if named:
            _upright(plot, short(bar.name, BELOW), middle)
        if bar.value is None:
            svg.text(plot, "?", (middle, zero), (0, -4), css="value")
            continue
        if bar.before is not None:
            top = 1 - scale.share(bar.before)
            shape = (0.72 / len(bars), 1 - top)
            svg.box(plot, "before", ((i + 0.14) / len(bars), top), shape)
        end = 1 - scale.share(bar.value)
        corner = ((i + 0.14) / len(bars), min(zero, end))
        title = f"{i + 1}  {short(bar.name, NAME)}: {bar.title(scale)}"
        svg.box(plot, "bar", corner, (0.72 / len(bars), abs(end - zero)), title)
        if bar.interval:
            low, high = (1 - scale.share(value) for value in bar.interval)
            svg.line(plot, "whisker", (middle, low), (middle, high))
    if reference is not None:
        y = 1 - scale.share(reference)
        _reference_line(plot, (0, y), (1, y))
    return svg.to_text(plot)


def _upright(plot: Element, words: str, x: float) -> None:
    """Write upwards to a position on the horizontal axis."""
    place = svg.add(plot, "svg", x=svg.at(x), y="100%", overflow="visible")
    svg.text(place, words, (0, 0), (-7, 4), anchor="end", css="below")
    place[-1].set("transform", "rotate(-90)")


def _grid(plot: Element, scale: Scale, ticks: Sequence[float], labelled: Sequence[float]) -> None:
    for tick in ticks:
        y = 1 - scale.share(tick)
        svg.line(plot, "grid", (0, y), (1, y))
        if tick in labelled:
            svg.text(plot, scale.tick(tick), (0, y), (-7, 4), anchor="end")


def _limit_label(plot: Element, curves: Curves, crossing: Bar) -> None:
    """Write the limit where no curve passes: below it on the left, or above it on the right."""
    words, y = f"{curves.required} unchanged", curves.tolerance
    if crossing.value is not None and curves.crossed and crossing.value < 0.55:
        svg.text(plot, words, (1, y), (0, -7), anchor="end", css="limit")
    else:
        svg.text(plot, words, (0, y), (6, 16 if y < 0.9 else -7), anchor="start", css="limit")


def _reference_line(plot: Element, begin: svg.Point, end: svg.Point) -> None:
    svg.line(plot, "halo", begin, end)  # the colour of the paper, so that it shows on bars
    svg.line(plot, "limit", begin, end)
