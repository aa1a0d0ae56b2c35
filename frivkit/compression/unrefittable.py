"""Units that cannot leave because what reads them cannot be refitted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.graph.layout import attribute
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.sites.groups import Groups, PruningGraph, with_locks
from frivkit.graph.sites.products import factors_of
from frivkit.graph.sites.site_map import SiteMap


def unfitted_readers(
    model: Model,
    site_map: SiteMap,
    linear_consumers: Sequence[LinearConsumer],
    groups: Groups,
) -> dict[str, str]:
    """Return by the name of a site the first node that reads its units and is no linear consumer.

    Grouped convolutions are left out: their inputs are removed with their outputs.  So are products
    of queries and keys, whose logits are refitted.

    Args:
        model: The model.
        site_map: Its sites.
        linear_consumers: Its linear consumers.
        groups: Its pruning groups.
    """
    linear = {each.consumer.node for each in linear_consumers}
    grouped = {
        node_label(node)
        for node in model.graph
        if node.op_type in ("Conv", "ConvTranspose") and attribute(node, "group", 1) > 1
    }
    products = {node_label(node) for node in model.graph if factors_of(node)}
    in_heads = {int(group) for each in groups.heads for group in each.groups}
    others = {}
    for site in site_map.sites:
        known = linear | grouped
        if not in_heads.isdisjoint(groups.of[site.name].tolist()):
            known = known | products
        others[site.name] = [label for label in site.consumers if label not in known]
    return {name: labels[0] for name, labels in others.items() if labels}


def lock_unrefittable(
    model: Model,
    site_map: SiteMap,
    pruning_graph: PruningGraph,
    linear_consumers: Sequence[LinearConsumer],
) -> PruningGraph:
    """Lock the groups whose units are read by a node that cannot be refitted, with that reason.

    Args:
        model: The model.
        site_map: Its sites.
        pruning_graph: Its groups.
        linear_consumers: Its linear consumers.
    """
    unfit = {each.consumer.node: each.kept_as_is for each in linear_consumers if each.kept_as_is}
    groups = pruning_graph.groups
    others = unfitted_readers(model, site_map, linear_consumers, groups)
    locked: dict[int, str] = {}
    for site in site_map.sites:
        reader = others.get(site.name) or next((n for n in site.consumers if n in unfit), None)
        if reader is not None:
            reason = unfit.get(reader, "its reader cannot be refitted, only cut (--refit none)")
            for group in np.unique(groups.of[site.name]).tolist():
                locked.setdefault(group, f"{reader}: {reason}")
    return replace(pruning_graph, groups=with_locks(groups, locked))
