"""The order of removal over all layers: first the least predicted error for what it saves."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.plan import Resource
from frivkit.compression.ranking import Ranking
from frivkit.graph.cost import node_cost
from frivkit.graph.layout import NO_GROUP, Layout, attribute, shape_of
from frivkit.graph.model import Model, is_constant
from frivkit.graph.operators.operator import Weights, operator_name
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.consumers import LINEAR_CONSUMERS
from frivkit.graph.sites.groups import PruningGraph

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True, eq=False)
class RemovalOrder:
    """The order in which groups are removed from the whole model.

    Attributes:
        order: The groups, shape (removable groups,), without the last of each site.
        errors: The predicted error after each removal, summed over layer groups, shape as
            ``order``.
    """

    order: NDArray[np.intp]
    errors: NDArray[np.float64]


@dataclass(slots=True)
class _NodeCost:
    """A weighted node: its cost is proportional to its input and its output positions.

    Attributes:
        cost: What the node costs in the original.
        inputs: Positions that it reads in the original.
        outputs: Positions that it writes in the original.
        inputs_left: Positions that it still reads.
        outputs_left: Positions that it still writes.
    """

    cost: float
    inputs: float
    outputs: float
    inputs_left: float
    outputs_left: float

    @property
    def current(self) -> float:
        return self.after(0.0, 0.0)

    def after(self, inputs: float, outputs: float) -> float:
        """Return the cost once that many more positions are removed."""
        read = (self.inputs_left - inputs) / self.inputs
        return self.cost * read * ((self.outputs_left - outputs) / self.outputs)


def allocate_globally(
    model: Model,
    pruning_graph: PruningGraph,
    rankings: Sequence[Ranking],
    resource: Resource,
) -> RemovalOrder:
    """Order groups over all layers: the next one adds the least error for what it saves.

    Within a layer group the order of its ranking is kept, and each site keeps at least one unit.

    Args:
        model: The model.
        pruning_graph: Its groups, and where they lie.
        rankings: The order and the error curve of each layer group.
        resource: What is to be saved.
    """
    savings = _Savings(model, pruning_graph, resource)
    next_step = [0] * len(rankings)

    def price(number: int) -> float:
        ranking, k = rankings[number], next_step[number]
        return _added_error(ranking, k) / max(savings.of(int(ranking.order[k])), 1e-12)

    heap = [(price(i), i) for i, ranking in enumerate(rankings) if len(ranking.order)]
    heapq.heapify(heap)
    order, errors, error = [], [], 0.0
    while heap:
        _, number = heapq.heappop(heap)
        current = price(number)  # the saving may have shrunk since it was pushed
        if heap and current > heap[0][0]:
            heapq.heappush(heap, (current, number))
            continue
        ranking, k = rankings[number], next_step[number]
        group = int(ranking.order[k])
        if savings.is_removable(group):
            savings.remove(group)
            error += _added_error(ranking, k)
            order.append(group)
            errors.append(error)
        next_step[number] += 1
        if next_step[number] < len(ranking.order):
            heapq.heappush(heap, (price(number), number))
    return RemovalOrder(np.array(order, np.intp), np.array(errors))


def allocate_uniformly(pruning_graph: PruningGraph, rankings: Sequence[Ranking]) -> RemovalOrder:
    """Order groups so that at any time each layer group has lost about the same share of its own.

    Args:
        pruning_graph: The groups, and where they lie.
        rankings: The order and the error curve of each layer group.
    """
    remaining = _RemainingGroups(pruning_graph)
    steps = sorted(
        ((k + 1) / len(ranking.order), i, k)
        for i, ranking in enumerate(rankings)
        for k in range(len(ranking.order))
    )
    order, errors, error = [], [], 0.0
    for _, number, k in steps:
        group = int(rankings[number].order[k])
        if remaining.is_removable(group):
            remaining.remove(group)
            error += _added_error(rankings[number], k)
            order.append(group)
            errors.append(error)
    return RemovalOrder(np.array(order, np.intp), np.array(errors))


def _added_error(ranking: Ranking, k: int) -> float:
    """Return by how much the error grows when group number ``k`` of the order is removed."""
    before = ranking.errors[k - 1] if k else 0.0
    return float(max(ranking.errors[k] - before, 0.0))


class _RemainingGroups:
    """How many groups remain of each site, and of each part into which units are split."""

    def __init__(self, pruning_graph: PruningGraph) -> None:
        groups = pruning_graph.groups
        rows = [*(np.unique(of) for of in groups.of.values()), *groups.rows]
        self._remaining = [len(row) for row in rows]
        self._rows: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            for group in row.tolist():
                self._rows.setdefault(group, []).append(number)

    def is_removable(self, group: int) -> bool:
        """Whether each site and part would keep a group."""
        return all(self._remaining[row] > 1 for row in self._rows[group])

    def remove(self, group: int) -> None:
        """Remove a group."""
        for row in self._rows[group]:
            self._remaining[row] -= 1


class _Savings:
    """How much of a resource the removal of a group saves, as groups are removed."""

    def __init__(self, model: Model, pruning_graph: PruningGraph, resource: Resource) -> None:
        self._count_units = resource == "units"
        self._nodes, self._positions = _node_costs(model, pruning_graph, resource)
        of = pruning_graph.groups.of
        self._units = np.bincount(np.concatenate(list(of.values())), minlength=1)
        self._remaining = _RemainingGroups(pruning_graph)

    def is_removable(self, group: int) -> bool:
        """Whether each site would keep a unit."""
        return self._remaining.is_removable(group)

    def of(self, group: int) -> float:
        """Return what the removal of a group would save now."""
        if self._count_units:
            return float(self._units[group])
        saved = 0.0
        for i, (inputs, outputs) in self._positions.get(group, {}).items():
            node = self._nodes[i]
            saved += node.current - node.after(inputs, outputs)
        return saved

    def remove(self, group: int) -> None:
        """Remove a group."""
        for i, (inputs, outputs) in self._positions.get(group, {}).items():
            self._nodes[i].inputs_left -= inputs
            self._nodes[i].outputs_left -= outputs
        self._remaining.remove(group)


def _node_costs(
    model: Model, pruning_graph: PruningGraph, resource: Resource
) -> tuple[list[_NodeCost], Mapping[int, dict[int, tuple[float, float]]]]:
    """Return the weighted nodes, and the positions of each group in their inputs and outputs.

    Returns:
        The nodes; and for each group, by the number of the node, how many of the node's input and
        output positions belong to it.
    """
    nodes: list[_NodeCost] = []
    positions: dict[int, dict[int, tuple[float, float]]] = {}
    group_ids = pruning_graph.assignment.group_ids
    operators = operators_of(model)
    for node in model.graph:
        operator = operators.get(operator_name(node))
        if operator is None or operator.weights is None:
            continue
        cost = node_cost(node, operators=operators)
        amount = cost.macs if resource == "macs" else cost.parameters
        weights = node.inputs[1:2]  # none if a plugin's operator has its weights as attributes
        if not amount or not all(value is not None and is_constant(value) for value in weights):
            continue
        axis = _unit_axis(node, operator.weights)
        inputs = _group_ids_at(group_ids, node.inputs[0], axis)
        outputs = _group_ids_at(group_ids, node.outputs[0], axis)
        if operator_name(node) in CONVOLUTIONS and attribute(node, "group", 1) > 1:
            inputs = np.empty(0, np.intp)  # each group of channels is removed as a whole
        index = len(nodes)
        sizes = [max(1, len(ids)) for ids in (inputs, outputs)]
        nodes.append(_NodeCost(float(amount), *sizes, *sizes))
        for end, ids in enumerate((inputs, outputs)):
            members, counts = np.unique(ids[ids != NO_GROUP], return_counts=True)
            for group, count in zip(members.tolist(), counts.tolist(), strict=True):
                old = positions.setdefault(group, {}).get(index, (0.0, 0.0))
                positions[group][index] = (
                    (old[0] + count, old[1]) if end == 0 else (old[0], old[1] + count)
                )
    return nodes, positions


def _unit_axis(node: ir.Node, weights: Weights) -> int:
    """Return the axis of units in a node's input and output."""
    name = operator_name(node)
    if name == "MatMul":
        return -1
    produced = weights.produced(node) if name not in LINEAR_CONSUMERS else None
    return produced.axes[0] if isinstance(produced, Layout) else 1


def _group_ids_at(
    group_ids: Mapping[str, Mapping[int, NDArray[np.intp]]], value: ir.Value | None, axis: int
) -> NDArray[np.intp]:
    rank = len(shape_of(value) or ())
    name = "" if value is None else value.name or ""
    ids = group_ids.get(name, {}).get(axis % rank if rank else axis)
    return np.empty(0, np.intp) if ids is None else ids
