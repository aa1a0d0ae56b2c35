"""The basis of principal directions: consumers are factorized in two, and no unit is removed."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.method import Allocation, Ranker
from frivkit.compression.patch_moments import PatchMoments
from frivkit.compression.plan import Factors, Plan, Resource, amount, keep_all
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.graph.cost import node_cost
from frivkit.graph.names import node_label
from frivkit.graph.operators.table import operators_of
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class _Directions:
    """The principal directions of one node's outputs.

    Attributes:
        linear_consumer: The node.
        basis: Orthonormal directions of its outputs by decreasing variance, shape (outputs,
            outputs).
        errors: The reconstruction error at each rank, from 0 to the highest that saves anything,
            as a share of the variance of the error tensor, on validation examples if there are
            some; shape (ranks,).
        own_errors: The same as a share of the outputs' own variance; None without validation
            examples.
        macs: Multiply-accumulates of the node, None if they are not known.
        mean: The mean of its input, shape (columns,).
    """

    linear_consumer: LinearConsumer
    basis: Float64Array
    errors: Float64Array
    own_errors: Float64Array | None
    macs: int | None
    mean: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of columns and of outputs."""
        columns, outputs = self.linear_consumer.matrix.shape
        return columns, outputs

    def cost(self, resource: Resource, rank: int | None) -> float:
        """Return the cost of the node at a rank, None for the original node."""
        columns, outputs = self.shape
        whole = columns * outputs
        weights = whole if rank is None else rank * (columns + outputs)
        return weights if resource == "params" else (self.macs or 0) * weights / whole

    def factors(self, rank: int) -> Factors:
        """Return the factorization of a rank."""
        directions = self.basis[:, :rank]
        first, second = self.linear_consumer.matrix @ directions, directions.T
        bias = None
        if self.linear_consumer.has_bias_freedom:
            mean = self.mean @ self.linear_consumer.matrix
            bias = self.linear_consumer.bias + mean - mean @ directions @ second
        error = None if self.own_errors is None else float(self.own_errors[rank])
        return Factors(self.linear_consumer, first, second, bias, error)


class Pca:
    """Plans in which nodes are factorized if that saves anything.

    For a node with m columns and n outputs a rank r costs r (m + n) instead of m n, so only ranks
    below m n / (m + n) are considered.  Of all bases of rank r, the principal directions of the
    node's outputs have the least reconstruction error.

    Source:
        Casper et al., "Frivolous Units", AAAI 2021, appendix C: a basis A' and weights W' with
        A'W' as near as possible to AW.  There directions of the activations A are suggested, the
        best for any consumer; for one consumer those of AW are better (reduced-rank
        regression, Izenman, Journal of Multivariate Analysis 5, 1975).
    """

    def __init__(
        self, calibration: Calibration, ranker: Ranker, allocation: Allocation = "global"
    ) -> None:
        """Compute the directions of every linear consumer; rankings and allocations do not apply.

        Raises:
            ModelError: no node can be factorized.
        """
        del ranker, allocation
        self._calibration = calibration
        self._nodes = list(_directions(calibration))
        if not self._nodes:
            raise ModelError(
                f"nothing in {calibration.model.path.name} that reads units can be split in two: "
                "no rank saves anything, or the moments of patches do not fit into --memory"
            )

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Return the plan of the ranks that together have the least error under a budget."""
        if resource == "units":
            raise UsageError(
                "no unit is removed in the basis pca, so a share of units means nothing; give "
                "--macs or --params"
            )
        calibration = self._calibration
        whole = amount(calibration.model.ir, calibration, resource, None)
        nodes = sum(each.cost(resource, None) for each in self._nodes)
        rest = whole - nodes + self._added_biases(resource)
        allowed = share * whole - rest
        ranks = _choose_ranks(self._nodes, resource, allowed, multiple)
        if ranks is None:
            least = rest + sum(each.cost(resource, 1) for each in self._nodes)
            raise BudgetError(
                f"{share:.4g} of the {resource} of {calibration.model.path.name} cannot be met by "
                f"splitting nodes: the smallest model has {least / whole:.4g}; ask for more, or "
                "use the basis select",
                least / whole,
            )
        return self._plan(ranks)

    def for_tolerance(self, tolerance: float) -> Plan:
        """Return the plan of the lowest rank of each node whose error is within the tolerance."""
        ranks: list[int | None] = []
        for each in self._nodes:
            enough = np.flatnonzero(each.errors[1:] <= tolerance)
            ranks.append(int(enough[0]) + 1 if enough.size else None)
        return self._plan(ranks)

    def _added_biases(self, resource: Resource) -> float:
        """Return the number of biases that are added if every node is factorized."""
        if resource != "params":
            return 0.0
        return float(
            sum(
                len(each.linear_consumer.bias)
                for each in self._nodes
                if each.linear_consumer.consumer.bias is None
                and each.linear_consumer.has_bias_freedom
            )
        )

    def _plan(self, ranks: Sequence[int | None]) -> Plan:
        pairs = [(n, rank) for n, rank in zip(self._nodes, ranks, strict=True) if rank is not None]
        error = float(sum(node.errors[rank] for node, rank in pairs))
        factors = tuple(node.factors(rank) for node, rank in pairs)
        split = {node.linear_consumer.consumer.node for node, _ in pairs}
        whole = {
            linear_consumer.consumer.node: self._reason(linear_consumer)
            for linear_consumer in self._calibration.linear_consumers
            if linear_consumer.consumer.node not in split
        }
        return Plan(keep_all(self._calibration), error, factors=factors, whole=whole)

    def _reason(self, linear_consumer: LinearConsumer) -> str:
        """Return why a node is not factorized."""
        columns, outputs = linear_consumer.matrix.shape
        if _highest(linear_consumer) < 1:
            return f"no rank saves anything of a weight of {columns} x {outputs}"
        if self._calibration.patch_moments[linear_consumer.source].per_channel:
            return "the moments of its patches do not fit into --memory"
        return f"a rank below {_highest(linear_consumer) + 1} would lose more than it is worth here"


def _directions(calibration: Calibration) -> Iterator[_Directions]:
    nodes = {node_label(node): node for node in calibration.model.graph}
    operators = operators_of(calibration.model)
    for linear_consumer in calibration.linear_consumers:
        patch_moments = calibration.patch_moments[linear_consumer.source]
        highest = _highest(linear_consumer)
        if patch_moments.per_channel or highest < 1:
            continue
        fitted, validation = _output_moments(linear_consumer, patch_moments)
        values, vectors = np.linalg.eigh(fitted)
        basis = vectors[:, np.argsort(values)[::-1]]
        explained = np.einsum("ij,ij->j", basis[:, :highest], validation @ basis[:, :highest])
        total = float(validation.trace())
        errors = np.maximum(total - np.concatenate([[0.0], np.cumsum(explained)]), 0.0)
        # The scale differs by output; on average it multiplies squared errors by its mean square.
        variance = calibration.variances.get(linear_consumer.error_tensor, 0.0)
        scale = float((linear_consumer.output_scale**2).mean()) / variance if variance > 0 else 0.0
        whole = patch_moments.whole
        yield _Directions(
            linear_consumer,
            basis,
            errors * scale,
            None if patch_moments.validation is None or total <= 0 else errors / total,
            node_cost(nodes[linear_consumer.consumer.node], operators=operators).macs,
            whole.mean,
        )


def _highest(linear_consumer: LinearConsumer) -> int:
    """Return the highest rank at which a factorization saves anything."""
    columns, outputs = linear_consumer.matrix.shape
    return int((columns * outputs - 1) // (columns + outputs))


def _output_moments(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments
) -> tuple[Float64Array, Float64Array]:
    """Return the second moments of outputs on the fitted and on the validation examples.

    Returns:
        Both of shape (outputs, outputs), about the mean of the fitted examples; the first twice if
        there are no validation examples.
    """
    fitted = patch_moments.fitted
    mean = fitted.mean if linear_consumer.has_bias_freedom else np.zeros(fitted.units)
    seconds = []
    for part in (fitted, fitted if patch_moments.validation is None else patch_moments.validation):
        shift = part.mean - mean
        second = part.covariance + np.outer(shift, shift)
        seconds.append(linear_consumer.matrix.T @ second @ linear_consumer.matrix)
    return seconds[0], seconds[1]


def _choose_ranks(
    nodes: Sequence[_Directions], resource: Resource, allowed: float, multiple: int
) -> list[int | None] | None:
    """Return the ranks of least error that cost no more than is allowed, None if there are none.

    A factorization saves nothing above a rank of m n / (m + n), so curves of error against cost are
    not convex.  Of each curve only the corners of its convex hull are used, and of all steps
    between corners the one that adds least error for what it saves comes next.

    Returns:
        The rank of each node, None for a node that is not factorized.
    """
    corners = [_hull(each, resource, multiple) for each in nodes]
    at = [0] * len(nodes)
    cost = sum(each.cost(resource, None) for each in nodes)

    def price(i: int) -> float:
        (_, low, before), (_, high, after) = corners[i][at[i]], corners[i][at[i] + 1]
        return (high - low) / max(before - after, 1e-12)

    heap = [(price(i), i) for i, hull in enumerate(corners) if len(hull) > 1]
    heapq.heapify(heap)
    while cost > allowed and heap:
        _, i = heapq.heappop(heap)
        cost -= corners[i][at[i]][2] - corners[i][at[i] + 1][2]
        at[i] += 1
        if at[i] + 1 < len(corners[i]):
            heapq.heappush(heap, (price(i), i))
    if cost > allowed:
        return None
    return [corners[i][at[i]][0] for i in range(len(nodes))]


def _hull(
    node: _Directions, resource: Resource, multiple: int
) -> list[tuple[int | None, float, float]]:
    """Return the corners of error against cost: rank, error and cost, from the original node on."""
    ranks = [
        rank for rank in range(len(node.errors) - 1, 0, -1) if rank % multiple == 0 or rank == 1
    ]
    points: list[tuple[int | None, float, float]] = [
        (None, 0.0, node.cost(resource, None)),
        *((rank, float(node.errors[rank]), node.cost(resource, rank)) for rank in ranks),
    ]
    hull: list[tuple[int | None, float, float]] = []
    for point in points:
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _is_above(
    a: tuple[int | None, float, float],
    b: tuple[int | None, float, float],
    c: tuple[int | None, float, float],
) -> bool:
    """Whether the middle point lies on or above the line between the others."""
    return (b[1] - a[1]) * (a[2] - c[2]) >= (c[1] - a[1]) * (a[2] - b[2])
