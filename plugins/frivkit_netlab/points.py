"""From measured networks to the points of figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from frivkit.errors import UsageError
from frivkit.options import parse_options
from frivkit.registry import installed
from frivkit.sweep.work import Row
from frivkit.train import Architecture
from frivkit_netlab.network import NetworkWork
from frivkit_netlab.recipe import BY_EPOCHS, CurveOf, Network, Recipe

METRICS = {"prunable": "prunability", "redundant": "redundancy"}
KEPT = 0.8
"""The share of labels that must stay: 1 less the paper's tolerance of 0.2."""
DRAWN = 200
"""Values that stand for a distribution."""

Point = tuple[str, float, int | str, float | None]
"""Series, width, trial and value of a row."""


def figure_rows(
    recipe: Recipe, works: Mapping[str, Sequence[NetworkWork]], rows: Sequence[Row]
) -> list[Row]:
    """Give the rows of a recipe's figures, as many as its networks allow.

    Of the networks of a grid the one with the best accuracy counts, by the recipe's ``choose``, the
    first of several.

    Args:
        recipe: The experiment.
        works: Its networks at the recipe's scale, by name.
        rows: Rows of finished work.

    Returns:
        Rows with ``figure``, ``panel``, ``series``, ``width``, ``trial``, ``value`` and, where a
        grid was searched, ``choice``.
    """
    measured: dict[str, list[Row]] = {}
    for row in rows:
        measured.setdefault(row["work"], []).append(row)
    made: list[Row] = []
    for curve in recipe.curves:
        net = recipe.network(curve)
        for panel in curve.panels:
            common = {"figure": curve.figure, "panel": panel}
            fixed = {"fixed": True} if curve.fixed else {}
            if panel == "parameters":
                for width in _widths(recipe, curve, net):
                    series = recipe.scale.series.get(curve.series, curve.series)
                    at = {"series": series, "width": width, "trial": 0}
                    made.append({**common, **at, "value": parameters(net, recipe.protocol, width)})
                continue
            for best, found in _chosen(recipe, works.get(net.name, ()), measured):
                if curve.widths and best.width not in curve.widths:
                    continue
                choice = {"choice": dict(best.choice)} if best.choice else {}
                for series, width, trial, value in _points(curve, panel, best, found):
                    point = {
                        "series": recipe.scale.series.get(series, series),
                        "width": width,
                        "trial": trial,
                        "value": value,
                    }
                    made.append({**common, **point, **fixed, **choice})
    return made


def _widths(recipe: Recipe, curve: CurveOf, net: Network) -> list[float]:
    return [
        width
        for width in recipe.scale.widths
        if all(not allowed or width in allowed for allowed in (curve.widths, net.widths))
    ]


def _chosen(
    recipe: Recipe, works: Sequence[NetworkWork], measured: Mapping[str, list[Row]]
) -> Iterator[tuple[NetworkWork, list[Row]]]:
    """Give the best network of each width and seed, with its rows."""
    groups: dict[tuple[float, int], list[NetworkWork]] = {}
    for work in works:
        if any(row["measurement"] != "failure" for row in measured.get(work.name, ())):
            groups.setdefault((work.width, work.seed), []).append(work)
    for group in groups.values():
        best = group[0]
        if len(group) > 1:
            best = max(group, key=lambda work: _value(measured[work.name], recipe.choose) or 0.0)
        yield best, measured[best.name]


def _points(curve: CurveOf, panel: str, work: NetworkWork, found: Sequence[Row]) -> Iterator[Point]:
    series = curve.series.replace("{width}", fraction(work.width))
    trial = work.seed
    if panel in BY_EPOCHS:
        for back in sorted(work.back, reverse=True):
            there = [row for row in found if row.get("back") == back]
            value = _shown(curve, panel.removesuffix(" by epochs"), there)
            yield series, float(max(work.back) - back), trial, value
        return
    last = [row for row in found if row.get("back") in (None, min(work.back, default=None))]
    if panel == "unchanged labels":
        for level, share in _ablation(_rows(last, "prunability", curve.layers)):
            yield series, level, trial, share
    elif panel == "correlation":
        for number, value in enumerate(_drawn(_rows(last, "correlation", curve.layers))):
            yield series, work.width, f"{trial}.{number}", value
    else:
        yield series, work.width, trial, _shown(curve, panel, last)


def _shown(curve: CurveOf, panel: str, rows: Sequence[Row]) -> float | None:
    if panel not in METRICS:
        return _value(rows, "test accuracy" if panel == "accuracy" else panel)
    if panel == "prunable" and curve.alone:
        return _crossing(_mean_curve(_rows(rows, METRICS[panel], curve.layers or ("*",))))
    values = [row["value"] for row in _rows(rows, METRICS[panel], curve.layers)]
    return fmean(values) if values and None not in values else None


def _value(rows: Iterable[Row], measurement: str) -> float | None:
    found = [row["value"] for row in rows if row["measurement"] == measurement]
    return found[-1] if found else None


def _rows(rows: Iterable[Row], measurement: str, layers: Sequence[str]) -> list[Row]:
    """Give the network's own row of a metric, or those of the layers that are asked for."""
    return [
        row
        for row in rows
        if row["measurement"] == measurement
        and (
            any(fnmatchcase(row["layer"], pattern) for pattern in layers)
            if layers and row.get("layer")
            else not layers and row.get("layer") is None
        )
    ]


def _ablation(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Give levels and, of each, the largest share of unchanged labels over repeats."""
    if not rows:
        return []
    detail = rows[0]["detail"]
    shares = np.array(detail["unchanged"], np.float64)  # a level that was not visited is NaN
    best = np.nanmax(shares, axis=0)
    return list(zip(map(float, detail["levels"]), map(float, best), strict=True))


def _mean_curve(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Give the mean over layers of their ablation curves, of the first repeat.

    Source:
        ``pkl2csv_robustness.py`` of the code published with Casper et al. 2021, which averages over
        layers what it finds in one repeat.
    """
    details = [row["detail"] for row in rows]
    curves = [dict(zip(each["levels"], each["unchanged"][0], strict=True)) for each in details]
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    return [(level, fmean(curve[level] for curve in curves)) for level in common]


def _crossing(curve: Sequence[tuple[float, float]]) -> float | None:
    """Give where a curve first falls below the threshold; 1 where it never does.

    Example:
        >>> _crossing([(0.0, 1.0), (0.5, 0.9), (1.0, 0.1)])
        0.5625
    """
    if not curve:
        return None
    for (x, high), (y, low) in pairwise(curve):
        if high >= KEPT > low:
            return x + (high - KEPT) / (high - low) * (y - x)
    return 1.0


def _drawn(rows: Sequence[Row]) -> list[float]:
    """Give values that are distributed as the histogram of a layer says, ascending."""
    if not rows:
        return []
    counts = np.array(rows[0]["detail"]["histogram"], np.float64)
    if not counts.sum():
        return []
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    rising = np.concatenate([[True], np.diff(below) > 0])
    places = (np.arange(DRAWN) + 0.5) / DRAWN
    return [float(value) for value in np.interp(places, below[rising], edges[rising])]


def fraction(width: float) -> str:
    """Give a width as people write it.

    Example:
        >>> fraction(0.25), fraction(2.0)
        ('1/4', '2')
    """
    return str(Fraction(width).limit_denominator(64))


def parameters(net: Network, protocol: str, width: float) -> int:
    """Give the number of trainable parameters of a network, without building its weights.

    Raises:
        UsageError: the recipe does not say the shape of an example, or the number of classes.
    """
    import torch

    if not net.shape or net.classes < 2:
        raise UsageError(
            f"network {net.name!r} lacks the shape of an example and its classes, which are needed "
            "to count parameters; add shape = [3, 32, 32] and classes = 10, say"
        )
    design: Architecture[Any] = installed().load("architectures", net.architecture)
    known = {each.name for each in fields(design.options)}
    given = {"protocol": protocol, **net.options_at(width, protocol)}
    mine = {key: value for key, value in given.items() if key in known}
    with torch.device("meta"):
        network = design.build(net.shape, net.classes, width, parse_options(design.options, mine))
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
