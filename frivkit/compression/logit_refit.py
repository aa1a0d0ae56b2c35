"""Refit the logits of attention: maps of kept dimensions that go into the weights of queries."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, group_flags
from frivkit.compression.score_moments import ScoreMoments
from frivkit.graph.layout import shape_of
from frivkit.graph.names import node_label
from frivkit.graph.sites.projections import Projection
from frivkit.graph.surgery.map_outputs import OutputMap


def with_logits(calibration: Calibration, plan: Plan) -> Plan:
    """Return a plan whose queries make up for the dimensions that they and their keys lose.

    See :mod:`frivkit.compression.logits` and :mod:`frivkit.compression.turned_logits` for the maps.

    Args:
        calibration: The model and its statistics.
        plan: Which units are kept.
    """
    kept = group_flags(calibration, plan.keep)
    maps: dict[str, OutputMap] = {}
    gone = {node for move in plan.dropped for node in move.branch.nodes}
    for moments in calibration.scores:
        if kept[moments.score.query.groups].all():
            continue
        projection = moments.projection
        if projection is not None and projection.node not in gone:
            made = _map(calibration, moments, projection, kept)
            if made is not None:
                known = maps.get(projection.node)
                maps[projection.node] = made if known is None else known.then(made)
    return replace(plan, maps=maps)


def _map(
    calibration: Calibration,
    moments: ScoreMoments,
    projection: Projection,
    kept: NDArray[np.bool_],
) -> OutputMap | None:
    """Return the map of the outputs of a projection, None if no head changes."""
    node = next(n for n in calibration.model.graph if node_label(n) == projection.node)
    by_axis = calibration.pruning_graph.assignment.at(node.outputs[0])
    rank = len(shape_of(node.outputs[0]) or (0, 0))
    ids = by_axis.get(1 if node.op_type == "Conv" else rank - 1)
    if ids is None:
        return None
    stays = kept[ids]
    place = np.cumsum(stays) - 1  # of each output among those that stay
    matrix, bias = np.eye(int(stays.sum())), np.zeros(int(stays.sum()))
    for head, groups in enumerate(moments.score.query.groups):
        dimensions = kept[groups]
        if dimensions.all() or not dimensions.any():
            continue
        made = moments.heads[head].map(dimensions)
        if made is None:
            continue
        at = place[projection.outputs[head, dimensions]]
        matrix[np.ix_(at, at)] = made[:-1]
        bias[at] = made[-1] / projection.factor
    return OutputMap(matrix, bias)
