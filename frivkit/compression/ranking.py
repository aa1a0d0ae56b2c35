"""Rankings: the order in which the groups of a layer group are removed, and its error curve.

A ranking predicts errors from moments of units over all positions.  Few examples suffice for
these moments, but they do not tell how the positions of a patch vary together.  A refit of whole
patches takes that into account; it is too expensive for each unit that is removed.  So refits are
made at a few points of each error curve, and the curve is scaled to pass through them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.head_ranking import order_heads
from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.ridge import validation_errors
from frivkit.errors import PluginError
from frivkit.graph.layout import NO_GROUP
from frivkit.measure.study import Study
from frivkit.units.elimination import errors_along
from frivkit.units.moments import Float64Array

POINTS = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Predicted errors at which refits are made."""
STRENGTHS = (1e-3, 1e-2, 1e-1)
"""Ridges tried there; the final refit tries more."""
SMALLEST = 1e-12
"""The smallest error whose logarithm is taken."""


Ranker = Callable[[LayerGroup, Study], NDArray[np.int64]]
"""Returns indices into ``layer_group.groups``, the first group to be removed first, each once.

The study is of the calibration examples, for rankings that need more than moments.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The order in which the groups of one layer group are removed.

    Attributes:
        sites: The sites of the layer group.
        order: The groups from the first to be removed to the last, shape (removable groups,).
        errors: The error curve: after each removal, the squared error in the consumers' outputs as
            a share of the variance of their error tensor, summed over consumers; not decreasing,
            shape as ``order``.
        counts: After how many removals a plan may stop, rising; None if after each.
        logits: The part of the errors that comes from the logits of attention, shape as ``order``;
            None if there are none.
    """

    sites: tuple[str, ...]
    order: NDArray[np.intp]
    errors: Float64Array
    counts: NDArray[np.intp] | None = None
    logits: Float64Array | None = None


def build_ranking(layer_group: LayerGroup, order: NDArray[np.int64]) -> Ranking:
    """Return the ranking of an order, with its predicted errors.

    Groups that nothing reads come first, at no error.  Groups of heads leave in steps that every
    head takes alike, see :func:`~frivkit.compression.head_ranking.order_heads`.

    Args:
        layer_group: The layer group.
        order: Indices into ``layer_group.groups`` from the first to be removed to the last.

    Raises:
        PluginError: the order leaves a group out or has one twice.
    """
    if not np.array_equal(np.sort(order), np.arange(len(layer_group.groups))):
        raise PluginError(
            f"the ranking gave {len(np.unique(order))} of {len(layer_group.groups)} units of "
            f"{layer_group.layers[0]}; it must give each once"
        )
    if layer_group.heads:
        ordered = order_heads(layer_group, layer_group.groups[order])
        return Ranking(
            layer_group.sites, ordered.order, ordered.errors, ordered.counts, ordered.logits
        )
    is_read = np.zeros(len(layer_group.groups), np.bool_)
    for term in layer_group.terms:
        is_read[term.groups[term.groups != NO_GROUP]] = True
    unread, read = order[~is_read[order]], order[is_read[order]]
    errors = np.concatenate(
        [np.zeros(len(unread)), errors_along(layer_group.terms, read, layer_group.ridge)]
    )
    return Ranking(layer_group.sites, layer_group.groups[np.concatenate([unread, read])], errors)


def rank_units(calibration: Calibration, ranker: Ranker) -> tuple[Ranking, ...]:
    """Return the ranking of each layer group of which a unit can be removed.

    Args:
        calibration: The model and its statistics.
        ranker: Returns the order of removal of each layer group.
    """
    outputs = [calibration.output_of(group.sites) for group in calibration.layer_groups]
    studies = {output: calibration.study_of(output) for output in dict.fromkeys(outputs)}
    return calibrate_error_curves(
        calibration,
        [
            build_ranking(layer_group, ranker(layer_group, studies[output]))
            for layer_group, output in zip(calibration.layer_groups, outputs, strict=True)
        ],
    )


def calibrate_error_curves(
    calibration: Calibration, rankings: Sequence[Ranking]
) -> tuple[Ranking, ...]:
    """Return the rankings with error curves that pass through the errors of refits.

    Between the points the ratio of measured to predicted error is interpolated linearly in
    logarithms; before the first and after the last it is constant.  A ranking keeps its predicted
    errors if a consumer's moments are per channel, or if no examples were set aside to validate.
    """
    return tuple(_calibrated(calibration, ranking) for ranking in rankings)


def _calibrated(calibration: Calibration, ranking: Ranking) -> Ranking:
    logits = np.zeros(len(ranking.order)) if ranking.logits is None else ranking.logits
    linear = np.maximum.accumulate(np.maximum(ranking.errors - logits, 0.0))
    by_predicted: dict[float, int] = {}
    for point in POINTS:
        count = int(np.searchsorted(linear, point, side="right"))
        count = min(max(count, 1), len(ranking.order) - 1)
        predicted = float(linear[count - 1]) if count > 0 else 0.0
        if predicted > SMALLEST:
            by_predicted.setdefault(predicted, count)
    errors = _measured_errors(calibration, ranking, list(by_predicted.values()))
    measured = {
        predicted: error
        for predicted, error in zip(by_predicted, errors, strict=True)
        if error is not None
    }
    if not measured:
        return ranking
    points, lost = (np.array(each) for each in zip(*sorted(measured.items()), strict=True))
    ratio = np.log(np.maximum(lost, SMALLEST) / points)
    at = np.log(np.maximum(linear, SMALLEST))
    curve: Float64Array = linear * np.exp(np.interp(at, np.log(points), ratio))
    return replace(ranking, errors=np.maximum.accumulate(curve + logits))


def _measured_errors(
    calibration: Calibration, ranking: Ranking, counts: Sequence[int]
) -> list[float | None]:
    """Return the consumers' validation error without the first groups, None if it is unknown.

    Args:
        calibration: The model and its statistics.
        ranking: The order in which groups are removed.
        counts: Numbers of groups that are removed.
    """
    removal = np.full(calibration.pruning_graph.groups.count + 1, len(ranking.order))
    removal[ranking.order] = np.arange(len(ranking.order))
    totals = np.zeros(len(counts))
    known, unknown = np.zeros((2, len(counts)), np.bool_)
    for linear_consumer in calibration.linear_consumers:
        removed_at = removal[linear_consumer.group_ids]
        patch_moments = calibration.patch_moments[linear_consumer.source]
        kept = [int((removed_at >= count).sum()) for count in counts]
        affected = np.array(kept) < len(removed_at)
        if not affected.any() or not linear_consumer.error_scale.any():
            continue
        if patch_moments.per_channel or not patch_moments.has_validation:
            unknown |= affected
            continue
        known |= affected
        numbers = [number for number in kept if number < len(removed_at)]
        order = np.argsort(-removed_at, kind="stable")
        errors, _ = validation_errors(linear_consumer, patch_moments, order, numbers, STRENGTHS)
        best = errors.sum(axis=2).argmin(axis=1)
        chosen = errors[np.arange(len(numbers)), best]
        totals[affected] += (chosen * linear_consumer.error_scale**2).sum(axis=1)
    return [
        float(total) if is_known and not is_unknown else None
        for total, is_known, is_unknown in zip(totals, known, unknown, strict=True)
    ]
