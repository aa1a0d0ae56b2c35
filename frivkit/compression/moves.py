"""Moves: what can be done to a network, step by step, with the predicted error after each step."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.error_scales import unit_scales
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.low_rank import (
    FactorKind,
    Kernel,
    Positions,
    WeightShape,
    cost,
    curve,
    factor_positions,
    highest_rank,
)
from frivkit.compression.patch_moments import PatchMoments
from frivkit.compression.ranking import Ranking
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.branches import ResidualBranch
from frivkit.units.moments import Float64Array

CURVE_SHARES = (0.08, 0.16, 0.25, 0.37, 0.52, 0.72, 0.95)
"""Shares of the highest rank at which separable factors are made for their curve of error."""
TOO_LARGE = "the moments of its patches do not fit into --memory"
"""Why a node is not factorized of which whole patches were not looked at."""
SMALLEST = 1e-12
"""The smallest error whose logarithm is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class RankMoves:
    """The factorization of one node in two, at each rank.

    A rank r costs ``r * (first + second)``.  If only a share of the node's inputs, or of its
    outputs, is left, ``first``, or ``second``, is multiplied by that share.

    Attributes:
        linear_consumer: The node.
        kind: The kind of the factorization.
        ranks: The ranks, falling, shape (steps,).
        errors: The squared error of the node's outputs at each rank, as a share of the variance of
            its error tensor, on validation examples if there are some; shape (steps,).
        own_errors: The same as a share of the outputs' own variance, each None without validation
            examples.
        macs: ``first`` and ``second`` in multiply-accumulates for one example.
        params: The same in parameters.
    """

    linear_consumer: LinearConsumer
    kind: FactorKind
    ranks: NDArray[np.intp]
    errors: Float64Array
    own_errors: tuple[float | None, ...]
    macs: tuple[float, float]
    params: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class BranchMove:
    """The branch of a residual block is replaced by its mean.

    Attributes:
        branch: The branch.
        mean: The mean of each of its units, shape (units,).
        error: The variance of the branch as a share of the variance of the sum.
    """

    branch: ResidualBranch
    mean: Float64Array
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """The moves that a basis offers.

    Attributes:
        units: For each layer group the order in which its pruning groups are removed.
        ranks: The factorizations of nodes; a node may have one entry for each kind.
        branches: The residual blocks whose branch can be dropped.
        whole: Why other nodes are not factorized, by their labels.
    """

    units: tuple[Ranking, ...] = ()
    ranks: tuple[RankMoves, ...] = ()
    branches: tuple[BranchMove, ...] = ()
    whole: Mapping[str, str] | None = None

    def __add__(self, other: "Moves") -> "Moves":
        """Return the moves of both; a node that one of them factorizes is not whole."""
        ranks = (*self.ranks, *other.ranks)
        factorized = {each.linear_consumer.consumer.node for each in ranks}
        reasons = {**(self.whole or {}), **(other.whole or {})}
        whole = {node: reason for node, reason in reasons.items() if node not in factorized}
        return Moves(
            (*self.units, *other.units), ranks, (*self.branches, *other.branches), whole or None
        )


def rank_moves(calibration: Calibration, kind: FactorKind) -> Moves:
    """Return the factorizations of one kind, of every node of which one saves anything."""
    nodes = {node_label(node): node for node in calibration.model.graph}
    operators = operators_of(calibration.model)
    ranks: list[RankMoves] = []
    whole: dict[str, str] = {}
    for linear_consumer in calibration.linear_consumers:
        node = nodes[linear_consumer.consumer.node]
        moves = _rank_moves(calibration, linear_consumer, kind, node, operators)
        if isinstance(moves, str):
            whole[linear_consumer.consumer.node] = moves
        else:
            ranks.append(moves)
    return Moves(ranks=tuple(ranks), whole=whole)


def _rank_moves(
    calibration: Calibration,
    linear_consumer: LinearConsumer,
    kind: FactorKind,
    node: ir.Node,
    operators: Operators,
) -> RankMoves | str:
    """Return the factorizations of one node, or why there are none."""
    highest = useful_rank(linear_consumer, kind, node, operators)
    if isinstance(highest, str):
        return highest
    patch_moments = calibration.patch_moments[linear_consumer.source]
    if patch_moments.per_channel:
        return TOO_LARGE
    kernel, positions = kernel_of(linear_consumer), factor_positions(kind, node, operators)
    shape = _weight_shape(linear_consumer)
    ranks = np.arange(highest, 0, -1, dtype=np.intp)
    squared, own = _curve(linear_consumer, patch_moments, kind, kernel, ranks)
    return RankMoves(
        linear_consumer,
        kind,
        ranks,
        squared,
        tuple(own),
        _per_rank(kind, shape, positions),
        _per_rank(kind, shape, Positions(1, 1)),
    )


def useful_rank(
    linear_consumer: LinearConsumer, kind: FactorKind, node: ir.Node, operators: Operators
) -> int | str:
    """Return the highest rank at which a factorization saves anything, or why there is none.

    Args:
        linear_consumer: The node, as a matrix.
        kind: The kind of the factorization.
        node: The node in the graph.
        operators: The operators, by name.
    """
    if linear_consumer.kept_as_is is not None:
        return linear_consumer.kept_as_is
    if linear_consumer.shared is not None:
        return f"its weight {linear_consumer.shared[0]!r} is that of other nodes, too"
    shape = _weight_shape(linear_consumer)
    highest = highest_rank(kind, shape, Positions(1, 1))
    positions = factor_positions(kind, node, operators)
    if positions is not None:
        highest = min(highest, highest_rank(kind, shape, positions))
    if highest < 1:
        columns, outputs = linear_consumer.weights.shape
        return f"no rank saves anything of a weight of {columns} x {outputs}"
    return highest


def _weight_shape(linear_consumer: LinearConsumer) -> WeightShape:
    columns, outputs = linear_consumer.weights.shape
    channels = columns // linear_consumer.source.kernel_size
    return WeightShape(channels, outputs, kernel_of(linear_consumer))


def kernel_of(linear_consumer: LinearConsumer) -> Kernel:
    """Return the kernel of a convolution, empty for any other node."""
    geometry = linear_consumer.source.geometry
    return () if geometry is None else geometry.kernel


def _curve(
    linear_consumer: LinearConsumer,
    patch_moments: PatchMoments,
    kind: FactorKind,
    kernel: Kernel,
    ranks: NDArray[np.intp],
) -> tuple[Float64Array, list[float | None]]:
    """Return the errors of outputs at ranks, and as shares of the outputs' variance."""
    fitted = patch_moments.fitted
    mean = fitted.mean if linear_consumer.has_bias_freedom else np.zeros(fitted.units)
    unseen = patch_moments.validation
    seconds = []
    for part in (fitted, fitted if unseen is None else unseen):
        shift = part.mean - mean
        seconds.append(part.covariance + np.outer(shift, shift))
    matrix, scale = linear_consumer.matrix, linear_consumer.error_scale
    if kind == "pca":
        matrix, mean_square = matrix * scale, 1.0
    else:  # the scale differs by output; on average it multiplies squared errors by its mean square
        mean_square = float((scale**2).mean())
    made = _made_ranks(kind, ranks)
    errors = curve(kind, matrix, *seconds, kernel=kernel, ranks=made.tolist())
    logs = np.interp(ranks, made, np.log(np.maximum(errors, SMALLEST)))
    # A higher rank cannot be worse; on validation examples it may seem so by chance.
    squared: Float64Array = np.maximum.accumulate(np.exp(logs))
    total = float(np.einsum("ij,ij->", matrix, seconds[1] @ matrix))
    if unseen is None or total <= 0:
        return squared * mean_square, [None] * len(ranks)
    return squared * mean_square, (squared / total).tolist()


def _made_ranks(kind: FactorKind, ranks: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the ranks at which factors are made, rising; errors between them are interpolated."""
    highest = int(ranks.max())
    if kind == "pca":
        return np.sort(ranks)
    some = np.rint(highest * np.array(CURVE_SHARES)).astype(np.intp)
    return np.unique(np.clip(np.concatenate([[1], some]), 1, highest))


def _per_rank(
    kind: FactorKind, shape: WeightShape, positions: Positions | None
) -> tuple[float, float]:
    """Return what the first and the second node cost for each rank."""
    if positions is None:
        return 0.0, 0.0
    first = cost(kind, shape, 1, Positions(positions.first, 0)).macs or 0
    second = cost(kind, shape, 1, Positions(0, positions.second)).macs or 0
    return float(first), float(second)


def branch_moves(calibration: Calibration) -> Moves:
    """Return the residual blocks whose branch can be dropped."""
    moves = []
    for branch in calibration.branches:
        spread, spreads = calibration.spreads.get(branch.output), calibration.spreads
        scales = unit_scales(spreads.get(branch.total), spreads.get(branch.norm or ""))
        if spread is not None and scales is not None and len(scales) == len(spread.variances):
            error = float(np.sum(spread.variances * scales**2))
            moves.append(BranchMove(branch, spread.mean, error))
    return Moves(branches=tuple(moves))
