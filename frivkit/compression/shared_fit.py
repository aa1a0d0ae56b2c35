"""One ridge fit of a weight that several nodes read, perhaps in two orientations.

Nodes that read a weight in one orientation are fitted as one node that reads the rows of all of
them.  A node that reads it transposed, as the decoder of a tied autoencoder does, is fitted with
them: with second moments S of what is read along one axis and C along the other, the normal
equation of both is S W + W C = R, a Sylvester equation.

Source:
    Bartels and Stewart, "Solution of the Matrix Equation AX + XB = C", Communications of the ACM
    15(9), 1972, as SciPy solves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import ConsumerInput, LinearConsumer
from frivkit.compression.packed_moments import PackedMoments, pack
from frivkit.compression.patch_moments import PatchMoments
from frivkit.compression.ridge import (
    DEFAULT,
    Fit,
    choose_ridge,
    fit_ridge,
    mean_and_second_moment,
    ridge_of,
    without_refit,
)
from frivkit.units.moments import Float64Array, merged

Reader = tuple[LinearConsumer, NDArray[np.bool_]]
"""A node without its removed outputs, and which of its columns are kept, shape (columns,)."""


def fit_shared(
    users: Sequence[Reader], moments: Mapping[ConsumerInput, PatchMoments], *, complete: bool
) -> tuple[Fit, ...]:
    """Return fits of the readers of one weight that agree in it.

    Args:
        users: The nodes that read the weight.
        moments: The moments of their inputs.
        complete: Whether these are all nodes that read it.  If not, or if they read it scaled
            differently, its numbers stay and no fit is made.
    """
    first = users[0][0].shared
    sides = [[each for each in users if each[0].shared == side] for side in _sides(users)]
    alike = all(_alike(side) for side in sides) and (len(sides) < 2 or _transposed(sides))
    if not complete or not alike or first is None:
        return tuple(without_refit(*reader) for reader in users)
    pooled = [_Orientation.of(side, moments) for side in sides]
    if any(side.moments.per_channel for side in pooled) and len(pooled) > 1:
        return tuple(without_refit(*reader) for reader in users)
    if len(pooled) == 1:
        fit = fit_ridge(pooled[0].consumer, pooled[0].moments, pooled[0].columns)
        solved, strength, error = [fit.matrix], fit.ridge, fit.error
    else:
        matrix, strength = _solve(pooled[0], pooled[1])
        solved, error = [matrix, matrix.T], None
    by_side = dict(zip(_sides(users), zip(pooled, solved, strict=True), strict=True))
    fits = []
    for consumer, columns in users:
        side, matrix = by_side[consumer.shared or ("", 0)]
        bias = side.bias(consumer, columns, matrix)
        fits.append(Fit(consumer, columns, matrix, bias, strength, error))
    return tuple(fits)


def _sides(users: Sequence[Reader]) -> list[tuple[str, int]]:
    """Return the orientations in which readers read their weight, in order."""
    return list(dict.fromkeys(each.shared for each, _ in users if each.shared is not None))


def _alike(side: Sequence[Reader]) -> bool:
    """Whether readers in one orientation read the same numbers, and lose the same columns."""
    matrix, columns = side[0][0].matrix, side[0][1]
    return all(
        np.array_equal(each.matrix, matrix) and np.array_equal(flags, columns)
        for each, flags in side[1:]
    )


def _transposed(sides: Sequence[Sequence[Reader]]) -> bool:
    """Whether the readers of both orientations read the same numbers."""
    (one, kept), (other, others) = sides[0][0], sides[1][0]
    return np.array_equal(one.matrix[kept], other.matrix[others].T)


@dataclass(frozen=True, slots=True, eq=False)
class _Orientation:
    """The readers of a weight in one orientation, as one node.

    Attributes:
        consumer: The first of them, without a free bias if one of them has none.
        columns: Which columns are kept, shape (columns,).
        moments: The moments of the rows of all of them; about the mean of the rows of each bias if
            there are several biases.
        means: By the name of a bias the mean of the rows that it is added to, shape (columns,).
    """

    consumer: LinearConsumer
    columns: NDArray[np.bool_]
    moments: PatchMoments
    means: Mapping[str | None, Float64Array]

    @classmethod
    def of(
        cls, side: Sequence[Reader], moments: Mapping[ConsumerInput, PatchMoments]
    ) -> "_Orientation":
        """Return the readers of one orientation as one node."""
        free = all(each.has_bias_freedom for each, _ in side)
        consumer = replace(side[0][0], has_bias_freedom=free)
        by_bias: dict[str | None, list[PatchMoments]] = {}
        for each, _ in side:
            key = each.consumer.bias if free else None
            by_bias.setdefault(key, []).append(moments[each.source])
        pools = {bias: _pooled(parts) for bias, parts in by_bias.items()}
        means = {bias: pool.mean for bias, pool in pools.items()}
        several = list(pools.values())
        if len(pools) > 1:
            several = [_centred(pools[bias], means[bias]) for bias in pools]
        return cls(consumer, side[0][1], _pooled(several), means)

    def bias(
        self, consumer: LinearConsumer, columns: NDArray[np.bool_], matrix: Float64Array
    ) -> Float64Array | None:
        """Return the bias of a reader with a new matrix, None if it is not free."""
        if not self.consumer.has_bias_freedom:
            return None
        mean = self.means[consumer.consumer.bias]
        bias: Float64Array = consumer.bias + mean @ consumer.matrix - mean[columns] @ matrix
        return bias


def _pooled(several: Sequence[PatchMoments]) -> PatchMoments:
    """Return the moments of the rows of several inputs together."""
    if len(several) == 1:
        return several[0]
    parts = []
    for both in zip(*(each.parts for each in several), strict=True):
        total = merged(part.moments for part in both)
        parts.append(PackedMoments(total.count, total.shift, total.total, pack(total.gram)))
    return PatchMoments(tuple(parts), several[0].per_channel)


def _centred(moments: PatchMoments, mean: Float64Array) -> PatchMoments:
    """Return moments of rows from which a vector is subtracted."""
    parts = []
    for part in moments.parts:
        about = part.moments.about(mean)
        parts.append(PackedMoments(about.count, mean * 0.0, about.total, pack(about.gram)))
    return PatchMoments(tuple(parts), moments.per_channel)


def _solve(one: _Orientation, other: _Orientation) -> tuple[Float64Array, float]:
    """Return the matrix of one orientation that serves both best, and the strength of its ridge.

    The error of each orientation counts as a share of the variance of its outputs.
    """
    from scipy.linalg import solve_sylvester

    left, right_of_left, strength = _normal(one)
    right, right_of_right, second = _normal(other)
    solved: Float64Array = solve_sylvester(left, right, right_of_left + right_of_right.T)
    return solved, max(strength, second)


def _normal(side: _Orientation) -> tuple[Float64Array, Float64Array, float]:
    """Return the matrix and the right side of one normal equation, and the strength of its ridge.

    Returns:
        Shapes (kept columns, kept columns) and (kept columns, outputs).
    """
    consumer, columns, strength = side.consumer, side.columns, DEFAULT
    if side.moments.has_validation and not columns.all():
        strength, _, _ = choose_ridge(consumer, side.moments, columns)
    _, second = mean_and_second_moment(consumer, side.moments.whole)
    variance = float(np.einsum("ij,ij->", consumer.matrix, second @ consumer.matrix)) or 1.0
    ridge = ridge_of(strength, float(second.diagonal().mean()), len(columns))
    inner = second[np.ix_(columns, columns)]
    target = second[columns] @ consumer.matrix + ridge * consumer.matrix[columns]
    return (inner + ridge * np.eye(len(inner))) / variance, target / variance, strength
