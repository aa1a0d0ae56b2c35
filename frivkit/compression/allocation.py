"""Which units leave first over all layers: the least predicted error for what it frees."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.plan import Resource
from frivkit.compression.ranking import Ranking
from frivkit.graph.cost import node_cost
from frivkit.graph.layout import NO_GROUP, attribute, shape_of
from frivkit.graph.model import Model, is_constant
from frivkit.graph.sites.consumers import LINEAR_CONSUMERS
from frivkit.graph.sites.groups import PruningGraph


@dataclass(frozen=True, slots=True, eq=False)
class Allocated:
    """The order in which groups leave over the whole model.

    Attributes:
        order: The groups, shape (groups that can leave,), without the last of each site.
        errors: The predicted error after each has left, summed over bundles, shape as ``order``.
    """

    order: NDArray[np.intp]
    errors: NDArray[np.float64]


@dataclass(slots=True)
class _Node:
    """A weighted node: its cost falls with the positions that it reads and writes."""

    cost: float
    reads: float
    writes: float
    linear_consumer: float
    writing: float

    @property
    def now(self) -> float:
        return self.cost * (self.linear_consumer / self.reads) * (self.writing / self.writes)


def allocate(
    model: Model,
    pruning_graph: PruningGraph,
    rankings: Sequence[Ranking],
    resource: Resource,
) -> Allocated:
    """Order groups over all layers: next is the one that costs least error for what it frees.

    Within a bundle the ranking's order is kept, and each site keeps at least one unit.

    Args:
        model: The model.
        pruning_graph: Its groups, and where they lie.
        rankings: The order within each bundle, and the errors.
        resource: What is to be freed.
    """
    ledger = _Ledger(model, pruning_graph, resource)
    at = [0] * len(rankings)

    def price(layer_group: int) -> float:
        ranking, k = rankings[layer_group], at[layer_group]
        return _step(ranking, k) / max(ledger.frees(int(ranking.order[k])), 1e-12)

    heap = [(price(b), b) for b, ranking in enumerate(rankings) if len(ranking.order)]
    heapq.heapify(heap)
    order, errors, error = [], [], 0.0
    while heap:
        _, layer_group = heapq.heappop(heap)
        now = price(layer_group)  # what it frees may have shrunk since
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, layer_group))
            continue
        ranking, k = rankings[layer_group], at[layer_group]
        group = int(ranking.order[k])
        if ledger.may_leave(group):
            ledger.remove(group)
            error += _step(ranking, k)
            order.append(group)
            errors.append(error)
        at[layer_group] += 1
        if at[layer_group] < len(ranking.order):
            heapq.heappush(heap, (price(layer_group), layer_group))
    return Allocated(np.array(order, np.intp), np.array(errors))


def allocate_alike(pruning_graph: PruningGraph, rankings: Sequence[Ranking]) -> Allocated:
    """Order groups so that at any time each bundle has lost about the same share of its own.

    Args:
        pruning_graph: The groups, and where they lie.
        rankings: The order within each bundle, and the errors.
    """
    left = _Left(pruning_graph)
    turns = sorted(
        ((k + 1) / len(ranking.order), b, k)
        for b, ranking in enumerate(rankings)
        for k in range(len(ranking.order))
    )
    order, errors, error = [], [], 0.0
    for _, layer_group, k in turns:
        group = int(rankings[layer_group].order[k])
        if left.may_leave(group):
            left.remove(group)
            error += _step(rankings[layer_group], k)
            order.append(group)
            errors.append(error)
    return Allocated(np.array(order, np.intp), np.array(errors))


def _step(ranking: Ranking, k: int) -> float:
    """Return by how much the error grows when the unit at a place of the order leaves."""
    before = ranking.errors[k - 1] if k else 0.0
    return float(max(ranking.errors[k] - before, 0.0))


class _Left:
    """How many groups are left of each site, and of each part into which units are split."""

    def __init__(self, pruning_graph: PruningGraph) -> None:
        groups = pruning_graph.groups
        rows = [*(np.unique(of) for of in groups.of.values()), *groups.rows]
        self._left = [len(row) for row in rows]
        self._rows: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            for group in row.tolist():
                self._rows.setdefault(group, []).append(number)

    def may_leave(self, group: int) -> bool:
        """Whether each of them would keep a unit."""
        return all(self._left[row] > 1 for row in self._rows[group])

    def remove(self, group: int) -> None:
        """Let a group leave."""
        for row in self._rows[group]:
            self._left[row] -= 1


class _Ledger:
    """What a model costs as units leave."""

    def __init__(self, model: Model, pruning_graph: PruningGraph, resource: Resource) -> None:
        """Begin with all units."""
        self._units = resource == "units"
        self._nodes, self._touched = _nodes(model, pruning_graph, resource)
        of = pruning_graph.groups.of
        self._sizes = np.bincount(np.concatenate(list(of.values())), minlength=1)
        self._left = _Left(pruning_graph)

    def may_leave(self, group: int) -> bool:
        """Whether each site would keep a unit."""
        return self._left.may_leave(group)

    def frees(self, group: int) -> float:
        """Return what the loss of a group frees as the model stands."""
        if self._units:
            return float(self._sizes[group])
        changes = self._touched.get(group, {}).items()
        return sum(_freed(self._nodes[i], *change) for i, change in changes)

    def remove(self, group: int) -> None:
        """Let a group leave."""
        for i, (read, written) in self._touched.get(group, {}).items():
            self._nodes[i].linear_consumer -= read
            self._nodes[i].writing -= written
        self._left.remove(group)


def _freed(node: _Node, read: float, written: float) -> float:
    after = (
        node.cost
        * ((node.linear_consumer - read) / node.reads)
        * ((node.writing - written) / node.writes)
    )
    return node.now - after


def _nodes(
    model: Model, pruning_graph: PruningGraph, resource: Resource
) -> tuple[list[_Node], Mapping[int, dict[int, tuple[float, float]]]]:
    """Return weighted nodes, and for each group how many positions of each lie in and behind."""
    nodes: list[_Node] = []
    touched: dict[int, dict[int, tuple[float, float]]] = {}
    group_ids = pruning_graph.assignment.group_ids
    for node in model.graph:
        if node.op_type not in LINEAR_CONSUMERS:
            continue
        cost = node_cost(node)
        amount = cost.macs if resource == "macs" else cost.parameters
        weight = node.inputs[1]
        if not amount or weight is None or not is_constant(weight):
            continue
        axis = 1 if "Conv" in node.op_type or node.op_type == "Gemm" else -1
        read = _marks_at(group_ids, node.inputs[0], axis)
        written = _marks_at(group_ids, node.outputs[0], axis)
        grouped = "Conv" in node.op_type and attribute(node, "group", 1) > 1
        if grouped:
            read = np.empty(0, np.intp)  # each group of channels leaves as a whole
        index = len(nodes)
        sizes = [max(1, len(part)) for part in (read, written)]
        nodes.append(_Node(float(amount), *sizes, *sizes))
        for which, part in enumerate((read, written)):
            found, counts = np.unique(part[part != NO_GROUP], return_counts=True)
            for group, count in zip(found.tolist(), counts.tolist(), strict=True):
                old = touched.setdefault(group, {}).get(index, (0.0, 0.0))
                touched[group][index] = (
                    (old[0] + count, old[1]) if which == 0 else (old[0], old[1] + count)
                )
    return nodes, touched


def _marks_at(
    group_ids: Mapping[str, Mapping[int, NDArray[np.intp]]], value: ir.Value | None, axis: int
) -> NDArray[np.intp]:
    rank = len(shape_of(value) or ())
    name = "" if value is None else value.name or ""
    found = group_ids.get(name, {}).get(axis % rank if rank else axis)
    return np.empty(0, np.intp) if found is None else found
