"""The ledger: what a network costs while it is made smaller, counted without touching its graph.

A weighted node's cost is proportional to the positions that it reads and to those that it writes.
A node that is factorized at a rank r costs r times a part proportional to what it reads plus a part
proportional to what it writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.plan import Resource
from frivkit.graph.cost import node_cost
from frivkit.graph.layout import NO_GROUP, Layout, attribute, shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import Weights, operator_name
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS, weight_use
from frivkit.units.moments import Float64Array

SHARED = 1e-6
"""Parameters that a node counts for whose weight is counted with another: next to none."""
CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What is gone of the network after each step of an order of pruning groups.

    Attributes:
        nodes: The nodes that read or write one of the groups, as indices into the ledger, shape
            (nodes,).
        inputs: Positions that each node no longer reads, shape (nodes, steps + 1).
        outputs: Positions that it no longer writes, shape (nodes, steps + 1).
        units: Units that are removed, shape (steps + 1,).
    """

    nodes: NDArray[np.intp]
    inputs: Float64Array
    outputs: Float64Array
    units: Float64Array


class Ledger:
    """The nodes of a network, with what is left of each.

    Attributes:
        index: The number of each weighted node, by its label.
    """

    def __init__(self, model: Model, pruning_graph: PruningGraph, resource: Resource) -> None:
        """Count the original.

        Args:
            model: The model, with known shapes.
            pruning_graph: Its groups and their positions.
            resource: What is counted.
        """
        self._counts_units = resource == "units"
        labels, amounts, sizes, self._positions = _count_nodes(model, pruning_graph, resource)
        self.index: Mapping[str, int] = {label: i for i, label in enumerate(labels)}
        self._whole = np.array(amounts, np.float64)
        self._sizes = np.array(sizes, np.float64).reshape(-1, 2)
        self._left = self._sizes.copy()
        self._dropped_by = np.zeros(len(labels), np.intp)  # branches, which may lie in others
        self._rank = np.zeros(len(labels))  # 0 if the node is not factorized
        self._per_rank = np.zeros((len(labels), 2))
        of = pruning_graph.groups.of
        every = np.concatenate([*of.values(), np.empty(0, np.intp)]).astype(np.intp)
        self._units = np.bincount(every, minlength=1).astype(np.float64)
        self._units_left = float(sum(len(ids) for ids in of.values()))

    @property
    def total(self) -> float:
        """What is left now."""
        if self._counts_units:
            return self._units_left
        return self._cost_of(np.flatnonzero(self._dropped_by == 0))

    def removal(self, order: NDArray[np.intp]) -> Removal:
        """Return what the removal of groups takes away, after each of them in turn.

        Args:
            order: The groups, the first to be removed first.
        """
        touched: dict[int, int] = {}
        for group in order.tolist():
            for node in self._positions.get(group, {}):
                touched.setdefault(node, len(touched))
        taken = np.zeros((2, len(touched), len(order) + 1))
        for step, group in enumerate(order.tolist(), start=1):
            for node, both in self._positions.get(group, {}).items():
                taken[:, touched[node], step] = both
        inputs, outputs = taken.cumsum(axis=2)
        units = np.concatenate([[0.0], self._units[order]]).cumsum()
        return Removal(np.array(list(touched), np.intp), inputs, outputs, units)

    def saved_by_removal(self, removal: Removal, now: int, then: NDArray[np.intp]) -> Float64Array:
        """Return what is saved, below 0 for what is added, by going to other steps of an order.

        Args:
            removal: What the order takes away.
            now: The step that was reached.
            then: The steps to try, shape (n,).

        Returns:
            Shape (n,).
        """
        if self._counts_units:
            units: Float64Array = removal.units[then] - removal.units[now]
            return units
        at = removal.nodes
        inputs = self._left[at, 0, None] - (removal.inputs[:, then] - removal.inputs[:, [now]])
        outputs = self._left[at, 1, None] - (removal.outputs[:, then] - removal.outputs[:, [now]])
        there = (self._dropped_by[at] == 0)[:, None]
        before = self._costs(at, self._left[at, 0, None], self._left[at, 1, None]) * there
        after = self._costs(at, inputs, outputs) * there
        saved: Float64Array = before.sum() - after.sum(axis=0)
        return saved

    def remove(self, removal: Removal, now: int, then: int) -> None:
        """Go from one step of an order to another."""
        at = removal.nodes
        self._left[at, 0] -= removal.inputs[:, then] - removal.inputs[:, now]
        self._left[at, 1] -= removal.outputs[:, then] - removal.outputs[:, now]
        self._units_left -= float(removal.units[then] - removal.units[now])

    def cost_at_ranks(
        self, node: int, ranks: NDArray[np.intp], per_rank: NDArray[np.float64]
    ) -> Float64Array:
        """Return what a node would cost at ranks.

        Args:
            node: Its number.
            ranks: The ranks, 0 if it is not factorized, shape (n,).
            per_rank: The costs of both parts for each rank, shape (n, 2).

        Returns:
            Shape (n,); zeros if units are counted or the node is gone.
        """
        if self._counts_units or self._dropped_by[node]:
            return np.zeros(len(ranks))
        shares = self._left[node] / self._sizes[node]
        factorized = ranks * (per_rank @ shares)
        whole = self._whole[node] * shares.prod()
        costs: Float64Array = np.where(ranks > 0, factorized, whole)
        return costs

    def set_rank(self, node: int, rank: int, per_rank: NDArray[np.float64]) -> None:
        """Factorize a node at a rank, or take it whole again at rank 0."""
        self._rank[node], self._per_rank[node] = rank, per_rank

    def dropping(self, nodes: Sequence[int], *, now: bool) -> float:
        """Return what the nodes of a branch cost that no other dropped branch holds.

        Args:
            nodes: Its nodes.
            now: Whether the branch is dropped already, so that they are what it would cost again.
        """
        at = np.array(nodes, np.intp)
        return self._cost_of(at[self._dropped_by[at] == int(now)])

    def set_dropped(self, nodes: Sequence[int], *, dropped: bool) -> None:
        """Drop the nodes of a branch, or take them back."""
        self._dropped_by[list(nodes)] += 1 if dropped else -1

    def _cost_of(self, at: NDArray[np.intp]) -> float:
        """Return what nodes cost, or would if they were not dropped."""
        if self._counts_units or not at.size:
            return 0.0
        return float(self._costs(at, self._left[at, 0, None], self._left[at, 1, None]).sum())

    def _costs(self, at: NDArray[np.intp], inputs: Any, outputs: Any) -> Float64Array:
        """Return costs of nodes for numbers of positions, shape as these, (nodes, n)."""
        read = inputs / self._sizes[at, 0, None]
        written = outputs / self._sizes[at, 1, None]
        first, second = self._per_rank[at, 0, None], self._per_rank[at, 1, None]
        rank = self._rank[at, None]
        factorized = rank * (first * read + second * written)
        costs: Float64Array = np.where(rank > 0, factorized, self._whole[at, None] * read * written)
        return costs


_Positions = dict[int, dict[int, tuple[float, float]]]
"""For each group, by the number of a node, its positions in the node's input and output."""


def _count_nodes(
    model: Model, pruning_graph: PruningGraph, resource: Resource
) -> tuple[list[str], list[float], list[tuple[int, int]], _Positions]:
    """Return labels, costs and sizes of the weighted nodes, and the positions of each group."""
    labels: list[str] = []
    amounts: list[float] = []
    sizes: list[tuple[int, int]] = []
    positions: _Positions = {}
    group_ids = pruning_graph.assignment.group_ids
    operators = operators_of(model)
    counted: set[int] = set()  # stored weights, which count once however many nodes read them
    for node in model.graph:
        operator = operators.get(operator_name(node))
        if operator is None or (operator.weights is None and operator.macs is None):
            continue
        cost = node_cost(node, operators=operators)
        amount: float | None = cost.parameters if resource == "params" else cost.macs
        use = weight_use(node)
        if use is not None and resource == "params":
            if id(use.root) in counted:
                amount = SHARED
            counted.add(id(use.root))
        if not amount:
            continue
        axis = _unit_axis(node, operator.weights)
        inputs = _group_ids_at(group_ids, node.inputs[0], axis)
        outputs = _group_ids_at(group_ids, node.outputs[0], axis)
        if operator.weights is None:
            inputs = outputs = np.empty(0, np.intp)  # counted as it is: no less is promised
        elif operator_name(node) in CONVOLUTIONS and attribute(node, "group", 1) > 1:
            inputs = np.empty(0, np.intp)  # each group of channels is removed as a whole
        number = len(labels)
        labels.append(node_label(node))
        amounts.append(float(amount))
        sizes.append((max(1, len(inputs)), max(1, len(outputs))))
        for end, ids in enumerate((inputs, outputs)):
            members, counts = np.unique(ids[ids != NO_GROUP], return_counts=True)
            for group, count in zip(members.tolist(), counts.tolist(), strict=True):
                read, written = positions.setdefault(group, {}).get(number, (0.0, 0.0))
                positions[group][number] = (
                    (read + count, written) if end == 0 else (read, written + count)
                )
    return labels, amounts, sizes, positions


def _unit_axis(node: ir.Node, weights: Weights | None) -> int:
    """Return the axis of units in a node's input and output."""
    name = operator_name(node)
    if name == "MatMul":
        return -1
    other = weights is None or name in LINEAR_CONSUMERS
    produced = None if other or weights is None else weights.produced(node)
    return produced.axes[0] if isinstance(produced, Layout) else 1


def _group_ids_at(
    group_ids: Mapping[str, Mapping[int, NDArray[np.intp]]], value: ir.Value | None, axis: int
) -> NDArray[np.intp]:
    rank = len(shape_of(value) or ())
    name = "" if value is None else value.name or ""
    ids = group_ids.get(name, {}).get(axis % rank if rank else axis)
    return np.empty(0, np.intp) if ids is None else ids
