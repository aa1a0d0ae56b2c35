"""Error curves held to what refits of whole patches lose on examples they were not fitted to.

A ranking foretells errors from moments of units over all places, which a few examples tell well
but which know nothing of how places go together.  A refit of whole patches does; it is too dear to
be made for every unit that leaves, so it is made at a few points of each curve, and the curve is
bent to go through them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.ranking import Ranking
from frivkit.compression.ridge import tried
from frivkit.units.moments import Float64Array

POINTS = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Foretold errors at which refits are made."""
STRENGTHS = (1e-3, 1e-2, 1e-1)
"""Ridges tried there; the final refit tries more."""
LEAST = 1e-12
"""The least error whose logarithm is taken."""


def calibrate_error_curves(
    calibration: Calibration, rankings: Sequence[Ranking]
) -> tuple[Ranking, ...]:
    """Return the rankings with errors as refits find them.

    Between the points the ratio of found to foretold error goes linearly in logarithms; before the
    first and behind the last it stays.  Readers whose moments are not of whole patches, or of which
    no examples were kept apart, keep the errors that were foretold.
    """
    return tuple(_bent(calibration, ranking) for ranking in rankings)


def _bent(calibration: Calibration, ranking: Ranking) -> Ranking:
    found: dict[float, float] = {}
    for point in POINTS:
        count = int(np.searchsorted(ranking.errors, point, side="right"))
        count = min(max(count, 1), len(ranking.order) - 1)
        foretold = float(ranking.errors[count - 1]) if count > 0 else 0.0
        if foretold <= LEAST or foretold in found:
            continue
        error = _refitted(calibration, ranking, count)
        if error is not None:
            found[foretold] = error
    if not found:
        return ranking
    points, lost = (np.array(each) for each in zip(*sorted(found.items()), strict=True))
    ratio = np.log(np.maximum(lost, LEAST) / points)
    at = np.log(np.maximum(ranking.errors, LEAST))
    errors: Float64Array = ranking.errors * np.exp(np.interp(at, np.log(points), ratio))
    return replace(ranking, errors=np.maximum.accumulate(errors))


def _refitted(calibration: Calibration, ranking: Ranking, count: int) -> float | None:
    """Return what readers lose when the first groups have left, None where no refit can tell."""
    stays = np.ones(calibration.pruning_graph.groups.count + 1, np.bool_)
    stays[ranking.order[:count]] = False
    total, told = 0.0, False
    for linear_consumer in calibration.linear_consumers:
        columns, patch_moments = (
            stays[linear_consumer.group_ids],
            calibration.patch_moments[linear_consumer.source],
        )
        variance = calibration.variances.get(linear_consumer.error_tensor, 0.0)
        if columns.all() or variance <= 0:
            continue
        if patch_moments.per_channel or patch_moments.validation is None:
            return None
        _, lost, _ = tried(linear_consumer, patch_moments, columns, STRENGTHS)
        total += float((lost * linear_consumer.output_scale**2).sum()) / variance
        told = True
    return total if told else None
