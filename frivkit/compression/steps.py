"""Steps: what a plan may choose from, the moves of a basis within the constraints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints, Widths
from frivkit.compression.moves import BranchMove, Moves, RankMoves
from frivkit.compression.plan import Factorization, Resource
from frivkit.compression.ranking import Ranking
from frivkit.graph.sites.groups import Groups
from frivkit.graph.sites.site_map import SiteMap
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class UnitSteps:
    """The widths that one layer group may have.

    Attributes:
        sites: Its sites.
        order: Its groups, the first to be removed first, without those that must stay.
        members: The number of its groups.
        counts: How many of them are removed at each step, rising, shape (steps,).
        errors: The predicted error at each step, shape (steps,).
    """

    sites: tuple[str, ...]
    order: NDArray[np.intp]
    members: int
    counts: NDArray[np.intp]
    errors: Float64Array

    @property
    def sizes(self) -> NDArray[np.float64]:
        """What is left at each step, comparable among its steps."""
        return (self.members - self.counts).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class RankSteps:
    """The ways in which one node may be factorized.

    Attributes:
        node: Its label.
        options: The factorizations; the first entry, None, leaves it whole.
        errors: The predicted error of each, shape (steps,).
        per_rank: For each what its two parts cost for each rank, by the resource, shape (steps, 2).
        sites: The sites whose units it reads.
    """

    node: str
    options: tuple[Factorization | None, ...]
    errors: Float64Array
    per_rank: Mapping[Resource, Float64Array]
    sites: tuple[str, ...]

    @property
    def ranks(self) -> NDArray[np.intp]:
        """The rank of each step, 0 for the whole node."""
        return np.array([0 if each is None else each.rank for each in self.options], np.intp)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """What is left at each step, comparable among its steps."""
        whole = np.inf  # every rank that is offered saves something
        costs = self.ranks * self.per_rank["macs"].sum(axis=1)
        return np.where(self.ranks > 0, costs, whole)


@dataclass(frozen=True, slots=True, eq=False)
class BranchSteps:
    """A residual block with its branch, and without it.

    Attributes:
        move: The removal of the branch.
        inside: The steps that mean nothing without it, by their numbers.
        sites: None: a branch reads no units of its own.
    """

    move: BranchMove
    inside: frozenset[int]
    sites: tuple[str, ...] = ()

    @property
    def errors(self) -> Float64Array:
        """The predicted error with the branch and without it."""
        return np.array([0.0, self.move.error])

    @property
    def sizes(self) -> NDArray[np.float64]:
        """What is left at each step, comparable among its steps."""
        return np.array([1.0, 0.0])


Steps = UnitSteps | RankSteps | BranchSteps


def active(steps: Sequence[Steps], state: Sequence[int]) -> list[int]:
    """Return the numbers of the steps that mean something: none inside a dropped branch."""
    dropped = [
        step.inside
        for step, at in zip(steps, state, strict=True)
        if isinstance(step, BranchSteps) and at
    ]
    return [i for i in range(len(steps)) if not any(i in inside for inside in dropped)]


def predicted_error(steps: Sequence[Steps], state: Sequence[int]) -> float:
    """Return the predicted error of a state, summed over the steps that mean something."""
    return sum(float(steps[i].errors[state[i]]) for i in active(steps, state))


def find_steps(
    calibration: Calibration, moves: Moves, constraints: Constraints, widths: Widths
) -> Iterator[Steps]:
    """Yield the steps of each move that the constraints leave; those of branches come last."""
    producers = {site.name: site.producers for site in calibration.site_map.sites}
    nodes_of: list[set[str]] = []
    for ranking in moves.units:
        groups = calibration.pruning_graph.groups
        yield unit_steps(groups, calibration.site_map, ranking, constraints, widths)
        nodes_of.append({node for site in ranking.sites for node in producers[site]})
    produced = {node: site.layer for site in calibration.site_map.sites for node in site.producers}
    by_node: dict[str, list[RankMoves]] = {}
    for each in moves.ranks:
        node = each.linear_consumer.consumer.node
        if not constraints.keeps_whole(produced.get(node, node)):
            by_node.setdefault(node, []).append(each)
    for node, several in by_node.items():
        yield _rank_steps(node, several, widths)
        nodes_of.append({node})
    for move in moves.branches:
        inside = {produced[node] for node in move.branch.nodes if node in produced}
        if not any(map(constraints.keeps_whole, inside)) and not any(
            constraints.share_of(layer) is not None for layer in inside
        ):
            nodes = set(move.branch.nodes)
            number = len(nodes_of)
            within = {i for i, own in enumerate(nodes_of) if own and own <= nodes}
            yield BranchSteps(move, frozenset(within - {number}))
            nodes_of.append(nodes)


def unit_steps(
    groups: Groups,
    site_map: SiteMap,
    ranking: Ranking,
    constraints: Constraints,
    widths: Widths,
) -> UnitSteps:
    """Return the steps of one layer group; a single one, that removes nothing, if it stays whole.

    Args:
        groups: The pruning groups of the model.
        site_map: Its sites.
        ranking: The order in which the groups of the layer group are removed.
        constraints: What plans must keep to.
        widths: The widths that layers may have.
    """
    layers = [site.layer for site in site_map.sites if site.name in ranking.sites]
    order, errors = _removable(groups, ranking, constraints.least)
    members = len(np.unique(np.concatenate([groups.of[site] for site in ranking.sites])))
    counts = np.unique(members - widths.counts(ranking.sites))
    counts = counts[(counts >= 0) & (counts <= len(order))]
    if ranking.counts is not None:
        counts = np.intersect1d(counts, np.append(ranking.counts, 0))
    shares = [s for s in map(constraints.share_of, layers) if s is not None]
    if any(map(constraints.keeps_whole, layers)):
        counts = counts[:1]
    elif shares:
        wanted = members - max(1, round(max(shares) * members))
        counts = counts[counts <= wanted][-1:]
    curve = np.concatenate([[0.0], errors])[counts]
    return UnitSteps(ranking.sites, order, members, counts, curve)


def _removable(
    groups: Groups, ranking: Ranking, least: int
) -> tuple[NDArray[np.intp], Float64Array]:
    """Return the groups of a ranking that can all be removed, in order, and the errors.

    Every site, and every part into which units are split, keeps at least one unit.
    """
    mine = set(ranking.order.tolist())
    rows = [*(groups.of[site] for site in ranking.sites), *groups.rows]
    rows = [row for row in rows if mine.intersection(row.tolist())]
    allowed = [max(1, min(least, len(row))) for row in rows]
    sizes = [len(row) for row in rows]
    where: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        for group in row.tolist():
            where.setdefault(group, []).append(number)
    order, errors, error, before = [], [], 0.0, 0.0
    for group, after in zip(ranking.order.tolist(), ranking.errors.tolist(), strict=True):
        lost = dict.fromkeys(where[group], 0)
        for number in where[group]:
            lost[number] += 1
        if all(sizes[number] - count >= allowed[number] for number, count in lost.items()):
            for number, count in lost.items():
                sizes[number] -= count
            error += max(after - before, 0.0)
            order.append(group)
            errors.append(error)
        elif ranking.counts is not None:
            break  # its steps are counted in groups, none of which can be left out
        before = after
    return np.array(order, np.intp), np.array(errors)


def _rank_steps(node: str, several: Sequence[RankMoves], widths: Widths) -> RankSteps:
    """Return the factorizations of one node, of all kinds."""
    options: list[Factorization | None] = [None]
    errors, macs, params = [0.0], [(0.0, 0.0)], [(0.0, 0.0)]
    for moves in several:
        convolves = moves.linear_consumer.source.geometry is not None
        for rank, error, own in zip(
            moves.ranks.tolist(), moves.errors.tolist(), moves.own_errors, strict=True
        ):
            if widths.allows_rank(rank, convolves=convolves):
                options.append(Factorization(moves.kind, rank, own))
                errors.append(error)
                macs.append(moves.macs)
                params.append(moves.params)
    per_rank: dict[Resource, Float64Array] = {
        "macs": np.array(macs),
        "params": np.array(params),
        "units": np.zeros((len(options), 2)),
    }
    sites = several[0].linear_consumer.consumer.sites
    return RankSteps(node, tuple(options), np.array(errors), per_rank, sites)
