"""What of a model can be made smaller, as its graph alone tells: before any data are seen.

``compress`` calibrates what is found here, and ``inspect`` shows it, so that both say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer, find_linear_consumers
from frivkit.compression.unrefittable import lock_unrefittable, unfitted_readers
from frivkit.graph.model import Model
from frivkit.graph.sites.branches import ResidualBranch, find_branches
from frivkit.graph.sites.groups import PruningGraph, analyze_groups, with_locks
from frivkit.graph.sites.scores import Score, find_scores
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True, eq=False)
class Removable:
    """The parts of a model that a compression may make smaller.

    Attributes:
        pruning_graph: Its groups: which can be removed, and which only together.
        linear_consumers: The nodes that are linear in units, most of which can be refitted.
        scores: The products of its queries and keys.
        branches: The branches of residual blocks.
        unfitted: By the name of a site the first node that reads its units and is no linear
            consumer.
    """

    pruning_graph: PruningGraph
    linear_consumers: tuple[LinearConsumer, ...]
    scores: tuple[Score, ...]
    branches: tuple[ResidualBranch, ...]
    unfitted: Mapping[str, str]


def find_removable(model: Model, site_map: SiteMap, *, refits: bool = True) -> Removable:
    """Return the parts of a model that a compression may make smaller.

    Args:
        model: The model, its shapes complete, as its file is.
        site_map: Its sites.
        refits: Whether weights will be refitted; if not, units that only leave without are free.
    """
    pruning_graph = analyze_groups(model, site_map)
    linear_consumers = find_linear_consumers(model, site_map, pruning_graph)
    scores = find_scores(model, site_map, pruning_graph)
    pruning_graph = lock_unscored(pruning_graph, linear_consumers, scores)
    unfitted = unfitted_readers(model, site_map, linear_consumers, pruning_graph.groups)
    if refits:
        pruning_graph = lock_unrefittable(model, site_map, pruning_graph, linear_consumers)
    branches = find_branches(model, site_map)
    return Removable(pruning_graph, linear_consumers, tuple(scores), branches, unfitted)


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
