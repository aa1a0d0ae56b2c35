"""Classify the units that are removed: prunable, redundant, both or neither.

A unit is *prunable* here if its consumers need no refit: if all prunable units of a layer are set
to zero together, the error of a consumer is a small share of its variance.  It is *redundant* if
the kept units explain it.  A unit may be both, and a tight budget removes some that are neither.

Source:
    The kinds are those of Casper et al., "Frivolous Units", AAAI 2021, sections 1 and 3.  There
    labels decide what is prunable, for a random draw of units; here the errors of consumers do,
    for each unit.
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
"""Share of the variance of a consumer's error tensor that all prunable units together may cost."""
REDUNDANT = 0.05
"""Share of the variance of a redundant unit that may stay unexplained: the paper's tolerance."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitKinds:
    """The kinds of the groups that are removed.

    Attributes:
        removed: Whether a group is removed, shape (groups,).
        prunable: Whether a removed group is prunable, shape (groups,).
        redundant: Whether a removed group is redundant, shape (groups,).
    """

    removed: NDArray[np.bool_]
    prunable: NDArray[np.bool_]
    redundant: NDArray[np.bool_]


def classify_units(calibration: Calibration, keep: Keep) -> UnitKinds:
    """Classify the groups that are removed.

    If the moments of a consumer's input are per channel, no unit that it reads counts as prunable.
    """
    kept = group_flags(calibration, keep)[:-1]
    prunable, redundant = np.zeros((2, len(kept)), np.bool_)
    for layer_group in calibration.layer_groups:
        kept_here = kept[layer_group.groups]
        if kept_here.all():
            continue
        covariance = layer_group.covariance
        reconstruction = reconstruct(
            np.zeros(len(kept_here)), covariance, kept_here, layer_group.ridge
        )
        explained = reconstruction.unexplained <= REDUNDANT * covariance.diagonal()
        redundant[layer_group.groups[~kept_here & explained]] = True
        prunable[_prunable(calibration, layer_group.groups[~kept_here])] = True
    return UnitKinds(~kept, prunable, redundant)


def _prunable(calibration: Calibration, removed: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the most groups, cheapest first, that can be set to zero together without a refit."""
    costs = [
        _zeroing_cost(calibration, linear_consumer, removed)
        for linear_consumer in calibration.linear_consumers
        if np.isin(removed, linear_consumer.group_ids).any()
    ]
    if not costs:
        return removed  # nothing reads them
    order = np.argsort(sum(cost.diagonal() for cost in costs), kind="stable")
    cheap = np.ones(len(removed), np.bool_)
    for cost in costs:
        ordered = cost[np.ix_(order, order)]
        joint = np.cumsum(2 * np.tril(ordered, -1).sum(axis=1) + ordered.diagonal())
        cheap &= joint <= PRUNABLE
    count = int(np.logical_and.accumulate(cheap).sum())
    return removed[order[:count]]


def _zeroing_cost(
    calibration: Calibration, linear_consumer: LinearConsumer, removed: NDArray[np.intp]
) -> Float64Array:
    """Return the matrix whose sum over a set of groups is the error of setting them to zero.

    Returns:
        Shape (groups, groups), as a share of the variance of the consumer's error tensor.
    """
    patch_moments = calibration.patch_moments[linear_consumer.source]
    variance = calibration.variance(linear_consumer.error_tensor)
    count = len(removed)
    if variance <= 0:
        return np.zeros((count, count))
    if patch_moments.per_channel:
        return np.full((count, count), np.inf)
    index = {int(group): i for i, group in enumerate(removed)}
    indices = np.array([index.get(int(group), -1) for group in linear_consumer.group_ids])
    mine = indices >= 0
    moments = patch_moments.whole
    weights = (linear_consumer.matrix * linear_consumer.output_scale)[mine]
    second = moments.covariance[np.ix_(mine, mine)] + np.outer(*[moments.mean[mine]] * 2)
    total = np.zeros((count, count))
    np.add.at(
        total,
        (indices[mine][:, np.newaxis], indices[mine]),
        second * (weights @ weights.T) / variance,
    )
    return total
