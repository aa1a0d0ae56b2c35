"""Low-rank factors of a weighted node: two nodes in place of one, of two kinds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np
import onnx_ir as ir

from frivkit.compression.separable import (
    full_separable_rank,
    separable_curve,
    separable_factors,
    separable_matrix,
)
from frivkit.graph.cost import Cost, node_macs
from frivkit.graph.layout import shape_of
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import OPERATORS
from frivkit.units.moments import Float64Array

FactorKind = Literal["pca", "separable"]
"""How a node becomes two: ``pca``, a node onto principal directions of its outputs and a linear
node; or ``separable``, a k x 1 convolution and a 1 x k one."""
Kernel = tuple[int, ...]
"""The size of a kernel along each spatial axis; empty for a node that is not a convolution."""
LEAST_SCALE = 1e-4
"""Share of the largest scale of errors below which an output's scale counts so."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """The weights of two nodes, as :func:`frivkit.graph.surgery.factorize.factorize` takes them.

    Attributes:
        kind: How the node becomes two.
        first: Shape (columns, rank) for ``pca``, (rank, channels, kh) for ``separable``.
        second: Shape (rank, outputs) for ``pca``, (outputs, rank, kw) for ``separable``.
    """

    kind: FactorKind
    first: Float64Array
    second: Float64Array

    @property
    def rank(self) -> int:
        """The number of channels between the two nodes."""
        return int(self.first.shape[1 if self.kind == "pca" else 0])

    @property
    def matrix(self) -> Float64Array:
        """The weights of the one node that both are together, shape (columns, outputs)."""
        if self.kind == "separable":
            return separable_matrix(self.first, self.second)
        return self.first @ self.second

    def first_matrix(self, kernel: Kernel) -> Float64Array:
        """Return what the first node makes of a patch, shape (columns, channels in between).

        For a separable pair these are channels of each column of the kernel.
        """
        if self.kind == "pca":
            return self.first
        rank, channels, height = self.first.shape
        width = _plane(kernel)[1]
        spread = np.einsum("rch,vw->chvrw", self.first, np.eye(width))
        matrix: Float64Array = spread.reshape(channels * height * width, rank * width)
        return matrix

    @property
    def second_matrix(self) -> Float64Array:
        """The weights of the second node, shape (channels in between, outputs)."""
        return self.second if self.kind == "pca" else self.second.reshape(len(self.second), -1).T

    def with_second(self, matrix: Float64Array) -> "Factors":
        """Return factors with another second node, given as :attr:`second_matrix`."""
        second = matrix if self.kind == "pca" else matrix.T.reshape(self.second.shape)
        return replace(self, second=second)


@dataclass(frozen=True, slots=True)
class WeightShape:
    """The shape of a node's weight.

    Attributes:
        channels: The number of its input channels.
        outputs: The number of its outputs, for a transposed convolution times its kernel's size.
        kernel: The size of the kernel; empty for a transposed convolution or a dense node.
    """

    channels: int
    outputs: int
    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Positions:
    """How often each of two nodes reads its weights for one example.

    Attributes:
        first: The number of positions of the first node's outputs.
        second: The number of positions of the second node's outputs.
    """

    first: int
    second: int


def factor(
    kind: FactorKind,
    matrix: Float64Array,
    second_moment: Float64Array,
    kernel: Kernel,
    rank: int,
    *,
    error_scale: Float64Array | None = None,
) -> Factors:
    """Return the factors of a rank that have the least error on data.

    Args:
        kind: How the node becomes two.
        matrix: The weights, shape (columns, outputs); columns are ordered by channel, then by
            position in the kernel.
        second_moment: The second moment of the columns, or their covariance if a bias takes up the
            mean; shape (columns, columns).
        kernel: The size of the kernel.
        rank: The number of channels in between, from 1 to ``full_rank``.
        error_scale: What errors of the outputs are multiplied by, shape (outputs,); None takes all
            alike, as separable factors always do.

    Raises:
        ValueError: the rank is not in this range, or the kind does not apply to the kernel.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> patches, matrix = generator.normal(size=(50, 8)), generator.normal(size=(8, 3))
        >>> pair = factor("pca", matrix, patches.T @ patches / 50, (2, 2), rank=2)
        >>> pair.first.shape, pair.second.shape, pair.matrix.shape
        ((8, 2), (2, 3), (8, 3))

    Source:
        ``pca``: X. Zhang, J. Zou, K. He, J. Sun, Accelerating Very Deep Convolutional Networks for
        Classification and Detection, TPAMI 2016; reduced-rank regression, Izenman, Journal of
        Multivariate Analysis 5, 1975.  ``separable``: see
        :func:`~frivkit.compression.separable.separable_factors`.
    """
    if kind == "separable":
        return Factors(kind, *separable_factors(matrix, second_moment, _plane(kernel), rank))
    if not 1 <= rank <= full_rank(kind, matrix, kernel):
        raise ValueError(f"rank {rank} of a weight of shape {matrix.shape}")
    if rank == matrix.shape[0] < matrix.shape[1]:
        return Factors(kind, np.eye(rank), matrix)
    scale = np.ones(matrix.shape[1]) if error_scale is None else error_scale
    scale = np.maximum(scale, LEAST_SCALE * float(scale.max()) or 1.0)
    directions = _directions(matrix * scale, second_moment)[:, :rank]
    return Factors(kind, (matrix * scale) @ directions, directions.T / scale)


def curve(
    kind: FactorKind,
    matrix: Float64Array,
    fitted: Float64Array,
    validation: Float64Array,
    *,
    kernel: Kernel,
    ranks: Sequence[int],
) -> Float64Array:
    """Return the squared error of the outputs at several ranks, on data that are not fitted to.

    Args:
        kind: How the node becomes two.
        matrix: The weights, shape (columns, outputs).
        fitted: The second moment that factors are fitted to, shape (columns, columns).
        validation: The second moment that errors are taken on, shape (columns, columns).
        kernel: The size of the kernel.
        ranks: The ranks, each from 0 to ``full_rank``.

    Returns:
        The mean squared error of the outputs, summed over outputs; shape (ranks,).

    Raises:
        ValueError: the kind does not apply to the kernel.
    """
    if kind == "separable":
        return separable_curve(matrix, fitted, validation, kernel=_plane(kernel), ranks=ranks)
    directions = _directions(matrix, fitted)
    outputs = matrix @ directions
    explained = np.einsum("ij,ij->j", outputs, validation @ outputs)
    left = explained.sum() - np.concatenate([[0.0], np.cumsum(explained)])
    full = full_rank(kind, matrix, kernel)
    return np.array([0.0 if rank >= full else max(float(left[rank]), 0.0) for rank in ranks])


def full_rank(kind: FactorKind, matrix: Float64Array, kernel: Kernel) -> int:
    """Return the least rank at which factors of that kind are exact for any weights.

    Raises:
        ValueError: the kind does not apply to the kernel.
    """
    if kind == "separable":
        return full_separable_rank(matrix, _plane(kernel))
    return int(min(matrix.shape))


def cost(kind: FactorKind, shape: WeightShape, rank: int, positions: Positions) -> Cost:
    """Return the weights and multiply-accumulates of the two nodes of a rank, biases not counted.

    Args:
        kind: How the node becomes two.
        shape: The shape of its weight.
        rank: The number of channels in between.
        positions: How often each of the two reads its weights, see :func:`factor_positions`.

    Example:
        >>> cost("separable", WeightShape(64, 128, (3, 3)), 32, Positions(100, 100))
        Cost(parameters=18432, macs=1843200)
    """
    if kind == "separable":
        height, width = _plane(shape.kernel)
        first, second = rank * shape.channels * height, shape.outputs * rank * width
    else:
        first, second = shape.channels * prod(shape.kernel) * rank, rank * shape.outputs
    return Cost(first + second, first * positions.first + second * positions.second)


def highest_rank(kind: FactorKind, shape: WeightShape, positions: Positions) -> int:
    """Return the highest rank at which two nodes have fewer multiply-accumulates than one.

    Args:
        kind: How the node becomes two.
        shape: The shape of its weight.
        positions: How often each of the two reads its weights; ``Positions(1, 1)`` compares numbers
            of weights.

    Returns:
        At least 0, which stands for none: always 0 for the kind ``separable`` unless the kernel
        has two sides above 1.

    Example:
        >>> highest_rank("separable", WeightShape(64, 64, (3, 3)), Positions(100, 100))
        95
        >>> highest_rank("separable", WeightShape(64, 64, (1, 1)), Positions(100, 100))
        0
    """
    if kind == "separable" and not is_separable(shape.kernel):
        return 0
    whole = shape.channels * prod(shape.kernel) * shape.outputs * positions.second
    return (whole - 1) // (cost(kind, shape, 1, positions).macs or 1)


def is_separable(kernel: Kernel) -> bool:
    """Whether it helps to split a kernel into a column and a row: it has two sides above 1."""
    return len(kernel) == 2 and min(kernel) > 1


def factor_positions(
    kind: FactorKind, node: ir.Node, operators: Operators = OPERATORS
) -> Positions | None:
    """Return how often the two nodes made of a node read their weights for one example.

    The kh x 1 convolution of a separable pair has the vertical stride of the node, the 1 x kw one
    the horizontal stride.  So the outputs of the first are as wide as the inputs of the node.

    Args:
        kind: How the node becomes two.
        node: The node; its shapes are known.
        operators: The operators, by name.

    Returns:
        The positions, None if a size is not known.
    """
    macs, weight = node_macs(node, operators), shape_of(node.inputs[1])
    if macs is None or weight is None or None in weight:
        return None
    positions = macs // prod(size or 1 for size in weight)
    if kind == "pca":
        return Positions(positions, positions)
    before, after = shape_of(node.inputs[0]) or (), shape_of(node.outputs[0]) or ()
    if len(before) != 4 or len(after) != 4 or before[3] is None or after[2] is None:
        return None
    return Positions(after[2] * before[3], positions)


def _plane(kernel: Kernel) -> tuple[int, int]:
    """Return the height and width of a kernel.

    Raises:
        ValueError: it has not two sides.
    """
    if len(kernel) != 2:
        raise ValueError(f"a kernel of shape {kernel} cannot be split into a column and a row")
    return kernel[0], kernel[1]


def _directions(matrix: Float64Array, second_moment: Float64Array) -> Float64Array:
    """Return the principal directions of outputs by decreasing variance, (outputs, outputs)."""
    directions: Float64Array = np.linalg.eigh(matrix.T @ second_moment @ matrix)[1][:, ::-1]
    return directions
