"""Which units of a layer to leave out first, and how the rest stands in for them.

Backward elimination: from all units, leave out again and again the one whose loss makes the least
squares prediction of what reads the layer worst by least.  One pass gives the whole nested order
and the error after each step.

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

Array = NDArray[np.float64]
RIDGE = 1e-6
"""Share of the mean variance that is added to each unit's: what float32 sums cannot tell from 0."""
SHRINK = 0.75
"""Share of units left at which those that are gone are taken out of the matrices."""


@dataclass(frozen=True, slots=True)
class Elimination:
    """The order in which groups of units leave.

    Attributes:
        order: The groups from the first to leave to the last, shape (groups,).
        errors: The least-squares error after each of them has left, shape (groups,), growing.
    """

    order: NDArray[np.int64]
    errors: Array


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """Something that reads units, and what an error in its outputs weighs.

    Attributes:
        covariance: Of the units that it reads, shape (units, units).
        readers: The weights by which outputs are made of the units, shape (units, outputs).  None
            takes the units themselves as outputs, so that the error is the variance of the units
            that the remaining ones leave unexplained.
        groups: The group of each unit, ``NO_GROUP`` for one that cannot leave, shape (units,).
        weight: What the squared error is multiplied by.
    """

    covariance: Array
    readers: Array | None
    groups: NDArray[np.intp]
    weight: float = 1.0


def eliminate(covariance: Array, readers: Array | None = None, ridge: float = RIDGE) -> Elimination:
    """Find the order in which the units of one layer can leave.

    Args:
        covariance: Of the units, shape (units, units).
        readers: As in :class:`Term`.
        ridge: Share of the mean variance that is added to each unit's.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])  # two alike
        >>> found = eliminate(np.cov(rows.T, bias=True))
        >>> sorted(found.order[:2].tolist()), found.errors.round(3).tolist()
        ([0, 1], [0.0, 1.0, 3.0])
    """
    return eliminate_together([Term(covariance, readers, np.arange(len(covariance)))], ridge)


def eliminate_together(terms: Sequence[Term], ridge: float = RIDGE) -> Elimination:
    """Find the order in which groups of units can leave that several terms read.

    Args:
        terms: Who reads them; the error is the sum of theirs.
        ridge: Share of the mean variance of a term's units that is added to each.

    Returns:
        The order of all groups that the terms read.
    """
    working = [_Working(term, ridge) for term in terms]
    count = 1 + max((int(term.groups.max(initial=NO_GROUP)) for term in terms), default=NO_GROUP)
    here = np.zeros(count, np.bool_)
    for term in terms:
        here[term.groups[term.groups != NO_GROUP]] = True
    order, errors, error = [], [], 0.0
    costs = np.zeros(count)
    for _ in range(int(here.sum())):
        costs[:] = np.where(here, 0.0, np.inf)
        for each in working:
            each.add_costs(costs)
        group = int(costs.argmin())
        error += float(costs[group])
        here[group] = False
        order.append(group)
        errors.append(error)
        for each in working:
            each.remove(group)
    return Elimination(np.array(order, np.int64), np.array(errors))


def errors_along(terms: Sequence[Term], order: NDArray[np.int64], ridge: float = RIDGE) -> Array:
    """Return the least-squares error after each group of an order has left.

    The order may come from anywhere, so that ways to rank units are compared by one measure.

    Args:
        terms: Who reads the units; the error is the sum of theirs.
        order: The groups from the first to leave to the last.
        ridge: Share of the mean variance of a term's units that is added to each.

    Returns:
        Shape (groups in the order,), growing.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])  # two alike
        >>> term = Term(np.cov(rows.T, bias=True), None, np.arange(3))
        >>> errors_along([term], np.array([0, 2, 1])).round(3).tolist()
        [0.0, 2.0, 3.0]
    """
    from scipy.linalg import solve_triangular

    costs = np.zeros(len(order))
    for term in terms:
        place = np.full(max(int(term.groups.max(initial=0)), int(order.max(initial=0))) + 2, -1)
        place[order] = np.arange(len(order))
        when = place[term.groups]  # NO_GROUP is -1, whose place is the last entry: never
        # Those that never leave come first, then the others from the last to leave to the first:
        # what a unit adds to all before it is what its loss costs once those behind it are gone.
        by = np.lexsort((-when, when >= 0))
        gone = when[by] >= 0
        root = np.linalg.cholesky(_regular(term, ridge)[np.ix_(by, by)])
        made = _made(term)[by]
        added = solve_triangular(root, made, lower=True, check_finite=False)
        np.add.at(costs, when[by][gone], term.weight * (added[gone] ** 2).sum(axis=1))
    errors: Array = np.cumsum(costs)
    return errors


def _regular(term: Term, ridge: float) -> Array:
    """Return the covariance with a ridge."""
    floor = ridge * float(term.covariance.diagonal().mean()) or 1.0  # nothing varies
    regular: Array = term.covariance + floor * np.eye(len(term.covariance))
    return regular


def _made(term: Term) -> Array:
    """Return the covariance of the units with what is made of them."""
    return term.covariance if term.readers is None else term.covariance @ term.readers


class _Working:
    """One term on the way: the inverse of what is left, and the weights fitted to it."""

    def __init__(self, term: Term, ridge: float) -> None:
        units = len(term.covariance)
        self._inverse = np.asfortranarray(np.linalg.inv(_regular(term, ridge)))
        self._fitted = np.asfortranarray(self._inverse @ _made(term))
        self._groups, self._weight = term.groups.copy(), term.weight
        self._left = np.ones(units, np.bool_)

    def add_costs(self, costs: Array) -> None:
        """Add what the loss of each group would cost; one of several units costs their sum."""
        free = self._groups != NO_GROUP
        squares = np.einsum("ij,ij->i", self._fitted, self._fitted)
        mine = self._weight * squares / self._inverse.diagonal()
        np.add.at(costs, self._groups[free], mine[free])

    def remove(self, group: int) -> None:
        """Leave out the units of a group."""
        from scipy.linalg.blas import dger

        gone = np.flatnonzero(self._groups == group)
        for unit in gone:
            column = self._inverse[:, unit].copy()
            share = column / column[unit]
            row = self._fitted[unit].copy()
            self._inverse = dger(-1.0, share, column, a=self._inverse, overwrite_a=1)
            self._fitted = dger(-1.0, share, row, a=self._fitted, overwrite_a=1)
            self._inverse[unit], self._inverse[:, unit] = 0.0, 0.0
            self._inverse[unit, unit], self._fitted[unit] = 1.0, 0.0
            self._groups[unit] = NO_GROUP
            self._left[unit] = False
        if gone.size and self._left.sum() <= SHRINK * self._left.size:
            self._shrink()

    def _shrink(self) -> None:
        left = self._left
        self._inverse = np.asfortranarray(self._inverse[np.ix_(left, left)])
        self._fitted = np.asfortranarray(self._fitted[left])
        self._groups, self._left = self._groups[left], left[left]


@dataclass(frozen=True, slots=True, eq=False)
class LinearReconstruction:
    """How the units that stay give all units of their layer, by least squares.

    Attributes:
        matrix: Rows of units that stay are those of the identity; shape (units, units), with zeros
            in the columns of units that left.
        bias: What is added, shape (units,).
        unexplained: The variance of each unit that is left unexplained, shape (units,).
    """

    matrix: Array
    bias: Array
    unexplained: Array


def reconstruct(
    mean: Array, covariance: Array, keep: NDArray[np.bool_], ridge: float = RIDGE
) -> LinearReconstruction:
    """Predict the units that left from those that stay.

    Args:
        mean: Of each unit, shape (units,).
        covariance: Of the units, shape (units, units).
        keep: True for each unit that stays, shape (units,).
        ridge: Share of the mean variance that is added to the variance of each unit that stays.

    Example:
        >>> rows = np.array([[1.0, 3], [2, 5], [3, 7]])  # the second is twice the first plus 1
        >>> found = reconstruct(rows.mean(0), np.cov(rows.T, bias=True), np.array([True, False]))
        >>> found.matrix.round(3).tolist(), found.bias.round(3).tolist()
        ([[1.0, 0.0], [2.0, 0.0]], [0.0, 1.0])
    """
    units = len(mean)
    gone = ~keep
    matrix = np.eye(units)
    matrix[gone] = 0.0
    unexplained = np.zeros(units)
    unexplained[gone] = covariance.diagonal()[gone]
    floor = ridge * float(covariance.diagonal().mean())
    if gone.any() and keep.any() and floor > 0:
        inner, cross = covariance[np.ix_(keep, keep)], covariance[np.ix_(keep, gone)]
        weights = np.linalg.solve(inner + floor * np.eye(len(inner)), cross)
        matrix[np.ix_(gone, keep)] = weights.T
        fitted = (weights * (2 * cross - inner @ weights)).sum(axis=0)
        unexplained[gone] = np.maximum(unexplained[gone] - fitted, 0.0)
    bias = np.where(gone, mean - matrix @ mean, 0.0)
    return LinearReconstruction(matrix, bias, unexplained)


def largest_removable(
    mean: Array, covariance: Array, elimination: Elimination, tolerance: float
) -> NDArray[np.bool_]:
    """Choose the units that stay so that at most a share of the layer's variance is unexplained.

    Args:
        mean: Of each unit, shape (units,).
        covariance: Of the units, shape (units, units).
        elimination: The order in which units leave.
        tolerance: Share of the variance that may stay unexplained, in [0, 1).

    Returns:
        True for each unit that stays, shape (units,): the fewest, in that order.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])
        >>> moments = rows.mean(0), np.cov(rows.T, bias=True)
        >>> int(largest_removable(*moments, eliminate(moments[1]), 0.05).sum())
        2
    """
    bound = (tolerance + RIDGE) * covariance.diagonal().sum()
    low, high = 0, len(mean)
    while low < high:  # the error grows with every unit that leaves
        middle = (low + high + 1) // 2
        keep = keep_mask(elimination.order, middle)
        if reconstruct(mean, covariance, keep).unexplained.sum() <= bound:
            low = middle
        else:
            high = middle - 1
    return keep_mask(elimination.order, low)
