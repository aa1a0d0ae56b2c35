"""Calibrate, choose what leaves under a budget, refit what is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.allocation import Allocation, Resource, allocate
from frivkit.compression.fitting import Fit, fit, sliced
from frivkit.compression.patches import Sums, sum_patches
from frivkit.compression.ranking import Ranking, rank
from frivkit.compression.readings import (
    Reading,
    Source,
    find_readings,
    hold_what_cannot_be_refitted,
    sources_of,
)
from frivkit.data import Dataset
from frivkit.engine.session import Device
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.groups import Examined, examine
from frivkit.graph.model import Model, parameters
from frivkit.graph.refitting import refit
from frivkit.graph.sites import Survey
from frivkit.graph.slicing import narrow
from frivkit.progress import Progress

Refit = Literal["none", "ridge", "relu"]
"""Slice only; fit outputs; fit outputs, and then what a ReLU behind them lets through."""
Keep = Mapping[str, NDArray[np.bool_]]
"""For each site by name whether each unit stays."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A model, its groups, and all that the data tell of them; every budget is met from it.

    Attributes:
        model: The model, its shapes complete.
        survey: Its layers.
        examined: What can leave.
        readings: What reads units.
        sums: The moments of what they read.
        rankings: The order in which the units of each bundle leave.
    """

    model: Model
    survey: Survey
    examined: Examined
    readings: tuple[Reading, ...]
    sums: Mapping[Source, Sums]
    rankings: tuple[Ranking, ...]


def calibrate(
    model: Model,
    survey: Survey,
    data: Dataset,
    device: Device,
    *,
    memory: int,
    seed: int,
    progress: Progress,
) -> Calibration:
    """Take the one pass over the data that ranking, allocation and the plain refit need.

    Raises:
        ModelError: no unit can leave, or activations are not finite.
    """
    examined = examine(model, survey)
    readings = find_readings(model, survey, examined)
    examined = hold_what_cannot_be_refitted(model, survey, examined, readings)
    if not examined.groups.free.any():
        reasons = "; ".join(dict.fromkeys(examined.groups.held.values())) or "it has no units"
        raise ModelError(f"no unit of {model.path.name} can leave: {reasons[:300]}")
    sums, variances = sum_patches(
        model,
        sources_of(readings),
        data,
        device,
        meets={reading.meets: -1 if reading.consumer.op == "MatMul" else 1 for reading in readings},
        memory=memory,
        seed=seed,
        progress=progress,
    )
    rankings = rank(examined.groups, readings, sums, variances)
    return Calibration(model, survey, examined, readings, sums, rankings)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which units stay, and how what reads them is refitted.

    Attributes:
        keep: For each site by name whether each unit stays.
        fits: The refitted nodes.
        error: The predicted error, summed over bundles.
    """

    keep: Keep
    fits: tuple[Fit, ...]
    error: float


def leave(calibration: Calibration, allocation: Allocation, count: int, multiple: int = 1) -> Keep:
    """Give the flags of units when the first groups of an allocation have left.

    Args:
        calibration: The model and its order.
        allocation: The order over the whole model.
        count: How many groups leave.
        multiple: What the number of groups left in each bundle is rounded up to a multiple of; the
            last to leave come back.
    """
    groups = calibration.examined.groups
    stays = np.ones(groups.count, np.bool_)
    stays[allocation.order[:count]] = False
    for ranking in calibration.rankings if multiple > 1 else ():
        members = np.unique(np.concatenate([groups.of[site] for site in ranking.sites]))
        gone = ranking.order[~stays[ranking.order]]
        back = -(len(members) - len(gone)) % multiple
        stays[gone[len(gone) - min(back, len(gone)) :]] = True
    return groups.flags(stays)


def within(
    calibration: Calibration, resource: Resource, share: float, multiple: int = 1
) -> tuple[Keep, float]:
    """Find the most units that a budget has room for.

    Args:
        calibration: The model and its order.
        resource: What is counted.
        share: What may be left of it, in (0, 1].
        multiple: See :func:`leave`.

    Returns:
        The flags of units, and the predicted error.

    Raises:
        ModelError: even the smallest model that can be made is larger.
    """
    allocation = allocate(calibration.model, calibration.examined, calibration.rankings, resource)
    whole = amount(calibration.model.ir, calibration, resource, None)
    low, high = 0, len(allocation.order)

    def cost(count: int) -> float:
        keep = leave(calibration, allocation, count, multiple)
        thin = narrow(calibration.model, calibration.survey, keep)
        return amount(thin, calibration, resource, keep)

    least = cost(high)
    if least > share * whole:
        raise ModelError(
            f"{share:.4g} of the {resource} of {calibration.model.path.name} cannot be met: the "
            f"smallest model has {least / whole:.4g}; ask for more"
        )
    while low < high:
        middle = (low + high) // 2
        if cost(middle) <= share * whole:
            high = middle
        else:
            low = middle + 1
    error = float(allocation.errors[low - 1]) if low else 0.0
    return leave(calibration, allocation, low, multiple), error


def tolerating(calibration: Calibration, tolerance: float) -> tuple[Keep, float]:
    """Let as many units of each bundle leave as its readers bear.

    Args:
        calibration: The model and its order.
        tolerance: The error of each bundle, as a share of the variance of what its readers meet.
    """
    groups = calibration.examined.groups
    stays, error = np.ones(groups.count, np.bool_), 0.0
    for ranking in calibration.rankings:
        count = int(np.searchsorted(ranking.errors, tolerance, side="right"))
        last = 0.0
        for group, cost in zip(ranking.order[:count], ranking.errors[:count], strict=True):
            stays[group] = False
            if not all(stays[groups.of[site]].any() for site in ranking.sites):
                stays[group] = True  # the last of its site
                continue
            last = float(cost)
        error += last
    return groups.flags(stays), error


def amount(
    graph: ir.Model,
    calibration: Calibration,
    resource: Resource,
    keep: Keep | None,
) -> float:
    """Count what a model costs."""
    if resource == "units":
        sites = calibration.survey.sites
        return float(sum(s.width if keep is None else keep[s.name].sum() for s in sites))
    if resource == "params":
        return float(parameters(graph.graph) + _biases(calibration, keep))
    found = macs(graph.graph)
    if found is None:
        raise ModelError(
            f"the multiply-accumulates of {calibration.model.path.name} are not known: give "
            "--input-shape, or a budget of --params"
        )
    return float(found)


def _biases(calibration: Calibration, keep: Keep | None) -> int:
    """Count the biases that refits add where a node had none."""
    if keep is None:
        return 0
    stays = _stays(calibration, keep)
    added = 0
    for reading in calibration.readings:
        if reading.consumer.bias is None and reading.centred and not stays[reading.marks].all():
            added += int(stays[reading.made].sum())
    return added


def _stays(calibration: Calibration, keep: Keep) -> NDArray[np.bool_]:
    """Say of each group whether it stays; the last stands for what no group lies in."""
    groups = calibration.examined.groups
    stays = np.ones(groups.count + 1, np.bool_)
    for site, flags in keep.items():
        stays[groups.of[site][~flags]] = False
    return stays


def plan(
    calibration: Calibration,
    keep: Keep,
    error: float,
    how: Refit = "ridge",
) -> Plan:
    """Refit all that reads units that leave, by what the moments tell."""
    stays = _stays(calibration, keep)
    fits = []
    for reading in calibration.readings:
        columns = stays[reading.marks]
        if columns.all():
            continue
        thin = reading.narrowed(stays)
        if how == "none":
            fits.append(sliced(thin, columns))
        else:
            fits.append(fit(thin, calibration.sums[reading.source], columns))
    return Plan(keep, tuple(fits), error)


def thinned(calibration: Calibration, plan: Plan) -> ir.Model:
    """Give the thinner model."""
    model = narrow(calibration.model, calibration.survey, plan.keep)
    fitted = {
        each.reading.consumer.node: (each.reading.weight(each.matrix, each.columns), each.bias)
        for each in plan.fits
    }
    return refit(model, fitted)
