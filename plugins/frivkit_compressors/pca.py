"""The basis of main directions: what reads a layer becomes two thin layers, and no unit leaves."""

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
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class _Directions:
    """The main directions of what one node makes.

    Attributes:
        linear_consumer: The node.
        basis: Orthonormal directions of its outputs, the main ones first, shape (outputs, outputs).
        lost: What is lost by rank, from 0 to the highest that saves anything, as a share of the
            variance of what the outputs meet, on examples kept apart where there are some.
        share: The same as a share of the outputs' own variance, None where none were kept apart.
        macs: Multiply-accumulates of the node, None where they are not known.
        mean: The mean of what it reads, shape (columns,).
    """

    linear_consumer: LinearConsumer
    basis: Float64Array
    lost: Float64Array
    share: Float64Array | None
    macs: int | None
    mean: Float64Array

    @property
    def sides(self) -> tuple[int, int]:
        """Columns and outputs."""
        columns, outputs = self.linear_consumer.matrix.shape
        return columns, outputs

    def cost(self, resource: Resource, rank: int | None) -> float:
        """Return what the node costs at a rank, None for the node as it is."""
        columns, outputs = self.sides
        whole = columns * outputs
        weights = whole if rank is None else rank * (columns + outputs)
        return weights if resource == "params" else (self.macs or 0) * weights / whole

    def factors(self, rank: int) -> Factors:
        """Split the node."""
        kept = self.basis[:, :rank]
        first, second = self.linear_consumer.matrix @ kept, kept.T
        bias = None
        if self.linear_consumer.has_bias_freedom:
            made = self.mean @ self.linear_consumer.matrix
            bias = self.linear_consumer.bias + made - made @ kept @ second
        error = None if self.share is None else float(self.share[rank])
        return Factors(self.linear_consumer, first, second, bias, error)


class Pca:
    """Plans in which nodes are split where that saves anything.

    For a node with m columns and n outputs a rank r costs r (m + n) instead of m n, so only ranks
    below m n / (m + n) are looked at.  Of all bases of so many numbers the main directions of what
    the node makes lose least of its outputs.

    Source:
        Casper et al., "Frivolous Units", AAAI 2021, appendix C: a basis A' and weights W' with
        A'W' as near as can be to AW.  There directions of the activations A are suggested, which
        is the best for any reader; for one reader those of AW are better (reduced-rank
        regression, Izenman, Journal of Multivariate Analysis 5, 1975).
    """

    def __init__(
        self, calibration: Calibration, ranker: Ranker, allocation: Allocation = "global"
    ) -> None:
        """Find the directions of every node that reads units; no ranking is asked.

        Raises:
            ModelError: no node can be split.
        """
        del ranker, allocation
        self._calibration = calibration
        self._all = list(_directions(calibration))
        if not self._all:
            raise ModelError(
                f"nothing in {calibration.model.path.name} that reads units can be split in two: "
                "no rank saves anything, or the moments of patches do not fit into --memory"
            )

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Return each node the rank at which all ranks together lose least under a budget."""
        if resource == "units":
            raise UsageError(
                "no unit leaves in the basis pca, so a share of units means nothing; give --macs "
                "or --params"
            )
        calibration = self._calibration
        whole = amount(calibration.model.ir, calibration, resource, None)
        nodes = sum(each.cost(resource, None) for each in self._all)
        rest = whole - nodes + self._added(resource)
        allowed = share * whole - rest
        ranks = _shared_out(self._all, resource, allowed, multiple)
        if ranks is None:
            least = rest + sum(each.cost(resource, 1) for each in self._all)
            raise BudgetError(
                f"{share:.4g} of the {resource} of {calibration.model.path.name} cannot be met by "
                f"splitting nodes: the smallest model has {least / whole:.4g}; ask for more, or "
                "use the basis select",
                least / whole,
            )
        return self._plan(ranks)

    def for_tolerance(self, tolerance: float) -> Plan:
        """Return each node the lowest rank of which it loses a share of its variance at most."""
        ranks: list[int | None] = []
        for each in self._all:
            enough = np.flatnonzero(each.lost[1:] <= tolerance)
            ranks.append(int(enough[0]) + 1 if enough.size else None)
        return self._plan(ranks)

    def _added(self, resource: Resource) -> float:
        """Count the biases that splitting adds, if every node is split."""
        if resource != "params":
            return 0.0
        return float(
            sum(
                len(each.linear_consumer.bias)
                for each in self._all
                if each.linear_consumer.consumer.bias is None
                and each.linear_consumer.has_bias_freedom
            )
        )

    def _plan(self, ranks: Sequence[int | None]) -> Plan:
        pairs = [(d, rank) for d, rank in zip(self._all, ranks, strict=True) if rank is not None]
        error = float(sum(d.lost[rank] for d, rank in pairs))
        factors = tuple(d.factors(rank) for d, rank in pairs)
        split = {d.linear_consumer.consumer.node for d, _ in pairs}
        whole = {
            linear_consumer.consumer.node: self._reason(linear_consumer)
            for linear_consumer in self._calibration.linear_consumers
            if linear_consumer.consumer.node not in split
        }
        return Plan(keep_all(self._calibration), error, factors=factors, whole=whole)

    def _reason(self, linear_consumer: LinearConsumer) -> str:
        """Return why a node is not split."""
        columns, outputs = linear_consumer.matrix.shape
        if _highest(linear_consumer) < 1:
            return f"no rank saves anything of a weight of {columns} x {outputs}"
        if self._calibration.patch_moments[linear_consumer.source].per_channel:
            return "the moments of its patches do not fit into --memory"
        return f"a rank below {_highest(linear_consumer) + 1} would lose more than it is worth here"


def _directions(calibration: Calibration) -> Iterator[_Directions]:
    nodes = {node_label(node): node for node in calibration.model.graph}
    for linear_consumer in calibration.linear_consumers:
        patch_moments = calibration.patch_moments[linear_consumer.source]
        highest = _highest(linear_consumer)
        if patch_moments.per_channel or highest < 1:
            continue
        fitted, unseen = _made(linear_consumer, patch_moments)
        values, vectors = np.linalg.eigh(fitted)
        basis = vectors[:, np.argsort(values)[::-1]]
        kept = np.einsum("ij,ij->j", basis[:, :highest], unseen @ basis[:, :highest])
        own = float(unseen.trace())
        lost = np.maximum(own - np.concatenate([[0.0], np.cumsum(kept)]), 0.0)
        # the gain behind a node differs by output; on average errors grow by its mean square
        variance = calibration.variances.get(linear_consumer.error_tensor, 0.0)
        scale = float((linear_consumer.output_scale**2).mean()) / variance if variance > 0 else 0.0
        whole = patch_moments.whole
        yield _Directions(
            linear_consumer,
            basis,
            lost * scale,
            None if patch_moments.validation is None or own <= 0 else lost / own,
            node_cost(nodes[linear_consumer.consumer.node]).macs,
            whole.mean,
        )


def _highest(linear_consumer: LinearConsumer) -> int:
    """Return the highest rank at which splitting a node saves anything."""
    columns, outputs = linear_consumer.matrix.shape
    return int((columns * outputs - 1) // (columns + outputs))


def _made(
    linear_consumer: LinearConsumer, patch_moments: PatchMoments
) -> tuple[Float64Array, Float64Array]:
    """Return the covariance of outputs on the examples fitted to, and on those kept apart."""
    fitted = patch_moments.fitted
    mean = fitted.mean if linear_consumer.has_bias_freedom else np.zeros(fitted.units)
    found = []
    for part in (fitted, fitted if patch_moments.validation is None else patch_moments.validation):
        step = part.mean - mean
        second = part.covariance + np.outer(step, step)
        found.append(linear_consumer.matrix.T @ second @ linear_consumer.matrix)
    return found[0], found[1]


def _shared_out(
    nodes: Sequence[_Directions], resource: Resource, allowed: float, multiple: int
) -> list[int | None] | None:
    """Choose ranks of least loss that cost no more than is allowed; None if there are none.

    Splitting pays nothing before a rank of m n / (m + n), so curves are not convex: from each only
    the corners of its convex hull are taken, and of all steps between corners the one that loses
    least for what it frees comes next.
    """
    corners = [_hull(each, resource, multiple) for each in nodes]
    at = [0] * len(nodes)
    cost = sum(each.cost(resource, None) for each in nodes)

    def price(i: int) -> float:
        (_, lost, before), (_, more, after) = corners[i][at[i]], corners[i][at[i] + 1]
        return (more - lost) / max(before - after, 1e-12)

    heap = [(price(i), i) for i, found in enumerate(corners) if len(found) > 1]
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
    """Return the corners of what is lost against what is saved: rank, loss and cost, from whole."""
    ranks = [rank for rank in range(len(node.lost) - 1, 0, -1) if rank % multiple == 0 or rank == 1]
    points: list[tuple[int | None, float, float]] = [
        (None, 0.0, node.cost(resource, None)),
        *((rank, float(node.lost[rank]), node.cost(resource, rank)) for rank in ranks),
    ]
    hull: list[tuple[int | None, float, float]] = []
    for point in points:
        while len(hull) > 1 and _turns(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns(
    a: tuple[int | None, float, float],
    b: tuple[int | None, float, float],
    c: tuple[int | None, float, float],
) -> bool:
    """Whether the middle one lies above the line between the others."""
    return (b[1] - a[1]) * (a[2] - c[2]) >= (c[1] - a[1]) * (a[2] - b[2])
