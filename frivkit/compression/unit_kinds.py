"""The two kinds of unit among those that leave: prunable and redundant.

A unit is *prunable* here if nothing needs to take over from it: all prunable units of a layer set
to zero together, with no refit, cost what reads them a small share of its variance.  It is
*redundant* if those that stay explain it.  A unit may be both, and a tight budget takes some that
are neither.

Source:
    The kinds are those of Casper et al., "Frivolous Units", AAAI 2021, sections 1 and 3.  There a
    random draw and labels decide what is prunable; here the errors in what reads a unit do, for a
    plan has to say it of each unit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.plan import Keep, group_flags
from frivkit.units.elimination import reconstruct
from frivkit.units.moments import Float64Array

PRUNABLE = 0.01
"""Share of the variance of what a reader makes that all prunable units together may cost it."""
REDUNDANT = 0.05
"""Share of the variance of a redundant unit that may stay unexplained: the paper's tolerance."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitKinds:
    """Which groups of units that leave are of which kind.

    Attributes:
        leaving: Those that leave, shape (groups,).
        prunable: Those that are dropped without harm, shape (groups,).
        redundant: Those that the rest explains, shape (groups,).
    """

    leaving: NDArray[np.bool_]
    prunable: NDArray[np.bool_]
    redundant: NDArray[np.bool_]


def unit_kinds_of(calibration: Calibration, keep: Keep) -> UnitKinds:
    """Tell prunable and redundant units among those that leave.

    Where the moments of whole patches are not there, no unit that such a reader reads is told to
    be prunable.
    """
    stays = group_flags(calibration, keep)[:-1]
    prunable, redundant = np.zeros((2, len(stays)), np.bool_)
    for layer_group in calibration.layer_groups:
        left = stays[layer_group.groups]
        if left.all():
            continue
        covariance = layer_group.covariance
        found = reconstruct(np.zeros(len(left)), covariance, left, layer_group.ridge)
        variance = covariance.diagonal()
        known = found.unexplained <= REDUNDANT * variance
        redundant[layer_group.groups[~left & known]] = True
        prunable[_droppable(calibration, layer_group.groups[~left])] = True
    return UnitKinds(~stays, prunable, redundant)


def _droppable(calibration: Calibration, leaving: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the most groups, the cheapest first, that can go together without any refit."""
    costs = [
        cost
        for linear_consumer in calibration.linear_consumers
        if np.isin(leaving, linear_consumer.group_ids).any()
        for cost in [_zeroed(calibration, linear_consumer, leaving)]
    ]
    if not costs:
        return leaving  # nothing reads them
    order = np.argsort(sum(cost.diagonal() for cost in costs), kind="stable")
    together = np.ones(len(leaving), np.bool_)
    for cost in costs:
        ordered = cost[np.ix_(order, order)]
        joint = np.cumsum(2 * np.tril(ordered, -1).sum(axis=1) + ordered.diagonal())
        together &= joint <= PRUNABLE
    count = int(np.logical_and.accumulate(together).sum())
    return leaving[order[:count]]


def _zeroed(
    calibration: Calibration, linear_consumer: LinearConsumer, leaving: NDArray[np.intp]
) -> Float64Array:
    """Return what setting groups to zero costs a reader: summed over a set, its squared error."""
    patch_moments = calibration.patch_moments[linear_consumer.source]
    variance = calibration.variances.get(linear_consumer.error_tensor, 0.0)
    count = len(leaving)
    if variance <= 0:
        return np.zeros((count, count))
    if patch_moments.per_channel:
        return np.full((count, count), np.inf)
    place = {int(group): i for i, group in enumerate(leaving)}
    where = np.array([place.get(int(mark), -1) for mark in linear_consumer.group_ids])
    mine = where >= 0
    moments, weights = (
        patch_moments.whole,
        (linear_consumer.matrix * linear_consumer.output_scale)[mine],
    )
    second = moments.covariance[np.ix_(mine, mine)] + np.outer(*[moments.mean[mine]] * 2)
    total = np.zeros((count, count))
    np.add.at(
        total, (where[mine][:, np.newaxis], where[mine]), second * (weights @ weights.T) / variance
    )
    return total
