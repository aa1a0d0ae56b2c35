"""Results as matplotlib drawings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frivkit.errors import FrivkitError, UsageError
from frivkit.report.format import file_name, readable, short
from frivkit.report.frontier import measured_batches
from frivkit.report.frontier_chart import DisagreementScale, plotted_plans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_NAME = 24
"""Characters of a layer's name below the axis."""


def layers(
    document: Mapping[str, Any],
    metric: str | None,
    *,
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Draw a metric's values by layer, with intervals, on axes that may hold other models already.

    Layers are placed by their number from the input, so that networks of one family lie over each
    other whatever their layers are called.

    Raises:
        UsageError: the metric was not measured on layers.
    """
    shown = readable(document)
    known = dict.fromkeys(row["metric"] for row in shown["measurements"] if row["scope"] == "layer")
    chosen = metric or next(iter(known), None)
    if chosen is None or chosen not in known:
        there = ", ".join(known) or "none"
        raise UsageError(f"no layer was measured by {metric or 'any metric'}; there are: {there}")
    rows = [r for r in shown["measurements"] if r["metric"] == chosen and r["scope"] == "layer"]
    ax = _axes() if ax is None else ax
    values = [float("nan") if row["value"] is None else row["value"] for row in rows]
    ends = [
        (value, value) if row["interval"] is None else tuple(row["interval"])
        for row, value in zip(rows, values, strict=True)
    ]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
    ]
    name = label or file_name(document["model"]["path"])
    ax.errorbar(range(len(rows)), values, yerr=errors, marker="o", capsize=3, label=name)
    _name_layers(ax, [row["layer"] for row in rows])
    ax.set_ylabel(chosen)
    if all(not value < 0 for value in values):
        ax.set_ylim(bottom=0)
    ax.legend()
    return ax


def comparison(
    document: Mapping[str, Any], metric: str | None, *, ax: "Axes | None" = None
) -> "Axes":
    """Draw a metric's values by layer, with intervals, for each analysis of a comparison.

    Raises:
        UsageError: the metric was not compared.
    """
    shown = readable(document)
    known = {each["metric"]: each for each in shown["metrics"]}
    chosen = metric or next(iter(known))
    if chosen not in known:
        raise UsageError(f"{metric} was not compared; there are: {', '.join(known)}")
    rows = [row for row in known[chosen]["rows"] if row["scope"] == "layer"]
    ax = _axes() if ax is None else ax
    for i, analysis in enumerate(shown["analyses"]):
        values = [float("nan") if row["values"][i] is None else row["values"][i] for row in rows]
        ends = [row["intervals"][i] or (v, v) for row, v in zip(rows, values, strict=True)]
        errors = [
            [max(0.0, v - low) for v, (low, _) in zip(values, ends, strict=True)],
            [max(0.0, high - v) for v, (_, high) in zip(values, ends, strict=True)],
        ]
        places = range(len(rows))
        ax.errorbar(places, values, yerr=errors, marker="o", capsize=3, label=analysis["label"])
    _name_layers(ax, [row["layer"] for row in rows])
    ax.set_ylabel(chosen)
    ax.legend()
    return ax


def widths(document: Mapping[str, Any], *, ax: "Axes | None" = None) -> "Axes":
    """Draw the units of each layer before and after a compression."""
    shown = readable(document)["layers"]
    ax = _axes() if ax is None else ax
    places = range(len(shown))
    ax.bar(places, [each["units_before"] for each in shown], color="0.85", label="original")
    ax.bar(places, [each["units_after"] for each in shown], label="compressed")
    _name_layers(ax, [each["layer"] for each in shown])
    ax.set_ylabel("units")
    ax.legend()
    return ax


def frontier(
    document: Mapping[str, Any],
    cost: str,
    *,
    batch: int | None = None,
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Draw plans: label agreement with its intervals against what is left of a cost.

    The axis of agreement is logarithmic in the share of labels that differ; its upper end, half a
    label of those that were compared, stands for full agreement.

    Raises:
        UsageError: there is no such cost, or the latency was not measured at the batch size.
    """
    measured = measured_batches(document)
    chosen = None
    if cost == "latency":
        chosen = str(batch) if batch is not None else next(iter(measured), None)
        if chosen not in measured:
            there = ", ".join(measured) or "none"
            raise UsageError(f"latency was not measured at batch {chosen}; there are: {there}")
    elif cost != "macs":
        raise UsageError(f"cost is {cost!r}; give 'latency' or 'macs'")
    plotted = plotted_plans(readable(document), chosen)
    held_out = document["held_out"]
    least = DisagreementScale.over(plotted, held_out["examples"] * held_out["positions"]).least
    differing = [max(1 - point.agreement, least) for point in plotted]
    ends = [[max(1 - end, least) for end in point.interval] for point in plotted]
    across = [
        [point.cost[1] - point.cost[0] for point in plotted],
        [point.cost[2] - point.cost[1] for point in plotted],
    ]
    upright = [
        [value - high for value, (_, high) in zip(differing, ends, strict=True)],
        [low - value for value, (low, _) in zip(differing, ends, strict=True)],
    ]
    ax = _axes() if ax is None else ax
    name = label or file_name(document["original"]["path"])
    costs = [point.cost[1] for point in plotted]
    ax.errorbar(costs, differing, yerr=upright, xerr=across, marker="o", capsize=3, label=name)
    ax.set_yscale("log")
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.set_ylabel("share of labels that differ")
    what = "multiply-accumulates" if chosen is None else f"latency at batch {chosen}"
    ax.set_xlabel(f"share of the {what} that is left")
    ax.set_xlim(left=0)
    ax.legend()
    return ax


def growth(document: Mapping[str, Any], kind: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the numbers of units of a kind against the width, of the network and of each layer.

    Raises:
        UsageError: there is no such kind.
    """
    rows = [row for row in readable(document)["growth"] if row["kind"] == kind]
    if not rows:
        known = ", ".join(dict.fromkeys(row["kind"] for row in document["growth"]))
        raise UsageError(f"no units of the kind {kind!r} were counted; there are: {known}")
    ax = _axes() if ax is None else ax
    for row in rows:
        counts = row["counts"]
        numbers = [count["number"] for count in counts]
        spans = [(count, count["interval"] or [count["share"]] * 2) for count in counts]
        errors = [
            [max(0.0, c["number"] - c["units"] * low) for c, (low, _) in spans],
            [max(0.0, c["units"] * high - c["number"]) for c, (_, high) in spans],
        ]
        name = row["layer"] or "network"
        at = [count["width"] for count in counts]
        ax.errorbar(at, numbers, yerr=errors, marker="o", capsize=3, label=name)
    totals = rows[0]["counts"]
    ax.plot(
        [count["width"] for count in totals],
        [count["units"] for count in totals],
        color="0.6",
        linestyle="--",
        label="all units",
    )
    ax.set_xscale("log", base=2)
    ax.set_yscale("symlog", base=2)
    ax.set_xlabel("width")
    ax.set_ylabel(f"{kind} units")
    ax.legend()
    return ax


def _name_layers(ax: "Axes", names: list[str]) -> None:
    """Name the layers below the axis, those of the longest network if there are several."""
    if len(names) >= len(ax.get_xticklabels()) or not ax.get_xlabel():
        ax.set_xticks(range(len(names)), [short(n, LONGEST_NAME) for n in names], rotation=60)
        for tick in ax.get_xticklabels():
            tick.set_horizontalalignment("right")
            tick.set_rotation_mode("anchor")
    ax.set_xlabel("layer")


def _axes() -> "Axes":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FrivkitError(
            "a drawing needs matplotlib, which is not installed: install the extra 'figures'"
        ) from error
    from matplotlib import get_backend
    from matplotlib import pyplot as plt

    if "inline" in get_backend().lower() or plt.get_fignums() or plt.isinteractive():
        return plt.subplots(layout="constrained")[1]
    figure: Any = Figure(layout="constrained")
    axes: Axes = figure.add_subplot()
    return axes
