"""Analyses side by side: the same layers of several networks, and how far their values differ."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import t as student

from frivkit.documents.comparison import ComparedCurvePart, ComparedRowPart
from frivkit.documents.fields import ScopeName
from frivkit.report.curves import Curves
from frivkit.report.figures import SHARES_OF_UNITS
from frivkit.report.format import ends

Interval = tuple[float, float]
Document = Mapping[str, Any]
DifferenceVerdict = Literal["higher", "lower", "undecided"]


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """How far a value lies above that of the first analysis.

    Attributes:
        value: The difference, None if one of both is undefined.
        interval: Its 95 % interval, None unless both values have one.
        resolution: The smallest difference that both measurements can tell from none, 0 or more.
    """

    value: float | None
    interval: Interval | None
    resolution: float = 0.0

    @property
    def verdict(self) -> DifferenceVerdict | None:
        """``"higher"``, ``"lower"``, or ``"undecided"``; None without an interval.

        Undecided are differences whose interval holds 0, and those no larger than the resolution:
        values that are counted in whole units have intervals of no width if all parts of the
        examples give the same count.
        """
        if self.value is None or self.interval is None:
            return None
        if abs(self.value) <= self.resolution * (1 + 1e-9):
            return "undecided"
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "undecided"


def difference(
    first: float | None,
    second: float | None,
    first_interval: Interval | None,
    second_interval: Interval | None,
    resolution: float = 0.0,
) -> ValueDifference:
    """Return the second value minus the first.

    The interval is that of MOVER: the squared distances of both values to those ends of their
    intervals that matter are added.  Values are taken as independent; if both were measured on the
    same examples, they usually are not, and the interval is too wide rather than too narrow.

    Source:
        Zou and Donner, "Construction of confidence limits about effect measures: a general
        approach", Statistics in Medicine 27, 2008, equation 2.

    Example:
        >>> difference(0.5, 0.8, (0.46, 0.54), (0.77, 0.83)).interval
        (0.25, 0.35)
    """
    if first is None or second is None:
        return ValueDifference(None, None, resolution)
    gap = second - first
    if first_interval is None or second_interval is None:
        return ValueDifference(gap, None, resolution)
    (a, b), (c, d) = first_interval, second_interval
    below = math.hypot(second - c, b - first)
    above = math.hypot(d - second, first - a)
    return ValueDifference(gap, (round(gap - below, 12), round(gap + above, 12)), resolution)


def resolution_of(row: Document | None, rows: Iterable[Document]) -> float:
    """Return the smallest difference that a share of units can show: one unit.

    The value of a network that is the mean over its layers is as exact as they are in the mean.

    Args:
        row: A measurement; None for one that is missing.
        rows: All measurements of that metric in its analysis.

    Returns:
        A share of units; 0 for values that are no shares of units.

    Example:
        >>> layer = {"metric": "redundancy", "layer": "a", "detail": {"units": 64}}
        >>> resolution_of(layer, [layer])
        0.015625
    """
    if row is None or not (row["metric"] in SHARES_OF_UNITS or Curves.read(row["detail"])):
        return 0.0
    if "layers" in row["detail"]:
        steps = [resolution_of(each, ()) for each in rows if each["layer"] is not None]
        return sum(steps) / len(steps) if steps else 0.0
    units = row["detail"].get("units")
    return 1 / units if isinstance(units, int) and units > 0 else 0.0


def mean_interval(values: Sequence[float]) -> tuple[float, Interval] | None:
    """Return the mean of values with its 95 % interval by Student's t, None for fewer than three.

    Example:
        >>> mean_interval([1.0, 2.0, 3.0])[0]
        2.0
    """
    count = len(values)
    if count < 3:
        return None
    mean = sum(values) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return mean, (mean - half, mean + half)


def match_layers(documents: Sequence[Document]) -> list[tuple[str | None, ...]]:
    """Return the layers that are compared: for each its name in every analysis, None if missing.

    Layers are matched by name.  If no two analyses share a name and all have equally many layers,
    they are matched by their order.

    Args:
        documents: Documents of ``frivkit.analysis/1``.
    """
    names = [[site["layer"] for site in document["sites"]] for document in documents]
    shared = set(names[0]).intersection(*names[1:])
    if not shared and len({len(each) for each in names}) == 1:
        return [tuple(row) for row in zip(*names, strict=True)]
    order = list(dict.fromkeys(name for each in names for name in each))
    return [tuple(name if name in set(each) else None for each in names) for name in order]


def comparison_rows(
    documents: Sequence[Document], metric: str, layers: Sequence[tuple[str | None, ...]]
) -> list[ComparedRowPart]:
    """Return the values of one metric side by side: of the network, then of each layer.

    Args:
        documents: Documents of ``frivkit.analysis/1``, the first the one to compare with.
        metric: The metric.
        layers: As :func:`match_layers` gives them.

    Returns:
        Rows as ``docs/reference/json.md`` describes them; none for a layer that was not measured.
    """
    measured = [
        {row["layer"]: row for row in document["measurements"] if row["metric"] == metric}
        for document in documents
    ]
    alike = _same_widths(documents)
    whole: tuple[str | None, ...] = (None,) * len(documents)
    rows: list[ComparedRowPart] = []
    for names in [whole, *layers]:
        scope: ScopeName = "network" if names is whole else "layer"
        found = [
            by_layer.get(name) if scope == "network" or name is not None else None
            for by_layer, name in zip(measured, names, strict=True)
        ]
        if any(found):
            steps = [
                resolution_of(row, by_layer.values())
                for row, by_layer in zip(found, measured, strict=True)
            ]
            rows.append(_row(scope, names, found, steps, alike=alike))
    return rows


def _row(
    scope: ScopeName,
    names: Sequence[str | None],
    found: Sequence[Document | None],
    steps: Sequence[float],
    *,
    alike: bool,
) -> ComparedRowPart:
    values: list[float | None] = [None if row is None else row["value"] for row in found]
    intervals = [None if row is None else ends(row["interval"]) for row in found]
    differences = [
        difference(values[0], value, intervals[0], interval, max(steps[0], step))
        for value, interval, step in zip(values[1:], intervals[1:], steps[1:], strict=True)
    ]
    known = [value for value in values if value is not None]
    over = mean_interval(known) if alike and len(known) == len(values) else None
    return {
        "scope": scope,
        "layer": next((name for name in names if name is not None), None),
        "values": values,
        "intervals": [None if interval is None else list(interval) for interval in intervals],
        "differences": [
            {
                "value": each.value,
                "interval": None if each.interval is None else list(each.interval),
                "resolution": each.resolution,
                "verdict": each.verdict,
            }
            for each in differences
        ],
        "over_networks": None if over is None else {"mean": over[0], "interval": list(over[1])},
        "curves": [_curve(row) for row in found],
    }


def _curve(row: Document | None) -> ComparedCurvePart | None:
    """Return the chosen ablation curve of a measurement, None if it has none."""
    curves = Curves.read(row["detail"]) if row is not None else None
    if curves is None:
        return None
    points = curves.points(curves.chosen)
    return {
        "levels": [x for x, _ in points],
        "unchanged": [y for _, y in points],
        "tolerance": curves.tolerance,
        "across": curves.across,
    }


def _same_widths(documents: Sequence[Document]) -> bool:
    widths = {tuple(site["units"] for site in document["sites"]) for document in documents}
    return len(widths) == 1
