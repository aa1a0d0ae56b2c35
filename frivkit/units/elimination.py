"""Backward elimination of units, and their reconstruction from the units that are kept.

From all units of a layer, the one is removed again and again whose removal raises the least-squares
error of the layer's consumers least.  One run yields the whole nested order and the error after
each removal.

Source: backward selection in least squares with rank-one downdates of the inverse, as in Reeves,
"An efficient implementation of the backward greedy algorithm for sparse signal reconstruction",
IEEE Signal Processing Letters 6, 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.layout import NO_GROUP
from frivkit.units.masks import keep_mask
from frivkit.units.moments import Float64Array

RIDGE = 1e-6
"""Share of the mean variance that is added to each variance: the rounding of float32 sums."""
SHRINK = 0.75
"""Share of remaining units below which the matrices are cut to them."""


@dataclass(frozen=True, slots=True)
class Elimination:
    """The order in which groups of units are removed.

    Attributes:
        order: The groups from the first removed to the last, shape (groups,).
        errors: The least-squares error after each removal, shape (groups,), rising.
    """

    order: NDArray[np.int64]
    errors: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One consumer of units, and the weight of an error in its outputs.

    Attributes:
        covariance: Of the units that it consumes, shape (units, units).
        consumer: Its weights, shape (units, outputs).  None takes the units themselves as outputs,
            so that the error is the variance of the units that the remaining ones leave
            unexplained.
        groups: The group of each unit, ``NO_GROUP`` for one that is never removed, shape (units,).
        weight: Factor on the squared error.
    """

    covariance: Float64Array
    consumer: Float64Array | None
    groups: NDArray[np.intp]
    weight: float = 1.0


def eliminate(
    covariance: Float64Array, consumer: Float64Array | None = None, ridge: float = RIDGE
) -> Elimination:
    """Return the order in which backward elimination removes the units of one layer.

    Args:
        covariance: Of the units, shape (units, units).
        consumer: Weights of the layer's consumer, as in :class:`Term`.
        ridge: Share of the mean variance that is added to each variance.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])  # two alike
        >>> elimination = eliminate(np.cov(rows.T, bias=True))
        >>> sorted(elimination.order[:2].tolist()), elimination.errors.round(3).tolist()
        ([0, 1], [0.0, 1.0, 3.0])
    """
    return eliminate_together([Term(covariance, consumer, np.arange(len(covariance)))], ridge)


def eliminate_together(terms: Sequence[Term], ridge: float = RIDGE) -> Elimination:
    """Return the order in which backward elimination removes groups with several consumers.

    Args:
        terms: The consumers; the error is the sum of theirs.
        ridge: Share of the mean variance of a term's units that is added to each variance.

    Returns:
        The order of all groups that occur in the terms.
    """
    states = [_TermState(term, ridge) for term in terms]
    count = 1 + max((int(term.groups.max(initial=NO_GROUP)) for term in terms), default=NO_GROUP)
    remaining = np.zeros(count, np.bool_)
    for term in terms:
        remaining[term.groups[term.groups != NO_GROUP]] = True
    order, errors, error = [], [], 0.0
    costs = np.zeros(count)
    for _ in range(int(remaining.sum())):
        costs[:] = np.where(remaining, 0.0, np.inf)
        for state in states:
            state.add_costs(costs)
        group = int(costs.argmin())
        error += float(costs[group])
        remaining[group] = False
        order.append(group)
        errors.append(error)
        for state in states:
            state.remove(group)
    return Elimination(np.array(order, np.int64), np.array(errors))


def errors_along(
    terms: Sequence[Term], order: NDArray[np.int64], ridge: float = RIDGE
) -> Float64Array:
    """Return the least-squares error after each group of any order has been removed.

    So orders from different rankings are compared by one measure.

    Args:
        terms: The consumers; the error is the sum of theirs.
        order: The groups from the first removed to the last.
        ridge: Share of the mean variance of a term's units that is added to each variance.

    Returns:
        Shape (groups in the order,), rising.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])  # two alike
        >>> term = Term(np.cov(rows.T, bias=True), None, np.arange(3))
        >>> errors_along([term], np.array([0, 2, 1])).round(3).tolist()
        [0.0, 2.0, 3.0]
    """
    from scipy.linalg import solve_triangular

    costs = np.zeros(len(order))
    for term in terms:
        position = np.full(max(int(term.groups.max(initial=0)), int(order.max(initial=0))) + 2, -1)
        position[order] = np.arange(len(order))
        removal = position[term.groups]  # NO_GROUP is -1, the last entry: never removed
        # Units never removed come first, then the others from the last removed to the first: what
        # a unit explains beyond all before it is the cost of its removal after those behind it.
        by = np.lexsort((-removal, removal >= 0))
        removed = removal[by] >= 0
        root = np.linalg.cholesky(_regular(term, ridge)[np.ix_(by, by)])
        cross = _cross_covariance(term)[by]
        added = solve_triangular(root, cross, lower=True, check_finite=False)
        np.add.at(costs, removal[by][removed], term.weight * (added[removed] ** 2).sum(axis=1))
    errors: Float64Array = np.cumsum(costs)
    return errors


def _regular(term: Term, ridge: float) -> Float64Array:
    """Return the covariance with a ridge added to its diagonal."""
    floor = ridge * float(term.covariance.diagonal().mean()) or 1.0  # nothing varies
    regular: Float64Array = term.covariance + floor * np.eye(len(term.covariance))
    return regular


def _cross_covariance(term: Term) -> Float64Array:
    """Return the covariance of the units with the outputs, shape (units, outputs)."""
    return term.covariance if term.consumer is None else term.covariance @ term.consumer


class _TermState:
    """One term during elimination: the inverse covariance of its remaining units, and the fit."""

    def __init__(self, term: Term, ridge: float) -> None:
        units = len(term.covariance)
        self._inverse = np.asfortranarray(np.linalg.inv(_regular(term, ridge)))
        self._fitted = np.asfortranarray(self._inverse @ _cross_covariance(term))
        self._groups, self._weight = term.groups.copy(), term.weight
        self._remaining = np.ones(units, np.bool_)

    def add_costs(self, costs: Float64Array) -> None:
        """Add the cost of removing each group; a group of several units costs their sum."""
        free = self._groups != NO_GROUP
        squares = np.einsum("ij,ij->i", self._fitted, self._fitted)
        unit_costs = self._weight * squares / self._inverse.diagonal()
        np.add.at(costs, self._groups[free], unit_costs[free])

    def remove(self, group: int) -> None:
        """Remove the units of a group."""
        from scipy.linalg.blas import dger

        removed = np.flatnonzero(self._groups == group)
        for unit in removed:
            column = self._inverse[:, unit].copy()
            share = column / column[unit]
            row = self._fitted[unit].copy()
            self._inverse = dger(-1.0, share, column, a=self._inverse, overwrite_a=1)
            self._fitted = dger(-1.0, share, row, a=self._fitted, overwrite_a=1)
            self._inverse[unit], self._inverse[:, unit] = 0.0, 0.0
            self._inverse[unit, unit], self._fitted[unit] = 1.0, 0.0
            self._groups[unit] = NO_GROUP
            self._remaining[unit] = False
        if removed.size and self._remaining.sum() <= SHRINK * self._remaining.size:
            self._shrink()

    def _shrink(self) -> None:
        """Cut the matrices to the remaining units."""
        at = self._remaining
        self._inverse = np.asfortranarray(self._inverse[np.ix_(at, at)])
        self._fitted = np.asfortranarray(self._fitted[at])
        self._groups, self._remaining = self._groups[at], at[at]


@dataclass(frozen=True, slots=True, eq=False)
class LinearReconstruction:
    """All units of a layer as linear combinations of the kept ones: ``matrix @ units + bias``.

    Attributes:
        matrix: Shape (units, units): rows of kept units are those of the identity, columns of
            removed units are 0.
        bias: Shape (units,), 0 for kept units.
        unexplained: The variance of each unit that is not explained, shape (units,).
    """

    matrix: Float64Array
    bias: Float64Array
    unexplained: Float64Array


def reconstruct(
    mean: Float64Array, covariance: Float64Array, keep: NDArray[np.bool_], ridge: float = RIDGE
) -> LinearReconstruction:
    """Return the least-squares reconstruction of the removed units from the kept ones.

    Args:
        mean: Of each unit, shape (units,).
        covariance: Of the units, shape (units, units).
        keep: True for each unit that is kept, shape (units,).
        ridge: Share of the mean variance that is added to the variance of each kept unit.

    Example:
        >>> rows = np.array([[1.0, 3], [2, 5], [3, 7]])  # the second is twice the first plus 1
        >>> mean, covariance = rows.mean(0), np.cov(rows.T, bias=True)
        >>> reconstruction = reconstruct(mean, covariance, np.array([True, False]))
        >>> reconstruction.matrix.round(3).tolist(), reconstruction.bias.round(3).tolist()
        ([[1.0, 0.0], [2.0, 0.0]], [0.0, 1.0])
    """
    units = len(mean)
    removed = ~keep
    matrix = np.eye(units)
    matrix[removed] = 0.0
    unexplained = np.zeros(units)
    unexplained[removed] = covariance.diagonal()[removed]
    floor = ridge * float(covariance.diagonal().mean())
    if removed.any() and keep.any() and floor > 0:
        inner, cross = covariance[np.ix_(keep, keep)], covariance[np.ix_(keep, removed)]
        weights = np.linalg.solve(inner + floor * np.eye(len(inner)), cross)
        matrix[np.ix_(removed, keep)] = weights.T
        fitted = (weights * (2 * cross - inner @ weights)).sum(axis=0)
        unexplained[removed] = np.maximum(unexplained[removed] - fitted, 0.0)
    bias = np.where(removed, mean - matrix @ mean, 0.0)
    return LinearReconstruction(matrix, bias, unexplained)


def largest_removable(
    mean: Float64Array, covariance: Float64Array, elimination: Elimination, tolerance: float
) -> NDArray[np.bool_]:
    """Return the fewest units that leave at most a share of the layer's variance unexplained.

    Args:
        mean: Of each unit, shape (units,).
        covariance: Of the units, shape (units, units).
        elimination: The order in which units are removed.
        tolerance: Share of the variance that may stay unexplained, in [0, 1).

    Returns:
        True for each unit that is kept, shape (units,): the fewest, in that order.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])
        >>> moments = rows.mean(0), np.cov(rows.T, bias=True)
        >>> int(largest_removable(*moments, eliminate(moments[1]), 0.05).sum())
        2
    """
    bound = (tolerance + RIDGE) * covariance.diagonal().sum()
    low, high = 0, len(mean)
    while low < high:  # the error rises with every unit removed
        middle = (low + high + 1) // 2
        keep = keep_mask(elimination.order, middle)
        if reconstruct(mean, covariance, keep).unexplained.sum() <= bound:
            low = middle
        else:
            high = middle - 1
    return keep_mask(elimination.order, low)
