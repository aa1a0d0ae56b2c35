"""Groups that cannot be removed because what they cost is not known, or cannot be made up for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer, find_linear_consumers
from frivkit.compression.unrefittable import lock_unrefittable
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import Groups, PruningGraph, analyze_groups, with_locks
from frivkit.graph.sites.scores import Score, find_scores
from frivkit.graph.sites.site_map import SiteMap


def lock_unscored(
    pruning_graph: PruningGraph,
    linear_consumers: Sequence[LinearConsumer],
    scores: Sequence[Score],
) -> PruningGraph:
    """Lock dimensions of queries and keys whose effect on anything is not known."""
    known = [each.group_ids for each in linear_consumers]
    known += [groups for each in scores for groups in (each.query.groups, each.key.groups)]
    read = set(np.concatenate([np.zeros(0, np.intp), *(ids.ravel() for ids in known)]).tolist())
    locked = {
        group: "its scores are not read: no Softmax is known behind them, or keys are broadcast"
        for heads in pruning_graph.groups.heads
        for group in heads.groups.tolist()
        if group not in read
    }
    groups = pruning_graph.groups
    return replace(pruning_graph, groups=with_locks(groups, locked)) if locked else pruning_graph


def removable_groups(model: Model, site_map: SiteMap) -> Groups:
    """Return the groups of a model, locked if ``compress`` cannot remove them by its defaults.

    Args:
        model: The model, its shapes complete, as its file is.
        site_map: Its sites.
    """
    pruning_graph = analyze_groups(model, site_map)
    linear_consumers = find_linear_consumers(model, site_map, pruning_graph)
    pruning_graph = lock_unrefittable(model, site_map, pruning_graph, linear_consumers)
    scores = find_scores(model, site_map, pruning_graph)
    return lock_unscored(pruning_graph, linear_consumers, scores).groups
