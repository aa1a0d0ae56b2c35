"""Units that cannot leave because what reads them cannot be refitted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer, find_linear_consumers
from frivkit.graph.layout import attribute
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.sites.groups import Groups, PruningGraph, analyze_groups
from frivkit.graph.sites.site_map import SiteMap


def lock_unrefittable(
    model: Model,
    site_map: SiteMap,
    pruning_graph: PruningGraph,
    linear_consumers: Sequence[LinearConsumer],
    *,
    refits: bool = True,
) -> PruningGraph:
    """Lock the groups whose units are read by a node that cannot be refitted, with that reason.

    Grouped convolutions do not lock a group: their inputs are removed with their outputs.

    Args:
        model: The model.
        site_map: Its sites.
        pruning_graph: Its groups.
        linear_consumers: Its linear consumers.
        refits: Whether weights are refitted.  If not, only nodes whose error is not known lock.
    """
    unfit = {
        each.consumer.node: each.kept_as_is
        for each in linear_consumers
        if refits and each.kept_as_is is not None
    }
    refittable = {each.consumer.node for each in linear_consumers} - unfit.keys()
    grouped = {
        node_label(node)
        for node in model.graph
        if node.op_type in ("Conv", "ConvTranspose") and attribute(node, "group", 1) > 1
    }
    groups = pruning_graph.groups
    locked = dict(groups.locked)
    for site in site_map.sites:
        others = [label for label in site.consumers if label not in refittable | grouped]
        if others:
            reason = unfit.get(others[0]) or "its reader cannot be refitted"
            for group in np.unique(groups.of[site.name]).tolist():
                locked.setdefault(group, f"{others[0]}: {reason}")
    return replace(pruning_graph, groups=replace(groups, locked=locked))


def removable_groups(model: Model, site_map: SiteMap) -> Groups:
    """Return the groups of a model, locked if ``compress`` cannot remove them by its defaults.

    Args:
        model: The model, its shapes complete, as its file is.
        site_map: Its sites.
    """
    pruning_graph = analyze_groups(model, site_map)
    linear_consumers = find_linear_consumers(model, site_map, pruning_graph)
    return lock_unrefittable(model, site_map, pruning_graph, linear_consumers).groups
