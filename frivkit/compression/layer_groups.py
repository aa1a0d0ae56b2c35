"""Bundles: the layers whose units leave together, and all that a ranking may look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import ConsumerInput, LinearConsumer, slots_of
from frivkit.compression.patch_moments import PatchMoments
from frivkit.graph.layout import NO_GROUP, attribute, shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.sites.consumers import LINEAR_CONSUMERS
from frivkit.graph.sites.groups import PruningGraph
from frivkit.units.elimination import RIDGE, Term
from frivkit.units.moments import Float64Array

LEAN = 4e-3
"""Ridge of the ranking for as many units as rows, as a share of the mean variance of a unit.

With many units and few rows others seem to explain a unit that they know nothing of.
"""


@dataclass(frozen=True, slots=True, eq=False)
class LayerGroup:
    """Layers whose units can only leave together.

    Attributes:
        sites: Their sites, by name.
        layers: Their names, as a user knows them.
        groups: The groups of units that can leave, numbered over the whole model, shape (groups,).
        members: The groups of each site that can leave or not, by the site's name.
        terms: What reads them, groups being numbered by their place in ``groups``.  Errors of a
            term are shares of the variance of what its outputs meet.
        written: The sum of squares of the weights that write each group, shape (groups,).
        ridge: Share of the mean variance of a term's units that is added to each, so that others
            do not seem to explain what they know nothing of.
    """

    sites: tuple[str, ...]
    layers: tuple[str, ...]
    groups: NDArray[np.intp]
    members: Mapping[str, NDArray[np.intp]]
    terms: tuple[Term, ...]
    written: Float64Array
    ridge: float

    @property
    def covariance(self) -> Float64Array:
        """The covariance of groups, summed over what reads them after each is scaled alike."""
        count = len(self.groups)
        total = np.zeros((count, count))
        for term in self.terms:
            free = term.groups != NO_GROUP
            where, inner = term.groups[free], term.covariance[np.ix_(free, free)]
            trace = float(inner.diagonal().sum())
            if trace > 0:
                np.add.at(total, (where[:, np.newaxis], where), inner / trace)
        return total


def find_layer_groups(
    model: Model,
    layers: Mapping[str, str],
    pruning_graph: PruningGraph,
    *,
    linear_consumers: Sequence[LinearConsumer],
    patch_moments: Mapping[ConsumerInput, PatchMoments],
    variances: Mapping[str, float],
) -> tuple[LayerGroup, ...]:
    """Return every bundle of which a unit can leave.

    Each place of a patch counts alike, so the moments of units are those over all places that the
    readers see: unlike those of whole patches they are known well from few examples.

    Args:
        model: The model.
        layers: The layer of each site, by the site's name.
        pruning_graph: What can leave, and what only together.
        linear_consumers: What reads units.
        patch_moments: The moments of their rows.
        variances: The variance of what their outputs meet, by the tensor's name.
    """
    groups = pruning_graph.groups
    units = {
        id(linear_consumer): _units(linear_consumer, patch_moments[linear_consumer.source])
        for linear_consumer in linear_consumers
    }
    written = _written(model, pruning_graph)
    found = []
    for sites in groups.layer_groups:
        members = np.unique(np.concatenate([groups.of[site] for site in sites]))
        members = members[groups.free[members]]
        if not members.size:
            continue
        local = np.full(groups.count + 1, NO_GROUP, np.intp)  # the last stands for NO_GROUP
        local[members] = np.arange(members.size)
        terms, ridge = [], RIDGE
        for linear_consumer in linear_consumers:
            group_ids, covariance, readers = units[id(linear_consumer)]
            mine = local[group_ids]
            if (mine != NO_GROUP).any():
                variance = variances.get(linear_consumer.error_tensor, 0.0)
                weight = 1 / variance if variance > 0 else 0.0
                terms.append(Term(covariance, readers, mine, weight))
                rows = patch_moments[linear_consumer.source].whole.count
                ridge = max(ridge, LEAN * len(group_ids) / rows)
        found.append(
            LayerGroup(
                tuple(sites),
                tuple(layers[site] for site in sites),
                members,
                {site: groups.of[site] for site in sites},
                tuple(terms),
                written[members],
                ridge,
            )
        )
    return tuple(found)


def _units(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments
) -> tuple[NDArray[np.intp], Float64Array, Float64Array]:
    """Return the group of each unit, the covariance of units, and what outputs make of them.

    The covariance is the mean over the columns of a unit.  The readers are a root of the matrix of
    inner products of weights, which has the same errors and no more columns than units.
    """
    group_ids, columns = slots_of(linear_consumer)
    whole = patch_moments.whole.covariance
    weights = linear_consumer.matrix * linear_consumer.output_scale
    taps = columns.shape[1]
    covariance = np.zeros((len(group_ids), len(group_ids)))
    products = np.zeros_like(covariance)
    for tap in columns.T:
        rows = tap // linear_consumer.source.spread if patch_moments.per_channel else tap
        covariance += whole[np.ix_(rows, rows)] / taps
        products += weights[tap] @ weights[tap].T
    values, vectors = np.linalg.eigh(products)
    return group_ids, covariance, vectors * np.sqrt(np.maximum(values, 0.0))


def _written(model: Model, pruning_graph: PruningGraph) -> Float64Array:
    """Return the sum of squares of the weights that write each group, shape (groups,)."""
    total = np.zeros(pruning_graph.groups.count)
    for node in model.graph:
        weight = constant_tensor(node.inputs[1]) if node.op_type in LINEAR_CONSUMERS else None
        if weight is None:
            continue
        squares = weight.numpy().astype(np.float64) ** 2
        if node.op_type == "ConvTranspose":
            grouped = attribute(node, "group", 1)
            apart = squares.reshape(grouped, -1, *squares.shape[1:])
            by_output = apart.sum(axis=(1, *range(3, apart.ndim))).reshape(-1)
        else:
            first = node.op_type == "Conv" or attribute(node, "transB", 0)
            axis = 0 if first else squares.ndim - 1
            by_output = squares.sum(axis=tuple(i for i in range(squares.ndim) if i != axis))
        rank = len(shape_of(node.outputs[0]) or (0, 0))
        at = pruning_graph.assignment.at(node.outputs[0]).get(
            1 if "Conv" in node.op_type else rank - 1
        )
        if at is not None and len(at) == len(by_output):
            np.add.at(total, at[at != NO_GROUP], by_output[at != NO_GROUP])
    return total
