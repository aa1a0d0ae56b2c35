"""The order in which dimensions of heads and whole heads are removed, and its error curve.

Each step removes one dimension of every head that is left, of queries and keys or of values, or a
whole head: what costs least for the units that leave.  Values cost what their consumers lose after
a refit, queries and keys what logits lose after theirs, carried through the Softmax in first order
(see ``score_moments``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.block_elimination import BlockElimination
from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.logits import Logits, backward_order
from frivkit.graph.sites.heads import HeadBlock, Heads
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class HeadOrder:
    """An order of removal in steps.

    Attributes:
        order: The pruning groups, the first to be removed first.
        counts: How many groups are removed after each step, shape (steps,).
        errors: The error after each group, shape as ``order``; within a step that of its end.
        logits: The part of it that comes from logits.
    """

    order: NDArray[np.intp]
    counts: NDArray[np.intp]
    errors: Float64Array
    logits: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class _Logits:
    """The logits of one head, or of several that share keys.

    Attributes:
        moments: The moments of each.
        positions: The dimensions of each group of the row.
    """

    moments: list[Logits]
    positions: list[NDArray[np.intp]]

    def errors(self, order: NDArray[np.intp]) -> Float64Array:
        """Return the cost after each number of groups is removed, shape (groups,)."""
        kept = np.ones(len(self.moments[0].key), np.bool_)
        costs = [0.0]
        for group in order[:-1].tolist():
            kept[self.positions[group]] = False
            costs.append(sum(each.error(kept) for each in self.moments))
        return np.maximum.accumulate(costs)


class _Block:
    """The dimensions of a block that are left: equally many of every head.

    Attributes:
        removed: How many of each head are removed.
    """

    def __init__(
        self, block: HeadBlock, rank: dict[int, int], logits: Sequence[_Logits | None]
    ) -> None:
        self.block, self.removed = block, 0
        rows, dimensions = block.groups.shape
        orders = []
        for row, its in zip(block.groups.tolist(), logits, strict=True):
            if its is None:
                orders.append(np.argsort([rank.get(group, -1) for group in row], kind="stable"))
            else:
                orders.append(backward_order(its.moments, its.positions))
        if block.uniform and rows > 1:  # the dimensions that are early in all rows
            places = np.argsort(np.array(orders), axis=1).sum(axis=0)
            orders = [np.argsort(places, kind="stable")] * rows
        self._order = np.array(orders)
        self._costs = np.array(
            [
                np.zeros(dimensions) if its is None else its.errors(order)
                for its, order in zip(logits, self._order, strict=True)
            ]
        )

    def of(self, heads: Sequence[int]) -> NDArray[np.bool_]:
        """Return which rows are those of some heads."""
        return np.isin(self.block.heads, list(heads))

    def next(self, heads: Sequence[int]) -> list[int] | None:
        """Return the next group of each row of some heads, None if none can leave."""
        if self.block.fixed is not None or self.removed + 1 >= self.block.groups.shape[1]:
            return None
        rows = np.flatnonzero(self.of(heads))
        found: list[int] = self.block.groups[rows, self._order[rows, self.removed]].tolist()
        return found

    def left(self, heads: Sequence[int]) -> list[int]:
        """Return all groups that are left of the rows of some heads."""
        rows = np.flatnonzero(self.of(heads))
        columns = self._order[rows][:, self.removed :]
        found: list[int] = (
            np.take_along_axis(self.block.groups[rows], columns, axis=1).ravel().tolist()
        )
        return found

    def logits(self, heads: Sequence[int], removed: int) -> float:
        """Return what the logits of some heads cost without a number of dimensions."""
        return float(self._costs[self.of(heads), removed].sum())


class _Attention:
    """The heads that are left, and their blocks."""

    def __init__(self, heads: Heads, blocks: Sequence[_Block]) -> None:
        self.heads, self.blocks = heads, blocks
        self.left = list(range(heads.count))

    def candidates(self) -> Iterator[tuple[list[int], float, "_Block | int"]]:
        """Yield the groups of each step that is possible, and the change of what logits cost."""
        for block in self.blocks:
            groups = block.next(self.left)
            if groups is not None:
                costs = [block.logits(self.left, block.removed + more) for more in (1, 0)]
                yield groups, costs[0] - costs[1], block
        if self.heads.fixed is None and len(self.left) > 1:
            for head in self.left:
                groups = [group for block in self.blocks for group in block.left([head])]
                gone = sum(block.logits([head], block.removed) for block in self.blocks)
                yield groups, -gone, head

    def take(self, step: "_Block | int") -> None:
        """Take a step: a dimension of a block, or a head."""
        if isinstance(step, int):
            self.left.remove(step)
        else:
            step.removed += 1


def order_heads(layer_group: LayerGroup, order: NDArray[np.intp]) -> HeadOrder:
    """Return the order in which the groups of layers with heads are removed.

    Args:
        layer_group: The layers; all their heads are in it.
        order: All groups, in the order of a ranking; it decides among the values of a head, and
            among groups that are in no head.
    """
    terms = [BlockElimination(term, layer_group) for term in layer_group.terms]
    rank = {int(group): i for i, group in enumerate(order)}
    attentions = [_attention(each, layer_group, rank) for each in layer_group.heads]
    inside = {group for each in layer_group.heads for group in each.groups.tolist()}
    loose = [group for group in order.tolist() if group not in inside]
    removed: list[int] = []
    counts, errors, logits, linear, lost = [], [], [], 0.0, 0.0
    while True:
        options: list[tuple[float, list[int], float, float, object]] = []
        for attention in attentions:
            for groups, change, step in attention.candidates():
                cost = sum(term.cost(groups) for term in terms)
                price = (cost + change) / _size(layer_group, terms, groups)
                options.append((price, groups, cost, change, (attention, step)))
        if len(loose) > 1:
            cost = sum(term.cost(loose[:1]) for term in terms)
            price = cost / _size(layer_group, terms, loose[:1])
            options.append((price, loose[:1], cost, 0.0, None))
        if not options:
            break
        _, groups, cost, change, taken = min(options, key=lambda option: option[0])
        if isinstance(taken, tuple):
            taken[0].take(taken[1])
        else:
            loose.pop(0)
        for term in terms:
            term.remove(groups)
        linear, lost = linear + cost, max(lost + change, 0.0)
        removed += groups
        counts.append(len(removed))
        errors += [linear + lost] * len(groups)
        logits += [lost] * len(groups)
    return HeadOrder(
        np.array(removed, np.intp),
        np.array(counts, np.intp),
        np.maximum.accumulate(np.array(errors, np.float64)),
        np.array(logits, np.float64),
    )


def _size(layer_group: LayerGroup, terms: Sequence[BlockElimination], groups: list[int]) -> int:
    """Return how many rows and columns of weights leave with groups."""
    units = sum(int(np.isin(of, groups).sum()) for of in layer_group.members.values())
    return max(1, units + sum(term.count(groups) for term in terms))


def _attention(heads: Heads, layer_group: LayerGroup, rank: dict[int, int]) -> _Attention:
    blocks = []
    for block in heads.blocks:
        logits = [_logits(row, layer_group) for row in block.groups]
        blocks.append(_Block(block, rank, logits))
    return _Attention(heads, blocks)


def _logits(row: NDArray[np.intp], layer_group: LayerGroup) -> _Logits | None:
    """Return the logits that a row of groups makes, None if it makes none."""
    found = _Logits([], [])
    for moments in layer_group.scores:
        groups = moments.score.query.groups
        mine = [h for h in range(len(groups)) if set(groups[h].tolist()) == set(row.tolist())]
        for head in mine:
            found.moments.append(moments.heads[head])
            found.positions[:] = [np.flatnonzero(groups[head] == group) for group in row.tolist()]
    return found if found.moments else None
