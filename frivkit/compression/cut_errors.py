"""The error curves of removals without a refit: consumers lose what the removed units gave them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.moves import Moves
from frivkit.compression.ranking import Ranking
from frivkit.units.moments import Float64Array


def without_refits(calibration: Calibration, moves: Moves) -> Moves:
    """Return moves with the errors of removals after which all weights stay as they are.

    A ranking keeps its errors, which are those of refits, if the moments of a consumer are per
    channel: they do not tell how the positions of a patch vary together.
    """
    return replace(moves, units=tuple(_cut(calibration, each) for each in moves.units))


def _cut(calibration: Calibration, ranking: Ranking) -> Ranking:
    removal = np.full(calibration.pruning_graph.groups.count + 1, -1)
    removal[ranking.order] = np.arange(len(ranking.order))
    removal[-1] = -1  # NO_GROUP
    errors = _unfitted_errors(calibration, ranking, removal)
    for linear_consumer in calibration.linear_consumers:
        removed_at = removal[linear_consumer.group_ids]
        if not linear_consumer.error_scale.any() or not (removed_at >= 0).any():
            continue
        if calibration.patch_moments[linear_consumer.source].per_channel:
            return ranking
        order = np.argsort(removed_at, kind="stable")[np.count_nonzero(removed_at < 0) :]
        added = _added_errors(calibration, linear_consumer, order)
        np.add.at(errors, removed_at[order], added)
    if ranking.logits is not None:
        return replace(ranking, errors=np.maximum.accumulate(errors.cumsum() + ranking.logits))
    return replace(ranking, errors=np.maximum.accumulate(errors.cumsum()))


def _unfitted_errors(
    calibration: Calibration, ranking: Ranking, removal: NDArray[np.intp]
) -> Float64Array:
    """Return what each removal adds to the errors of readers that cannot be refitted anyway.

    Args:
        calibration: The model and its statistics.
        ranking: The ranking.
        removal: The place of each group in its order, shape (groups + 1,).
    """
    errors = np.zeros(len(ranking.order))
    for layer_group in calibration.layer_groups:
        for term in layer_group.terms if layer_group.sites == ranking.sites else ():
            if term.consumer is None:  # its errors are shares of units
                at = removal[layer_group.groups[term.groups]]
                np.add.at(errors, at[at >= 0], term.covariance.diagonal()[at >= 0])
    return errors


def _added_errors(
    calibration: Calibration, linear_consumer: LinearConsumer, order: NDArray[np.intp]
) -> Float64Array:
    """Return what each removed column adds to the squared error, a share of a variance.

    The error without columns R is the sum over R × R of second moments times products of weights.

    Args:
        calibration: The model and its statistics.
        linear_consumer: The consumer.
        order: The columns that are removed, the first one first, shape (removed,).
    """
    whole = calibration.patch_moments[linear_consumer.source].whole
    at = np.ix_(order, order)
    second = whole.covariance[at] + np.outer(whole.mean[order], whole.mean[order])
    weights = (linear_consumer.matrix * linear_consumer.error_scale)[order]
    second *= weights @ weights.T
    diagonal = second.diagonal()
    added: Float64Array = 2 * np.tril(second).sum(axis=1) - diagonal
    return added
