"""Backward elimination of units, and their reconstruction from the units that are kept.

From all units of a layer, the one is removed again and again whose removal raises the least-squares
error of the layer's consumers least.  One run yields the whole nested order and the error after
each removal.

Source: backward selection in least squares with rank-one downdates of the inverse, as in Reeves,
"An efficient implementation of the backward greedy algorithm for sparse signal reconstruction",
IEEE Signal Processing Letters 6, 1999; downdates are deferred and applied in panels, as blocked
factorizations do (Golub and Van Loan, "Matrix Computations", 4th edition, section 3.2.11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from frivkit.graph.layout import NO_GROUP
from frivkit.units.masks import keep_mask
from frivkit.units.moments import Float64Array

RIDGE = 1e-6
"""Share of the mean variance that is added to each variance: the rounding of float32 sums."""
SHRINK = 0.75
"""Share of remaining units below which the matrices are cut to them."""
PANEL = 32
"""Removals after which the matrices are brought up to date, in products of whole matrices."""


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
    count = 1 + max((int(term.groups.max(initial=NO_GROUP)) for term in terms), default=NO_GROUP)
    remaining = np.zeros(count, np.bool_)
    for term in terms:
        remaining[term.groups[term.groups != NO_GROUP]] = True
    order, errors, error = [], [], 0.0
    states = [_TermState(term, ridge) for term in terms]
    # The products of one step are too small to share: threads would spend their time waiting.
    with threadpool_limits(1):
        for _ in range(int(remaining.sum())):
            costs = np.where(remaining, 0.0, np.inf)
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
    """One term during elimination.

    Two symmetric matrices of the remaining units are held: the inverse of their covariance, and the
    inner products of their rows of weights, which are fitted to the outputs of all units.  The
    removal of a unit subtracts a matrix of rank one from the first and one of rank two from the
    second.  What is subtracted waits in panels, and is applied to columns when they are needed.
    """

    def __init__(self, term: Term, ridge: float) -> None:
        regular = _regular(term, ridge)
        units = len(regular)
        self._inverse = np.asfortranarray(_inverse(regular))
        fitted = self._inverse @ _cross_covariance(term)
        self._products = np.asfortranarray(fitted @ fitted.T)
        self._groups, self._weight = term.groups.copy(), term.weight
        self._remaining = np.ones(units, np.bool_)
        self._diagonals = np.stack([self._inverse.diagonal(), self._products.diagonal()])
        self._waiting = 0
        self._columns, self._shares, self._halves = np.zeros((3, PANEL, units))

    def add_costs(self, costs: Float64Array) -> None:
        """Add the cost of removing each group; a group of several units costs their sum."""
        free = self._groups != NO_GROUP
        variances, squares = self._diagonals[:, free]
        unit_costs = self._weight * np.maximum(squares, 0.0) / variances
        costs += np.bincount(self._groups[free], unit_costs, len(costs))

    def remove(self, group: int) -> None:
        """Remove the units of a group."""
        while (units := np.flatnonzero(self._groups == group)).size:
            self._remove_unit(int(units[0]))
            if self._waiting == PANEL:
                self._update()  # which may number the units anew

    def _remove_unit(self, unit: int) -> None:
        """Note what the removal of a unit subtracts, and bring the diagonals up to date."""
        waiting = self._waiting
        columns, shares, halves = (
            each[:waiting] for each in (self._columns, self._shares, self._halves)
        )
        column = self._inverse[:, unit] - columns[:, unit] @ shares
        product = self._products[:, unit] - halves[:, unit] @ shares - shares[:, unit] @ halves
        self._remaining[unit] = False
        self._groups[unit] = NO_GROUP
        share = np.where(self._remaining, column / column[unit], 0.0)
        half = np.where(self._remaining, product - product[unit] / 2 * share, 0.0)
        self._columns[waiting], self._shares[waiting], self._halves[waiting] = column, share, half
        self._diagonals[0] -= column * share
        self._diagonals[1] -= 2 * share * half
        self._waiting += 1

    def _update(self) -> None:
        """Subtract what waits, and cut the matrices to the remaining units if many are gone."""
        from scipy.linalg.blas import dgemm

        both, swapped = (
            np.concatenate(pair).T
            for pair in ((self._shares, self._halves), (self._halves, self._shares))
        )
        columns, shares = self._columns.T, self._shares.T
        self._inverse = dgemm(
            -1.0, columns, shares, beta=1.0, c=self._inverse, trans_b=1, overwrite_c=1
        )
        self._products = dgemm(
            -1.0, both, swapped, beta=1.0, c=self._products, trans_b=1, overwrite_c=1
        )
        self._waiting = 0
        if self._remaining.sum() <= SHRINK * self._remaining.size:
            at = self._remaining
            self._inverse = np.asfortranarray(self._inverse[np.ix_(at, at)])
            self._products = np.asfortranarray(self._products[np.ix_(at, at)])
            self._diagonals = self._diagonals[:, at]
            self._groups, self._remaining = self._groups[at], at[at]
            self._columns, self._shares, self._halves = np.zeros((3, PANEL, int(at.sum())))
        self._diagonals[0, self._remaining] = self._inverse.diagonal()[self._remaining]
        self._diagonals[1, self._remaining] = self._products.diagonal()[self._remaining]


def _inverse(matrix: Float64Array) -> Float64Array:
    """Return the inverse of a positive definite matrix; of any other by elimination."""
    from scipy.linalg.lapack import dpotrf, dpotri

    root, failed = dpotrf(matrix, lower=1)
    inverse: Float64Array
    if failed:
        inverse = np.linalg.inv(matrix).astype(np.float64, copy=False)
    else:
        lower, _ = dpotri(root, lower=1, overwrite_c=1)
        inverse = np.tril(lower) + np.tril(lower, -1).T
    return inverse


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
