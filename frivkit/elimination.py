"""Which units of a layer to leave out first, and how the rest stands in for them.

Backward elimination: from all units, leave out again and again the one whose loss makes the least
squares prediction of what reads the layer worst by least.  One pass gives the whole nested order
and the error after each step.

Source: backward selection in least squares with rank-one downdates of the inverse, as in Reeves,
"An efficient implementation of the backward greedy algorithm for sparse signal reconstruction",
IEEE Signal Processing Letters 6, 1999.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.masks import without

Array = NDArray[np.float64]
RIDGE = 1e-6
"""Share of the mean variance that is added to each unit's: what float32 sums cannot tell from 0."""
STEPS = 512
"""Steps in which a layer is taken apart at most; wider layers lose several units a step."""
CANDIDATES = 4
"""Units looked at for each one that leaves in a step."""


@dataclass(frozen=True, slots=True, eq=False)
class Elimination:
    """The order in which units leave.

    Attributes:
        order: The units from the first to leave to the last, shape (units,).
        errors: The least-squares error after each of them has left, shape (units,), growing.
    """

    order: NDArray[np.int64]
    errors: Array


def eliminate(covariance: Array, readers: Array | None = None, ridge: float = RIDGE) -> Elimination:
    """Find the order in which units can leave.

    Args:
        covariance: Of the units, shape (units, units).
        readers: The weights by which outputs are made of the units, shape (units, outputs); the
            error is that of these outputs.  None takes the units themselves as outputs, so that
            the error is the variance of the units that the remaining ones leave unexplained.
        ridge: Share of the mean variance that is added to each unit's.

    Example:
        >>> rows = np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 2], [0, 0, -2]])  # two alike
        >>> found = eliminate(np.cov(rows.T, bias=True))
        >>> sorted(found.order[:2].tolist()), found.errors.round(3).tolist()
        ([0, 1], [0.0, 1.0, 3.0])
    """
    units = len(covariance)
    variance = covariance.diagonal()
    floor = ridge * float(variance.mean()) or 1.0  # nothing varies: every order will do
    inverse = np.linalg.inv(covariance + floor * np.eye(units))
    weights = covariance if readers is None else covariance @ readers
    fitted = inverse @ weights
    left = np.arange(units)
    order, errors, error = [], [], 0.0
    block = max(1, -(-units // STEPS))
    while left.size:
        gone, costs = _cheapest(inverse, fitted, min(block, left.size))
        order.extend(left[gone].tolist())
        for cost in costs:
            error += cost
            errors.append(error)
        stay = np.setdiff1d(np.arange(left.size), gone)
        corner = np.linalg.inv(inverse[np.ix_(gone, gone)])
        share = inverse[np.ix_(stay, gone)] @ corner
        fitted = fitted[stay] - share @ fitted[gone]
        inverse = inverse[np.ix_(stay, stay)] - share @ inverse[np.ix_(gone, stay)]
        left = left[stay]
    return Elimination(np.array(order, np.int64), np.array(errors))


def _cheapest(
    inverse: NDArray[np.floating], fitted: NDArray[np.floating], count: int
) -> tuple[NDArray[np.int64], list[float]]:
    """Choose the units that leave in one step, one after the other, among the cheapest ones."""
    costs = (fitted**2).sum(axis=1) / inverse.diagonal()
    if count == 1:
        best = int(costs.argmin())
        return np.array([best]), [float(costs[best])]
    candidates = np.argsort(costs, kind="stable")[: CANDIDATES * count]
    small, rows = inverse[np.ix_(candidates, candidates)], fitted[candidates]
    gone: list[int] = []
    paid: list[float] = []
    for _ in range(count):
        costs = (rows**2).sum(axis=1) / small.diagonal()
        costs[gone] = np.inf
        best = int(costs.argmin())
        gone.append(best)
        paid.append(float(costs[best]))
        share = small[:, best] / small[best, best]
        share[best] = 0.0
        rows = rows - np.outer(share, rows[best])
        small = small - np.outer(share, small[best])
    return candidates[gone], paid


@dataclass(frozen=True, slots=True, eq=False)
class StandIn:
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


def stand_in(
    mean: Array, covariance: Array, keep: NDArray[np.bool_], ridge: float = RIDGE
) -> StandIn:
    """Predict the units that left from those that stay.

    Args:
        mean: Of each unit, shape (units,).
        covariance: Of the units, shape (units, units).
        keep: True for each unit that stays, shape (units,).
        ridge: Share of the mean variance that is added to the variance of each unit that stays.

    Example:
        >>> rows = np.array([[1.0, 3], [2, 5], [3, 7]])  # the second is twice the first plus 1
        >>> found = stand_in(rows.mean(0), np.cov(rows.T, bias=True), np.array([True, False]))
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
    return StandIn(matrix, bias, unexplained)


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
        keep = without(elimination.order, middle)
        if stand_in(mean, covariance, keep).unexplained.sum() <= bound:
            low = middle
        else:
            high = middle - 1
    return without(elimination.order, low)
