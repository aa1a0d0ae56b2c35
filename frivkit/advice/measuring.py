"""The prunable and the redundant units of one network, with intervals.

Prunability brings an interval over examples, to which the spread of its random orders is added.
Redundancy brings one under the protocol ``paper`` only; else it is measured again without each run
of consecutive examples, and the jackknife makes the interval.  Redundant units are counted whole,
so either interval reaches one unit to both sides at least: counts that are the same for all runs do
not say that more examples would give the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from math import hypot, sqrt
from typing import Literal

import numpy as np

from frivkit.cache import Cache
from frivkit.data import Dataset
from frivkit.data.subset import Subset
from frivkit.errors import DataError
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site
from frivkit.hooks.registry import installed
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis, Request, analyze

FrivolousKind = Literal["prunable", "redundant"]
METRICS: Mapping[FrivolousKind, str] = {"prunable": "prunability", "redundant": "redundancy"}
"""The metric that measures the share of each kind of units."""
RUNS = 5
"""Runs of consecutive examples that the jackknife leaves out in turn."""

_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}
"""Two-sided 95 % points of Student's t by degrees of freedom."""
_LARGEST = {1: 1.0, 2: 0.826, 3: 0.748}
"""Standard deviation of the largest of n normal values, over that of one (Harter, Expected values
of normal order statistics, Biometrika 48, 1961); it falls with n."""

Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of networks of one family.

    Attributes:
        requests: One a network: the model, and everything that is the same for all of them.
        options: Options of the two metrics by name.
        cache: Where results are kept; None keeps nothing.
    """

    requests: Sequence[Request]
    options: Mapping[str, str] = field(default_factory=dict)
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the units of a network or of a layer.

    Attributes:
        value: In [0, 1].
        interval: Its 95 % interval over examples and random choices; None if there are too few
            examples for one.
    """

    value: float
    interval: Ends | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one network.

    Attributes:
        model: The network.
        sites: Its layers with units.
        data: The examples.
        analysis: The measurements on all examples.
        shares: The shares by kind and index of the layer, None for the network.
    """

    model: Model
    sites: tuple[Site, ...]
    data: Dataset
    analysis: Analysis
    shares: Mapping[tuple[FrivolousKind, int | None], Share]


def measure(
    request: Request,
    query: Query,
    done: Callable[[Measurement], None] = lambda measurement: None,
) -> Measured:
    """Measure both kinds of units of one network, and of each of its layers.

    Args:
        request: The network.
        query: The options of the metrics, and the cache.
        done: Called with each measurement on all examples.

    Raises:
        UsageError: an option is unknown, or has a wrong value.
        ModelError: the model cannot be read or run, or has no units.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    analysis = analyze(
        request, tuple(METRICS.values()), query.options, cache=query.cache, done=done
    )
    study = analysis.study
    again = _without_runs(replace(request, model=study.model), study.data, query, analysis)
    layers = {site.layer: k for k, site in enumerate(study.sites)}
    shares: dict[tuple[FrivolousKind, int | None], Share] = {}
    for kind, metric in METRICS.items():
        for found in analysis.measurements:
            if found.metric == metric and found.value is not None:
                place = None if found.layer is None else layers[found.layer]
                if kind == "prunable":
                    interval = _over_orders(found)
                else:
                    sites = study.sites if place is None else (study.sites[place],)
                    step = sum(1 / site.width for site in sites) / len(sites)
                    interval = _counted(found, [other[found.layer] for other in again], step)
                shares[kind, place] = Share(found.value, interval)
    return Measured(study.model, study.sites, study.data, analysis, shares)


def _over_orders(found: Measurement) -> Ends | None:
    """Return the 95 % interval of prunability over examples and random orders."""
    if found.interval is None:
        return None
    value, (low, high) = found.value or 0.0, found.interval
    spread = _spread(found.detail.get("values", []))
    return (
        max(0.0, value - hypot(value - low, spread)),
        min(1.0, value + hypot(high - value, spread)),
    )


def _counted(found: Measurement, without: Sequence[float], step: float) -> Ends | None:
    """Return the 95 % interval of redundancy over examples.

    Args:
        found: The measurement on all examples.
        without: The values without each run of examples, empty if they were not measured.
        step: The share that one unit is, for the network the mean over its layers.
    """
    value = found.value or 0.0
    if found.interval is None and not without:
        return None
    low, high = found.interval or _jackknife(value, without)
    return max(0.0, min(low, value - step)), min(1.0, max(high, value + step))


def _spread(repeats: Sequence[float]) -> float:
    """Return half the 95 % interval of the largest of some values, from their own spread."""
    count = len(repeats)
    if count < 2:
        return 0.0
    student = _STUDENT.get(count - 1, 2.262)
    return student * _LARGEST.get(count, _LARGEST[3]) * float(np.std(repeats, ddof=1))


def _jackknife(value: float, without: Sequence[float]) -> Ends:
    """Return the 95 % interval of a value from those without each run of examples.

    Source: Tukey, "Bias and confidence in not quite large samples", Annals of Mathematical
    Statistics 29(2), 1958.
    """
    runs = len(without)
    reach = _STUDENT[runs - 1] * sqrt((runs - 1) * float(np.var(without)))
    return value - reach, value + reach


def _without_runs(
    request: Request, data: Dataset, query: Query, analysis: Analysis
) -> list[dict[str | None, float]]:
    """Return the redundancy of each layer without each run of examples in turn.

    Returns:
        One dictionary a run, None being the network; none if redundancy has an interval already.
    """
    metric = METRICS["redundant"]
    found = [each for each in analysis.measurements if each.metric == metric]
    if any(each.interval is not None for each in found) or data.examples < RUNS:
        return []
    known = {each.name for each in fields(installed().load("metrics", metric).options)}
    options = {key: value for key, value in query.options.items() if key in known}
    numbers = np.arange(data.examples)
    bounds = [data.examples * k // RUNS for k in range(RUNS + 1)]
    values = []
    for start, stop in pairwise(bounds):
        kept = numbers[(numbers < start) | (numbers >= stop)]
        part = Subset(data, kept, f"without {start} to {stop - 1}")
        try:
            other = analyze(replace(request, data=part, examples=None), (metric,), options)
        except DataError:
            return []  # too few examples are left for the protocol
        values.append({each.layer: each.value or 0.0 for each in other.measurements})
    return values
