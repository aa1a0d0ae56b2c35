"""The error curves of removals without a refit: consumers lose what the removed units gave them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.ranking import Ranking
from frivkit.units.moments import Float64Array


def cutting(allocator: Allocator) -> Allocator:
    """Return the allocator whose errors of lost units are those without a refit."""
    units = cut_error_curves(allocator.calibration, allocator.moves.units)
    moves = replace(allocator.moves, units=units)
    return Allocator(allocator.calibration, moves, constraints=allocator.constraints)


def cut_error_curves(calibration: Calibration, rankings: Sequence[Ranking]) -> tuple[Ranking, ...]:
    """Return the rankings with the errors of removals after which all weights stay as they are.

    A ranking keeps its errors, which are those of refits, if the moments of a consumer are per
    channel: they do not tell how the positions of a patch vary together.
    """
    return tuple(_cut(calibration, ranking) for ranking in rankings)


def _cut(calibration: Calibration, ranking: Ranking) -> Ranking:
    removal = np.full(calibration.pruning_graph.groups.count + 1, -1)
    removal[ranking.order] = np.arange(len(ranking.order))
    removal[-1] = -1  # NO_GROUP
    errors = np.zeros(len(ranking.order))
    for linear_consumer in calibration.linear_consumers:
        removed_at = removal[linear_consumer.group_ids]
        variance = calibration.variance(linear_consumer.error_tensor)
        if variance <= 0 or not (removed_at >= 0).any():
            continue
        if calibration.patch_moments[linear_consumer.source].per_channel:
            return ranking
        order = np.argsort(removed_at, kind="stable")[np.count_nonzero(removed_at < 0) :]
        added = _added_errors(calibration, linear_consumer, order)
        np.add.at(errors, removed_at[order], added / variance)
    if ranking.logits is not None:
        return replace(ranking, errors=np.maximum.accumulate(errors.cumsum() + ranking.logits))
    return replace(ranking, errors=np.maximum.accumulate(errors.cumsum()))


def _added_errors(
    calibration: Calibration, linear_consumer: LinearConsumer, order: NDArray[np.intp]
) -> Float64Array:
    """Return what each removed column adds to the squared error of the outputs.

    The error without columns R is the sum over R × R of second moments times products of weights.

    Args:
        calibration: The model and its statistics.
        linear_consumer: The consumer.
        order: The columns that are removed, the first one first, shape (removed,).
    """
    whole = calibration.patch_moments[linear_consumer.source].whole
    at = np.ix_(order, order)
    second = whole.covariance[at] + np.outer(whole.mean[order], whole.mean[order])
    weights = (linear_consumer.matrix * linear_consumer.output_scale)[order]
    second *= weights @ weights.T
    diagonal = second.diagonal()
    added: Float64Array = 2 * np.tril(second).sum(axis=1) - diagonal
    return added
