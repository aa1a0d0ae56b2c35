"""The section of a report on one metric: a verdict and figures that fit its measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frivkit.report.chart import Bar, bar_plot, column_plot, curve_plot
from frivkit.report.curves import SWITCHED_OFF, Curves, verdict
from frivkit.report.format import ends, number, percent, short, span, told
from frivkit.report.scale import SHARE, Scale

MOST_BARS = 40
"""Layers that have a named bar each; more have numbered columns."""
MOST_PANELS = 24
"""Layers whose curves are drawn."""
NAME, IN_TEXT = 160, 60
"""Characters of a layer's name in tables, and in the middle of a sentence."""
SHARES_OF_UNITS = {"redundancy": "redundant"}
"""Metrics whose values are shares of units without curves, with the word for such units."""
SHOWN = ("units", "chosen_repeat", "crossed", "across")
"""Keys of a detail that are shown elsewhere."""

SectionRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        svg: The chart.
        title: The text above it, if it is one of several.
        value: The value that it shows, if it is one of several.
    """

    svg: str
    title: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """One or several charts with a caption, and a table of the same numbers.

    Attributes:
        caption: A description of the charts.
        charts: The charts.
        columns: The head of the table.
        cells: The rows of the table.
        css: The class of the table.
    """

    caption: str
    charts: tuple[Chart, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    css: str


@dataclass(frozen=True, slots=True)
class Section:
    """The part of a report on one metric.

    Attributes:
        metric: Its name.
        rows: Its measurements.
        curves: The ablation curves of each measurement, None if it has none.
    """

    metric: str
    rows: tuple[SectionRow, ...]
    curves: tuple[Curves | None, ...]

    @classmethod
    def of(cls, metric: str, measurements: Sequence[SectionRow]) -> "Section":
        """Return the section of a metric's measurements."""
        rows = tuple(_with_short_layer(row) for row in measurements if row["metric"] == metric)
        return cls(metric, rows, tuple(_curves(row) for row in rows))

    @property
    def ablates(self) -> bool:
        """Whether every measurement has ablation curves, so that values are shares of units."""
        return all(self.curves)

    @property
    def network(self) -> SectionRow | None:
        """The measurement of the whole network, None if there is none."""
        return next((row for row in self.rows if row["layer"] is None), None)

    @property
    def layers(self) -> list[tuple[SectionRow, Curves | None]]:
        """The measurements of single layers, with their curves."""
        pairs = zip(self.rows, self.curves, strict=True)
        return [(row, curves) for row, curves in pairs if row["layer"] is not None]

    @property
    def shares(self) -> bool:
        """Whether values are shares of units."""
        return self.ablates or self.metric in SHARES_OF_UNITS

    def show(self, value: float | None) -> str:
        """Return a value as text."""
        return percent(value) if self.shares and value is not None else number(value)

    def interval(self, row: SectionRow) -> str:
        """Return the interval of a measurement as text, empty if it has none."""
        interval = told(row["interval"])
        return span(interval, self.show) if interval else ""

    @property
    def verdict(self) -> list[str]:
        """The result, in a sentence on the network and one on the layers."""
        sentences = []
        for row, curves in zip(self.rows, self.curves, strict=True):
            if row["layer"] is None and curves:
                sentences.append(verdict(row, curves))
            elif row["layer"] is None:
                interval = f" (95 % interval {within})" if (within := self.interval(row)) else ""
                value, word = self.show(row["value"]), SHARES_OF_UNITS.get(self.metric)
                sentences.append(
                    f"The {row['scope']} has {self.metric} {value}{interval}."
                    if word is None
                    else f"{value} of the units of a layer are {word} in the mean{interval}."
                )
        known = [row for row, _ in self.layers if row["value"] is not None]
        if known:
            least, most = (pick(known, key=lambda row: row["value"]) for pick in (min, max))
            across = {curves.across for _, curves in self.layers if curves}
            quantity = "the prunable share" if across == {SWITCHED_OFF} else self.metric
            sentences.append(
                f"For single layers {quantity} lies between {self.show(least['value'])} "
                f"({_name(least)}) and {self.show(most['value'])} ({_name(most)})."
                if len(known) > 1
                else f"For {_name(least)} {quantity} is {self.show(least['value'])}."
            )
        return sentences

    @property
    def settings(self) -> dict[str, Any]:
        """The plain values that the details of all measurements have in common, by key."""
        first, *others = (_plain(row) for row in self.rows)
        missing = object()
        return {
            key: value
            for key, value in first.items()
            if all(other.get(key, missing) == value for other in others)
        }

    def particulars(self, row: SectionRow) -> dict[str, Any]:
        """Return the plain values in a measurement's detail that are not settings."""
        common = self.settings
        return {key: value for key, value in _plain(row).items() if key not in common}

    @property
    def figures(self) -> list[ReportFigure]:
        """The figures: the network's curves, a bar for each layer, and the layers' curves."""
        figures = []
        main = next((pair for pair in zip(self.rows, self.curves, strict=True) if pair[1]), None)
        if main and main[1] and (main[0]["layer"] is None or len(self.layers) == 1):
            figures.append(_network(main[0], main[1]))
        if len(self.layers) > 1 or (self.layers and not self.ablates):
            figures += _bars(self)
        drawn = [(row, curves) for row, curves in self.layers if curves]
        if len(drawn) > 1 or (drawn and not figures):
            figures.append(_panels(drawn))
        return figures


def _with_short_layer(row: SectionRow) -> SectionRow:
    return row if row["layer"] is None else {**row, "layer": short(row["layer"], NAME)}


def _name(row: SectionRow) -> str:
    return short(row["layer"], IN_TEXT)


def _curves(row: SectionRow) -> Curves | None:
    value = row["value"]
    return Curves.read(row["detail"]) if value is None or 0 <= value <= 1 else None


def _plain(row: SectionRow) -> dict[str, Any]:
    """Return the plain values in a measurement's detail that no other part of the report shows."""
    return {
        key: value
        for key, value in row["detail"].items()
        if key not in SHOWN and (value is None or isinstance(value, str | int | float))
    }


def _bar(row: SectionRow) -> Bar:
    return Bar(row["layer"] or row["scope"], row["value"], ends(row["interval"]))


def _network(row: SectionRow, curves: Curves) -> ReportFigure:
    whose = _name(row) if row["layer"] else "the whole network"
    repeats = len(curves.repeats)
    others = "" if repeats == 1 else f"; the {repeats - 1} thin ones are other random draws"
    caption = (
        f"Curve of {whose}: the share of unchanged labels under a random perturbation that grows. "
        f"Horizontal: {curves.across}. The thick line is the best repeat{others}. "
    )
    if curves.crossed:
        caption += (
            f"The circle is where it falls below {curves.required}. The band is the 95 % "
            "interval: how far the circle may move with other examples. The distance between the "
            "lines is how far it may move with other draws."
        )
    else:
        caption += f"It never falls below {curves.required}."
    chart = Chart(curve_plot(curves, _bar(row), _curve_label(row, curves)))
    return ReportFigure(caption, (chart,), _repeats(curves), _points(curves), "points")


def _curve_label(row: SectionRow, curves: Curves) -> str:
    where = f"at {percent(row['value'])}" if row["value"] is not None else "at an unknown level"
    whose = _name(row) if row["layer"] else "the whole network"
    return (
        f"Curve of {whose}: labels unchanged against {curves.across}. "
        f"It falls below {curves.required} " + (where if curves.crossed else "nowhere") + "."
    )


def _repeats(curves: Curves) -> tuple[str, ...]:
    names = (
        f"repeat {i + 1}" + (" (best)" if i == curves.chosen else "")
        for i in range(len(curves.repeats))
    )
    return (curves.across, *names)


def _points(curves: Curves) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (percent(level), *("" if y[i] is None else percent(y[i] or 0.0) for y in curves.repeats))
        for i, level in enumerate(curves.levels)
    )


def _bars(section: Section) -> list[ReportFigure]:
    bars = [_bar(row) for row, _ in section.layers]
    values = [v for b in bars if b.value is not None for v in (b.value, *(b.interval or ()))]
    network = section.network
    reference = network["value"] if section.ablates and network else None
    scale = SHARE if section.shares else Scale.over(values, shares=False)
    if scale is None:
        return []
    few = len(bars) <= MOST_BARS
    caption = (
        f"Each layer{' alone' if section.ablates else ''}, "
        f"{'from input to output' if few else 'numbered from input to output'}: {section.metric}"
        + (", with lines for 95 % intervals" if any(bar.interval for bar in bars) else "")
        + ("." if reference is None else "; the dashed line is the whole network.")
    )
    label = f"{section.metric} of {len(bars)} layers. {section.verdict[-1] if values else ''}"
    draw = bar_plot if few else column_plot
    cells = tuple(
        (str(i), bar.name, section.show(bar.value), section.interval(row))
        for i, (bar, (row, _)) in enumerate(zip(bars, section.layers, strict=True), start=1)
    )
    columns = ("#", "layer", section.metric, "95 % interval")
    return [
        ReportFigure(
            caption, (Chart(draw(bars, scale, label, reference)),), columns, cells, "values"
        )
    ]


def _panels(drawn: Sequence[tuple[SectionRow, Curves]]) -> ReportFigure:
    chosen = list(drawn)
    which = "each layer"
    if len(drawn) > MOST_PANELS:
        half = MOST_PANELS // 2
        ranked = sorted(range(len(drawn)), key=lambda i: _rank(drawn[i][0]))
        chosen = [drawn[i] for i in sorted({*ranked[:half], *ranked[-half:]})]
        which = f"the {half} layers of the lowest and the {half} of the highest value"
    charts = tuple(
        Chart(
            curve_plot(curves, _bar(row), _curve_label(row, curves), small=True),
            row["layer"],
            "undefined" if row["value"] is None else percent(row["value"]),
        )
        for row, curves in chosen
    )
    most = max(len(curves.repeats) for _, curves in chosen)
    cells = tuple(
        (row["layer"], *point, *[""] * (most - len(curves.repeats)))
        for row, curves in chosen
        for point in _points(curves)
    )
    across = chosen[0][1].across
    caption = (
        f"Curves of {which} alone. Horizontal: {across}; vertical: "
        "labels unchanged; dashes, circle and band as for the network."
    )
    columns = ("layer", across, *(f"repeat {i + 1}" for i in range(most)))
    return ReportFigure(caption, charts, columns, cells, "panel-points")


def _rank(row: SectionRow) -> float:
    return -1.0 if row["value"] is None else float(row["value"])
