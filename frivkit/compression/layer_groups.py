"""Layer groups: layers whose units are removed together, and the statistics for their ranking."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.group_terms import GroupTerms
from frivkit.compression.linear_consumers import (
    ConsumerInput,
    LinearConsumer,
    columns_by_unit,
)
from frivkit.compression.packed_moments import mean_covariance
from frivkit.compression.patch_moments import PatchMoments
from frivkit.compression.score_moments import ScoreMoments
from frivkit.graph.layout import NO_GROUP, attribute, shape_of
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.evaluate import constant_array
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.heads import Heads
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS
from frivkit.units.elimination import RIDGE, Term
from frivkit.units.moments import Float64Array

SCARCITY_RIDGE = 4e-3
"""Ridge of a ranking with as many units as rows, as a share of the mean variance of a unit.

With many units and few rows, units seem to explain others with which they have nothing in common.
"""


@dataclass(frozen=True, slots=True, eq=False)
class LayerGroup:
    """Layers whose units can only be removed together.

    Attributes:
        sites: Their sites, by name.
        layers: The names of their layers.
        groups: The pruning groups that can be removed, numbered over the whole model, shape
            (groups,).
        members: The pruning group of each unit of a site, removable or not, by the site's name.
        terms: Their consumers, whose groups are indices into ``groups``.  Errors of a term are
            shares of the variance of its error tensor.
        written: The sum of squares of the weights that produce each group, shape (groups,).
        ridge: Share of the mean variance of a term's units that is added to each variance, so that
            few examples do not make units seem to explain each other.
        heads: The heads that their units are, with the groups of the whole model.
        scores: The products of their queries and keys.
    """

    sites: tuple[str, ...]
    layers: tuple[str, ...]
    groups: NDArray[np.intp]
    members: Mapping[str, NDArray[np.intp]]
    terms: Sequence[Term]
    written: Float64Array
    ridge: float
    heads: tuple[Heads, ...] = ()
    scores: tuple[ScoreMoments, ...] = ()

    @property
    def covariance(self) -> Float64Array:
        """The covariance of groups, shape (groups, groups): a sum over equally scaled consumers."""
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
    scores: Sequence[ScoreMoments] = (),
    unfitted: Collection[str] = (),
) -> tuple[LayerGroup, ...]:
    """Return every layer group of which a unit can be removed.

    All positions of a patch count alike, so the moments of units are those over all positions that
    the consumers read; unlike those of whole patches, few examples suffice to estimate them.

    Args:
        model: The model.
        layers: The layer of each site, by the site's name.
        pruning_graph: Which groups can be removed, and which only together.
        linear_consumers: The consumers of units.
        patch_moments: The moments of their inputs.
        scores: The moments of products of queries and keys.
        unfitted: Sites whose units are read by nodes of which no error is known.  It is taken to
            be the unit's share of the squares of the weights that produce the site.
    """
    groups = pruning_graph.groups
    linear_consumers = [
        linear_consumer
        for linear_consumer in linear_consumers
        if (linear_consumer.group_ids != NO_GROUP).any()
    ]
    units = _ReadUnits(patch_moments)
    written = _written(model, pruning_graph)
    members_of = {sites: _free_members(sites, pruning_graph) for sites in groups.layer_groups}
    owner = np.full(groups.count + 1, NO_GROUP, np.intp)  # the last stands for NO_GROUP
    for number, members in enumerate(members_of.values()):
        owner[members] = number
    for linear_consumer in linear_consumers:
        owners = np.unique(owner[linear_consumer.group_ids])
        if (owners != NO_GROUP).sum() > 1:  # made once, since several layer groups use it
            units.keep(linear_consumer)
    layer_groups = []
    for sites in groups.layer_groups:
        members = members_of[sites]
        if not members.size:
            continue
        index = np.full(groups.count + 1, NO_GROUP, np.intp)  # the last stands for NO_GROUP
        index[members] = np.arange(members.size)
        consumers, ridge = [], RIDGE
        for linear_consumer in linear_consumers:
            group_ids, _ = columns_by_unit(linear_consumer)
            if (index[group_ids] != NO_GROUP).any():
                consumers.append(linear_consumer)
                rows = patch_moments[linear_consumer.source].count
                ridge = max(ridge, SCARCITY_RIDGE * len(group_ids) / rows)
        others = [_written_term(groups.of[s], index, written) for s in sites if s in unfitted]
        layer_groups.append(
            LayerGroup(
                tuple(sites),
                tuple(layers[site] for site in sites),
                members,
                {site: groups.of[site] for site in sites},
                GroupTerms(partial(_terms, consumers, units, index, others)),
                written[members],
                ridge,
                tuple(each for each in groups.heads if np.isin(each.groups, members).any()),
                tuple(each for each in scores if np.isin(each.score.query.groups, members).any()),
            )
        )
    return tuple(layer_groups)


def _free_members(sites: Sequence[str], pruning_graph: PruningGraph) -> NDArray[np.intp]:
    """Return the pruning groups of sites that can be removed."""
    groups = pruning_graph.groups
    members: NDArray[np.intp] = np.unique(np.concatenate([groups.of[site] for site in sites]))
    free: NDArray[np.intp] = members[groups.free[members]]
    return free


class _ReadUnits:
    """What :func:`_units` returns for each consumer, made when it is used or kept.

    Args:
        patch_moments: The moments of the inputs of consumers.
    """

    def __init__(self, patch_moments: Mapping[ConsumerInput, PatchMoments]) -> None:
        self._patch_moments = patch_moments
        self._kept: dict[int, tuple[NDArray[np.intp], Float64Array, Float64Array]] = {}

    def keep(self, linear_consumer: LinearConsumer) -> None:
        """Make what a consumer reads, and keep it."""
        self._kept[id(linear_consumer)] = self.of(linear_consumer)

    def of(
        self, linear_consumer: LinearConsumer
    ) -> tuple[NDArray[np.intp], Float64Array, Float64Array]:
        """Return what a consumer reads."""
        kept = self._kept.get(id(linear_consumer))
        moments = self._patch_moments[linear_consumer.source]
        return _units(linear_consumer, moments) if kept is None else kept


def _terms(
    consumers: Sequence[LinearConsumer],
    units: _ReadUnits,
    index: NDArray[np.intp],
    others: Sequence[Term],
) -> tuple[Term, ...]:
    """Return the terms of a layer group.

    Args:
        consumers: The consumers of its units.
        units: What they read.
        index: The number of each group among those of the layer group, shape (groups + 1,).
        others: The terms of consumers of which no error is known.
    """
    terms = []
    for linear_consumer in consumers:
        group_ids, covariance, weights = units.of(linear_consumer)
        terms.append(Term(covariance, weights, index[group_ids]))
    return (*terms, *others)


def _written_term(
    members: NDArray[np.intp], index: NDArray[np.intp], written: Float64Array
) -> Term:
    """Return the term of a reader of which no error is known.

    Args:
        members: The groups of the units of a site, shape (units,).
        index: The number of each group among those of its layer group, shape (groups + 1,).
        written: The sum of squares of the weights that produce each group, shape (groups,).
    """
    groups = np.unique(members)
    total = float(written[groups].sum())
    shares = written[groups] / total if total > 0 else np.full(len(groups), 1 / len(groups))
    return Term(np.diag(shares), None, index[groups])


def _units(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments
) -> tuple[NDArray[np.intp], Float64Array, Float64Array]:
    """Return the group of each unit, the covariance of units, and the weights on them.

    The covariance is the mean over the columns of a unit.  The weights are those of all columns of
    a unit side by side; where these are more than units, a square root of the matrix of their inner
    products, which gives the same errors with one column for each unit.

    Returns:
        Arrays of shapes (units,), (units, units) and (units, at most units).
    """
    group_ids, columns = columns_by_unit(linear_consumer)
    size = linear_consumer.source.unit_columns if patch_moments.per_channel else 1
    covariance = mean_covariance(patch_moments.parts, columns // size)
    weights = (linear_consumer.matrix * linear_consumer.error_scale)[columns]
    beside = weights.reshape(len(group_ids), -1)
    if beside.shape[1] > len(group_ids):
        beside = _root(beside @ beside.T)
    return group_ids, covariance, beside


def _root(products: Float64Array) -> Float64Array:
    """Return a square root of a matrix of inner products, shape as the matrix."""
    root: Float64Array
    try:
        root = np.linalg.cholesky(products).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:  # some rows depend on others
        values, vectors = np.linalg.eigh(products)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _written(model: Model, pruning_graph: PruningGraph) -> Float64Array:
    """Return the sum of squares of the weights that produce each group, shape (groups,)."""
    total = np.zeros(pruning_graph.groups.count)
    opset = model.ir.opset_imports.get("", 1)
    for node in model.graph:
        linear = node.op_type in LINEAR_CONSUMERS and len(node.inputs) > 1
        weight = constant_array(node.inputs[1], opset) if linear else None
        if weight is None:
            continue
        squares = weight.astype(np.float64) ** 2
        if node.op_type == "ConvTranspose":
            channel_groups = attribute(node, "group", 1)
            split = squares.reshape(channel_groups, -1, *squares.shape[1:])
            by_output = split.sum(axis=(1, *range(3, split.ndim))).reshape(-1)
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
