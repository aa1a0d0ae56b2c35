"""What other budgets would cost, as predicted on the way to a compressed model: a chart."""

from collections.abc import Mapping
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from frivkit.report import svg
from frivkit.report.figures import Chart, ReportFigure
from frivkit.report.format import number, percent
from frivkit.report.scale import SHARE

NAMES = {"macs": "multiply-accumulates", "params": "parameters", "units": "units"}
"""The names of resources, by their keys in the document."""
DECADES = 5
"""Powers of ten that the axis of errors has at most."""
CAPTION = (
    "Predicted, not measured: the error of the network, summed over all steps, against the share "
    "of the {resource} that is left, at points of the path that the plan was found on. The ring "
    "is this model."
)
ELSEWHERE = (
    "Label agreement was measured for this budget only. --frontier measures it for several budgets "
    "from one calibration."
)


def path_figure(shown: Mapping[str, Any]) -> ReportFigure | None:
    """Return the chart of the errors that were predicted for other budgets, None if none were.

    Args:
        shown: ``frivkit.compression/1``, its texts readable.
    """
    path = shown.get("budget_path")
    points = [] if not path else list(zip(path["left"], path["predicted_error"], strict=True))
    if not path or max((error for _, error in points), default=0.0) <= 0:
        return None
    most = ceil(log10(max(error for _, error in points)))
    least = min(error for _, error in points if error > 0)
    low = min(most - 1, max(floor(log10(least)), most - DECADES))

    def height(error: float) -> float:
        return 0.0 if error <= 0 else min(max((log10(error) - low) / (most - low), 0.0), 1.0)

    resource = NAMES[path["resource"]]
    caption = CAPTION.format(resource=resource)
    plot = svg.new_drawing("frontier", caption)
    for power in range(low, most + 1):
        y = 1 - (power - low) / (most - low)
        svg.line(plot, "grid", (0, y), (1, y))
        svg.text(plot, f"{10.0**power:g}", (0, y), (-7, 4), anchor="end")
    for tick in SHARE.ticks():
        svg.line(plot, "grid", (tick, 0), (tick, 1))
        svg.text(plot, SHARE.tick(tick), (tick, 1), (0, 17))
    svg.text(plot, "predicted error", (0, 0), (-40, -12), anchor="start", css="axis")
    svg.text(plot, f"{resource} left", (0.5, 1), (0, 40), css="axis")
    placed = [(min(left, 1.0), 1 - height(error)) for left, error in points]
    for begin, end in pairwise(placed):
        svg.line(plot, "path", begin, end)
    for at, (left, error) in zip(placed, points, strict=True):
        svg.dot(plot, "point", at, 2.5, f"{percent(left)} left: predicted error {number(error)}")
    here, error = shown["budget"]["left"][path["resource"]], path["plan_error"]
    if here is not None:
        title = f"this model, {percent(here)} left: predicted error {number(error)}"
        svg.dot(plot, "worse", (min(here, 1.0), 1 - height(error)), 6, title)
    cells = tuple((percent(left), number(error)) for left, error in points)
    head = (f"{resource} left", "predicted error")
    return ReportFigure(caption, (Chart(svg.to_text(plot)),), head, cells, "savings")
