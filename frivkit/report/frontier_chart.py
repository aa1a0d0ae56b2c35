"""The charts of a frontier: label agreement against what is left of a cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log10
from typing import Any, Self
from xml.etree.ElementTree import Element, SubElement

from frivkit.report import svg
from frivkit.report.format import file_name, percent, short, span
from frivkit.report.scale import Scale

AGREEMENTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
"""Agreements that may have a tick."""
PANEL, HEIGHT = 400, 300
"""The width and the height of the plot of one panel in a file, in pixels."""
LEFT, TOP, RIGHT, BOTTOM = 64, 56, 30, 58
"""The margins around it."""
CLOSE = (0.08, 0.05)
"""Distances to the right and down, as shares of a plot, within which only one plan is named."""
TITLE = 60
"""The most characters of a file's name above them."""
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #5a636d; }
text.axis, text.name, text.value { fill: #1c2126; }
text.value { font-size: 11px; }
text.limit { fill: #b84e00; }
line.grid { stroke: #d8dce0; }
line.limit { stroke: #b84e00; stroke-width: 1.5; stroke-dasharray: 6 4; }
line.whisker { stroke: #7d8894; stroke-width: 1.25; }
line.path { stroke: #0072b2; stroke-width: 1.5; }
circle.point { fill: #0072b2; }
circle.worse { fill: #ffffff; stroke: #0072b2; stroke-width: 1.5; }
"""
"""The style of a file, in the colours of the page in daylight."""


@dataclass(frozen=True, slots=True)
class PlottedPlan:
    """One plan in a chart.

    Attributes:
        name: Its name.
        cost: The first quartile, the median and the third quartile of what is left of the cost.
        agreement: The label agreement, in [0, 1].
        interval: Both ends of its 95 % interval.
        dominated: Whether another plan agrees as often and costs no more.
    """

    name: str
    cost: tuple[float, float, float]
    agreement: float
    interval: tuple[float, float]
    dominated: bool

    @property
    def title(self) -> str:
        """All of it as text."""
        low, middle, high = self.cost
        quartiles = "" if low == high else f" ({span((low, high), percent)})"
        return (
            f"{self.name}: {percent(middle)} of the cost{quartiles}, {percent(self.agreement)} of "
            f"the labels agree, 95 % interval {span(self.interval, percent)}"
        )


@dataclass(frozen=True, slots=True)
class DisagreementScale:
    """A logarithmic axis of the share of labels that differ; the upper end is full agreement.

    Attributes:
        most: The share of differing labels at the lower end, in (0, 1].
        least: The share of differing labels at the upper end, above 0; smaller ones are drawn
            there.
    """

    most: float
    least: float

    @classmethod
    def over(cls, plotted: Sequence[PlottedPlan], labels: int) -> Self:
        """Return the axis for plans.

        Args:
            plotted: The plans; the lower ends of their intervals are on the axis.
            labels: Labels that were compared; the upper end is half of one of them.
        """
        least = 0.5 / labels
        worst = max(2 * least, *(1 - point.interval[0] for point in plotted))
        wider = [1 - tick for tick in AGREEMENTS if 1 - tick >= worst]
        return cls(min(wider, default=1.0), least)

    def height(self, agreement: float) -> float:
        """Return the height of an agreement on the axis, 0 at its lower end and 1 at its upper one.

        Example:
            >>> axis = DisagreementScale(most=0.1, least=0.001)
            >>> [round(axis.height(agreement), 6) for agreement in (0.9, 0.99, 1.0)]
            [0.0, 0.5, 1.0]
        """
        differing = min(max(1 - agreement, self.least), self.most)
        return log10(self.most / differing) / log10(self.most / self.least)

    def ticks(self) -> list[float]:
        """Return the agreements that have a tick, from the lower end."""
        inside = [tick for tick in AGREEMENTS if self.most * 1.001 >= 1 - tick > 1.3 * self.least]
        return [*inside, 1.0]


def frontier_plot(
    plotted: Sequence[PlottedPlan],
    across: str,
    label: str,
    labels: int,
    required: float | None = None,
) -> str:
    """Return a chart of label agreement against what is left of a cost, as SVG for a page.

    Args:
        plotted: The plans.
        across: The name of the cost.
        label: A description for screen readers.
        labels: Labels that were compared.
        required: An agreement that is asked for, drawn as a line.
    """
    plot = svg.new_drawing("frontier", label)
    _draw(plot, plotted, across, labels, required)
    return svg.to_text(plot)


def frontier_file(panels: Mapping[str, Sequence[PlottedPlan]], title: str, labels: int) -> str:
    """Return a file of SVG that needs nothing else, with a panel for each cost.

    Args:
        panels: The plans by the name of the cost.
        title: The text above the panels.
        labels: Labels that were compared.
    """
    cell = LEFT + PANEL + RIGHT
    width, height = cell * len(panels), TOP + HEIGHT + BOTTOM
    file = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    file.set("width", str(width))
    file.set("height", str(height))
    SubElement(file, "style").text = STYLE
    svg.add(file, "rect", width="100%", height="100%", fill="#ffffff")
    heading = svg.add(file, "text", "name", x=str(LEFT), y="20")
    heading.set("font-weight", "bold")
    heading.text = title
    for number, (across, plotted) in enumerate(panels.items()):
        place = {"x": str(number * cell + LEFT), "y": str(TOP)}
        size = {"width": str(PANEL), "height": str(HEIGHT), "overflow": "visible"}
        panel = SubElement(file, "svg", {**place, **size})
        _draw(panel, plotted, across, labels, None)
    return svg.to_text(file) + "\n"


def _draw(
    plot: Element, plotted: Sequence[PlottedPlan], across: str, labels: int, required: float | None
) -> None:
    """Draw the axes, the plans, and a line through those that no other one dominates."""
    most = max(1.0, *(high for point in plotted for *_, high in [point.cost]))
    costs = Scale(0.0, ceil(4 * most) / 4, 0.25, shares=True)
    agreements = DisagreementScale.over(plotted, labels)

    def place(cost: float, agreement: float) -> svg.Point:
        return costs.share(cost), 1 - agreements.height(agreement)

    for tick in agreements.ticks():
        y = 1 - agreements.height(tick)
        svg.line(plot, "grid", (0, y), (1, y))
        svg.text(plot, percent_tick(tick), (0, y), (-7, 4), anchor="end")
    for tick in costs.ticks():
        x = costs.share(tick)
        svg.line(plot, "grid", (x, 0), (x, 1))
        svg.text(plot, costs.tick(tick), (x, 1), (0, 17))
    svg.text(plot, "labels that agree", (0, 0), (-40, -12), anchor="start", css="axis")
    svg.text(plot, across, (0.5, 1), (0, 40), css="axis")
    if most > 1:
        svg.line(plot, "limit", (costs.share(1.0), 0), (costs.share(1.0), 1))
    if required is not None and 1 - required <= agreements.most:
        y = 1 - agreements.height(required)
        svg.line(plot, "limit", (0, y), (1, y))
    best = sorted(
        (point for point in plotted if not point.dominated), key=lambda point: point.cost[1]
    )
    through = [place(point.cost[1], point.agreement) for point in best]
    for begin, end in pairwise(through):
        svg.line(plot, "path", begin, end)
    for point in plotted:
        low, middle, high = point.cost
        x, y = place(middle, point.agreement)
        svg.line(
            plot, "whisker", place(middle, point.interval[0]), place(middle, point.interval[1])
        )
        svg.line(plot, "whisker", (costs.share(low), y), (costs.share(high), y))
    named: list[svg.Point] = []
    for point in sorted(
        plotted, key=lambda point: point.dominated
    ):  # the best ones are named first
        x, y = at = place(point.cost[1], point.agreement)
        svg.dot(plot, "worse" if point.dominated else "point", at, 4, point.title)
        if all(abs(x - u) > CLOSE[0] or abs(y - v) > CLOSE[1] for u, v in named):
            svg.text(plot, point.name, at, (7, 13), anchor="start", css="value")
            named.append(at)


def percent_tick(agreement: float) -> str:
    r"""Return a tick of agreement in per cent, with the digits that it needs.

    Example:
        >>> percent_tick(0.995), percent_tick(0.9)
        ('99.5\xa0%', '90\xa0%')
    """
    return f"{round(100 * agreement, 4):g}\N{NO-BREAK SPACE}%"


def plotted_plans(shown: Mapping[str, Any], batch: str | None) -> list[PlottedPlan]:
    """Return the plans of a document for one chart.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
        batch: The batch size whose latency is the cost; None takes multiply-accumulates.
    """
    plotted = []
    for plan in shown["plans"]:
        agreement = plan["agreement"]
        if batch is None:
            macs = plan["left"]["macs"]
            cost, dominated = (macs, macs, macs), plan["dominated"]["macs"]
        else:
            low, middle, high = plan["latency"][batch]["ratio"]
            cost, dominated = (low, middle, high), plan["dominated"]["latency"][batch]
        low, high = agreement["interval"]
        name = f"{plan['share']:g}"
        plotted.append(PlottedPlan(name, cost, agreement["labels"], (low, high), dominated))
    return plotted


def frontier_figure(document: Mapping[str, Any]) -> str:
    """Return the picture of a frontier as a file of SVG: against time, then against MACs.

    Args:
        document: ``frivkit.frontier/1``, see ``docs/reference/json.md``.
    """
    timing, held_out = document["timing"], document["held_out"]
    batches = [str(b) for b in timing["batches"] if str(b) not in timing["unmeasured"]]
    panels = {f"latency left at batch {batch}": plotted_plans(document, batch) for batch in batches}
    panels["multiply-accumulates left"] = plotted_plans(document, None)
    title = short(file_name(document["original"]["path"]), TITLE)
    return frontier_file(panels, title, held_out["examples"] * held_out["positions"])
