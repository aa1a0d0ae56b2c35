"""The points of figures, from the rows of measured networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from fractions import Fraction
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import UsageError
from frivkit.experiments.jobs import Row
from frivkit.experiments.train import Architecture
from frivkit.hooks.options import parse_options
from frivkit.hooks.registry import installed
from frivkit.units.statistics import KEPT, crossings
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.recipe import BY_EPOCHS, CurveSpec, Network, Recipe

METRICS = {"prunable": "prunability", "redundant": "redundancy"}
DRAWN = 200
"""Values that represent a distribution."""

Point = tuple[str, float, int | str, float | None]
"""Series, width, trial and value of a row."""


def figure_rows(
    recipe: Recipe, jobs: Mapping[str, Sequence[NetworkJob]], rows: Sequence[Row]
) -> list[Row]:
    """Return the rows of a recipe's figures, as many as its networks allow.

    Of the networks of a grid the one with the best accuracy counts, by the recipe's ``choose``; the
    first if several are best.  Networks that have learned nothing are left out.

    Args:
        recipe: The experiment.
        jobs: Its networks at the recipe's scale, by name.
        rows: Rows of finished jobs.

    Returns:
        Rows with ``figure``, ``panel``, ``series``, ``width``, ``trial``, ``value`` and, for a
        network of a grid, ``choice``.
    """
    measured: dict[str, list[Row]] = {}
    for row in rows:
        measured.setdefault(row["work"], []).append(row)
    points: list[Row] = []
    for curve in recipe.curves:
        net = recipe.network(curve)
        for panel in curve.panels:
            common = {"figure": curve.figure, "panel": panel}
            fixed = {"fixed": True} if curve.fixed else {}
            if panel == "parameters":
                for width in _widths(recipe, curve, net):
                    series = recipe.scale.series.get(curve.series, curve.series)
                    at = {"series": series, "width": width, "trial": 0}
                    count = parameters(net, recipe.protocol, width)
                    points.append({**common, **at, "value": count})
                continue
            for best, best_rows in _chosen(recipe, jobs.get(net.name, ()), measured):
                if curve.widths and best.width not in curve.widths:
                    continue
                choice = {"choice": dict(best.choice)} if best.choice else {}
                for series, width, trial, value in _points(curve, panel, best, best_rows):
                    point = {
                        "series": recipe.scale.series.get(series, series),
                        "width": width,
                        "trial": trial,
                        "value": value,
                    }
                    points.append({**common, **point, **fixed, **choice})
    return points


def _widths(recipe: Recipe, curve: CurveSpec, net: Network) -> list[float]:
    return [
        width
        for width in recipe.scale.widths
        if all(not allowed or width in allowed for allowed in (curve.widths, net.widths))
    ]


def _chosen(
    recipe: Recipe, jobs: Sequence[NetworkJob], measured: Mapping[str, list[Row]]
) -> Iterator[tuple[NetworkJob, list[Row]]]:
    """Yield the best network of each width and seed, with its rows."""
    groups: dict[tuple[float, int], list[NetworkJob]] = {}
    for job in jobs:
        if any(row["measurement"] != "failure" for row in measured.get(job.name, ())):
            groups.setdefault((job.width, job.seed), []).append(job)
    for group in groups.values():
        best = group[0]
        if len(group) > 1:
            best = max(group, key=lambda job: _value(measured[job.name], recipe.choose) or 0.0)
        if has_learned(measured[best.name], recipe.scale.least_train_accuracy):
            yield best, measured[best.name]


def has_learned(rows: Iterable[Row], least: float) -> bool:
    """Whether a network's accuracy on its training data is at least ``least``, or unknown.

    Example:
        >>> has_learned([{"measurement": "train accuracy", "value": 0.1}], 0.15)
        False
    """
    reached = _value(rows, "train accuracy")
    return reached is None or reached >= least


def _points(curve: CurveSpec, panel: str, job: NetworkJob, rows: Sequence[Row]) -> Iterator[Point]:
    series = curve.series.replace("{width}", fraction(job.width))
    trial = job.seed
    if panel in BY_EPOCHS:
        for back in sorted(job.back, reverse=True):
            of_epoch = [row for row in rows if row.get("back") == back]
            value = _shown(curve, panel.removesuffix(" by epochs"), of_epoch)
            yield series, float(max(job.back) - back), trial, value
        return
    last = [row for row in rows if row.get("back") in (None, min(job.back, default=None))]
    if panel == "unchanged labels":
        for level, share in _ablation(_rows(last, "prunability", curve.layers)):
            yield series, level, trial, share
    elif panel == "correlation":
        for number, value in enumerate(_representatives(_rows(last, "correlation", curve.layers))):
            yield series, job.width, f"{trial}.{number}", value
    else:
        yield series, job.width, trial, _shown(curve, panel, last)


def _shown(curve: CurveSpec, panel: str, rows: Sequence[Row]) -> float | None:
    if panel not in METRICS:
        return _value(rows, "test accuracy" if panel == "accuracy" else panel)
    if panel == "prunable" and curve.alone:
        levels, shares = _mean_curve(_rows(rows, METRICS[panel], curve.layers or ("*",)))
        # No slack for rounding: a mean just below the threshold is below it.
        return float(crossings(levels, shares, KEPT, rounding=0.0)[0][0]) if levels.size else None
    values = [row["value"] for row in _rows(rows, METRICS[panel], curve.layers)]
    return fmean(values) if values and None not in values else None


def _value(rows: Iterable[Row], measurement: str) -> float | None:
    values = [row["value"] for row in rows if row["measurement"] == measurement]
    return values[-1] if values else None


def _rows(rows: Iterable[Row], measurement: str, layers: Sequence[str]) -> list[Row]:
    """Return the network's own row of a metric, or those of the layers that match patterns."""
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
    """Return levels, each with the largest share of unchanged labels over repeats."""
    if not rows:
        return []
    detail = rows[0]["detail"]
    shares = np.array(detail["unchanged"], np.float64)  # a level that was not measured is NaN
    best = np.nanmax(shares, axis=0)
    return list(zip(map(float, detail["levels"]), map(float, best), strict=True))


def _mean_curve(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over layers of their ablation curves, of the first repeat.

    Returns:
        The levels that all layers have, shape (levels,), and the mean shares of labels unchanged,
        shape (levels, 1); both empty without rows.

    Source:
        ``pkl2csv_robustness.py`` of the code published with Casper et al. 2021, which averages the
        curves of one repeat over layers.
    """
    details = [row["detail"] for row in rows]
    curves = [dict(zip(each["levels"], each["unchanged"][0], strict=True)) for each in details]
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    shares = [[fmean(curve[level] for curve in curves)] for level in common]
    return np.array(common, np.float64), np.array(shares, np.float64)


def _representatives(rows: Sequence[Row]) -> list[float]:
    """Return values with the distribution of a layer's histogram, ascending."""
    if not rows:
        return []
    counts = np.array(rows[0]["detail"]["histogram"], np.float64)
    if not counts.sum():
        return []
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    rising = np.concatenate([[True], np.diff(below) > 0])
    levels = (np.arange(DRAWN) + 0.5) / DRAWN
    return [float(value) for value in np.interp(levels, below[rising], edges[rising])]


def fraction(width: float) -> str:
    """Return a width as a fraction, such as ``"1/4"``.

    Example:
        >>> fraction(0.25), fraction(2.0)
        ('1/4', '2')
    """
    return str(Fraction(width).limit_denominator(64))


def must_have_shape(net: Network) -> None:
    """Raise an error for a network whose parameters cannot be counted.

    Raises:
        UsageError: the recipe lacks the shape of an example, or the number of classes.
    """
    if not net.shape or net.classes < 2:
        raise UsageError(
            f"network {net.name!r} lacks the shape of an example and its classes, which are needed "
            "to count parameters; add shape = [3, 32, 32] and classes = 10, say"
        )


def parameters(net: Network, protocol: str, width: float) -> int:
    """Return the number of trainable parameters of a network, without building its weights.

    Raises:
        UsageError: the recipe lacks the shape of an example, or the number of classes.
    """
    import torch

    must_have_shape(net)
    architecture: Architecture[Any] = installed().load("architectures", net.architecture)
    names = {each.name for each in fields(architecture.options)}
    given = {"protocol": protocol, **net.options_at(width, protocol)}
    texts = {key: value for key, value in given.items() if key in names}
    options = parse_options(architecture.options, texts)
    with torch.device("meta"):
        network = architecture.build(net.shape, net.classes, width, options)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
