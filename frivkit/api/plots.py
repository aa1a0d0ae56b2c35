"""Results as matplotlib drawings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frivkit.errors import FrivkitError, UsageError
from frivkit.report.format import file_name, readable, short

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
