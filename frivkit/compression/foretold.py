"""What ``compress`` can do to a model, foretold from its graph alone, and why not more.

The same functions decide here and in a compression: which units are locked, which widths a layer
may have, which nodes a factorization makes cheaper, which branches can be left out.  Only data can
tell more: a sum that never changes has no branch that is worth dropping.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.constraints import Constraints, Widths
from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.linear_consumers import LinearConsumer, distinct_sources
from frivkit.compression.locks import Removable, find_removable
from frivkit.compression.low_rank import FactorKind
from frivkit.compression.moves import TOO_LARGE, useful_rank
from frivkit.compression.patch_moments import by_channel
from frivkit.compression.ranking import Ranking, build_ranking
from frivkit.compression.steps import unit_steps
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.batch_first import as_in_file
from frivkit.graph.sites.branches import ResidualBranch
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from frivkit.units.elimination import RIDGE

NO_WIDTH = "its kernels are slower at every smaller width (--round-to none)"
LAST_ONE = "a unit of it must stay"


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a compression can do to a model.

    Attributes:
        held: By the name of a layer the reason why none of its units can be removed, None if one
            can.
        cut_only: The layers among these of which units can be removed with ``--refit none``.
        branches: The residual branches that can be dropped.
        whole: By the label of each node that is linear in units the reason why it cannot be
            factorized, None if it can.
    """

    held: Mapping[str, str | None]
    cut_only: frozenset[str]
    branches: tuple[ResidualBranch, ...]
    whole: Mapping[str, str | None]


def foretell(model: Model, site_map: SiteMap, output: str | None, memory: int) -> Foretold:
    """Return what a compression with its default options can do to a model.

    Args:
        model: The model, as it was inspected; one whose examples were moved to the first axis, too.
        site_map: Its sites, among which some may be joined.
        output: The output that layers must lead to; None takes any.
        memory: Bytes that activations may take.
    """
    if model.changes:
        reason = f"{model.path.name}: {model.changes[0]}, so no smaller file is made of it"
        return Foretold({site.layer: reason for site in site_map.sites}, frozenset(), (), {})
    in_file = as_in_file(model)
    own = find_sites(in_file, output, any_batch_axis=True, every_output=True)
    found = _foretell_file(in_file, own, memory)
    held = {site.layer: _held(site, found.held, own) for site in site_map.sites}
    return replace(found, held=held, cut_only=found.cut_only.intersection(held))


def _held(site: Site, held: Mapping[str, str | None], own: SiteMap) -> str | None:
    """Return why no unit of a site can be removed; it may be joined of sites that have units."""
    if site.layer in held:
        return held[site.layer]
    layers = {each.name: each.layer for each in own.sites}
    reasons = [held[layers[name]] for name, _ in own.layouts.get(site.name, ()) if name in layers]
    if not reasons:
        return "examples lie behind other axes in the file, where a refit does not find them"
    return None if None in reasons else reasons[0]


def _foretell_file(model: Model, site_map: SiteMap, memory: int) -> Foretold:
    """Return the same of a model as its file is, and of its own sites."""
    found = find_removable(model, site_map)
    held = held_layers(model, site_map, found.pruning_graph, Constraints())
    without = found.pruning_graph
    if any(held.values()):
        without = find_removable(model, site_map, refits=False).pruning_graph
    cut = held_layers(model, site_map, without, Constraints())
    return Foretold(
        held,
        frozenset(layer for layer, reason in cut.items() if reason is None and held[layer]),
        found.branches,
        _whole_nodes(model, found, memory),
    )


def held_layers(
    model: Model, site_map: SiteMap, pruning_graph: PruningGraph, constraints: Constraints
) -> dict[str, str | None]:
    """Return by the name of a layer why none of its units can be removed, None if one can.

    Args:
        model: The model, its shapes complete.
        site_map: Its sites.
        pruning_graph: Its groups, with those locked that cannot be removed.
        constraints: What plans must keep to.
    """
    groups = pruning_graph.groups
    layers = {site.name: site.layer for site in site_map.sites}
    held = {site.layer: groups.reason(site.name) for site in site_map.sites}
    coarse = Widths(model, pruning_graph, constraints)
    every = [coarse]
    if coarse.target is not None:  # small budgets take finer ones
        every.append(Widths(model, pruning_graph, constraints, fine=True))
    for ranking in cut_rankings(site_map, pruning_graph):
        sites = ranking.sites
        steps = [unit_steps(groups, site_map, ranking, constraints, widths) for widths in every]
        if any(each.counts[-1] > 0 for each in steps):
            continue
        kept_whole = [layers[site] for site in sites if constraints.keeps_whole(layers[site])]
        reason = LAST_ONE if len(steps[0].order) == 0 else NO_WIDTH
        if kept_whole:
            reason = f"{kept_whole[0]} is left whole (--keep-layer)"
        held |= {layers[site]: held[layers[site]] or reason for site in sites}
    return held


def cut_rankings(site_map: SiteMap, pruning_graph: PruningGraph) -> tuple[Ranking, ...]:
    """Return some ranking of each layer group of which a unit can be removed, without errors.

    Args:
        site_map: The sites of a model.
        pruning_graph: Its groups.
    """
    groups = pruning_graph.groups
    layers = {site.name: site.layer for site in site_map.sites}
    rankings = []
    for sites in groups.layer_groups:
        members = np.unique(np.concatenate([groups.of[site] for site in sites]))
        members = members[groups.free[members]]
        if members.size:
            unread = _unread(sites, layers, pruning_graph, members)
            rankings.append(build_ranking(unread, np.arange(members.size)))
    return tuple(rankings)


def _unread(
    sites: tuple[str, ...],
    layers: Mapping[str, str],
    pruning_graph: PruningGraph,
    members: NDArray[np.intp],
) -> LayerGroup:
    """Return a layer group of which nothing is known but its units: every order costs nothing."""
    groups = pruning_graph.groups
    return LayerGroup(
        sites,
        tuple(layers[site] for site in sites),
        members,
        {site: groups.of[site] for site in sites},
        (),
        np.zeros(len(members)),
        RIDGE,
        tuple(each for each in groups.heads if np.isin(each.groups, members).any()),
    )


def _whole_nodes(model: Model, found: Removable, memory: int) -> dict[str, str | None]:
    """Return by its label why each linear node cannot be factorized, None if it can."""
    nodes = {node_label(node): node for node in model.graph}
    operators = operators_of(model)
    large = by_channel(distinct_sources(found.linear_consumers), memory)

    def reason(linear_consumer: LinearConsumer) -> str | None:
        node = nodes[linear_consumer.consumer.node]
        kinds = get_args(FactorKind)
        ranks = [useful_rank(linear_consumer, kind, node, operators) for kind in kinds]
        if all(isinstance(rank, str) for rank in ranks):
            return str(ranks[0])
        return TOO_LARGE if large[linear_consumer.source] else None

    return {each.consumer.node: reason(each) for each in found.linear_consumers}
