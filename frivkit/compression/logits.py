"""The logits of attention with fewer dimensions: their error, and the map that keeps it small.

A logit is the product of a query q and a key k.  With dimensions S left it becomes q_S M k_S, and
the M of least squared error over independent queries and keys is, for the second moments
A = E[q q'] and B = E[k k'],

    M = A_SS⁻¹ A_S: B_:S B_SS⁻¹ = (A_SS⁻¹ A_S:) (B_SS⁻¹ B_S:)',

since the error tr(N A N' B), N = I - E_S M E_S', is quadratic in M and its gradient
A_S: (I - E_S M E_S') B_:S vanishes there.  So each removed dimension of q, and of k, is regressed
on the kept ones, and the products of what is explained are added.  The query has a constant 1 as a
further dimension, which is always kept: it becomes a bias.  The key is taken about its mean in each
example, because a Softmax over keys ignores what all keys share.  M goes into the weights that
make the query.

Where it is known what reads the attention, B is the weight of an error instead (see
``score_moments``): the algebra is the same, and errors are shares of what the readers compute.

Source:
    Zhang and Yang, "CORP: Closed-Form One-shot Representation-Preserving Structured Pruning for
    Transformers", arXiv:2602.05243, which models removed components as affine functions of kept
    ones by ridge regression and folds them into weights; the closed form is derived above.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import Float64Array

RIDGE = 1e-3
"""Share of the mean second moment of a dimension that is added to each."""


class Logits(Protocol):
    """The logits of one head, of which dimensions are removed."""

    @property
    def key(self) -> Float64Array:
        """A matrix with a row for each dimension."""

    def map(self, kept: NDArray[np.bool_]) -> Float64Array | None:
        """Return the map of the kept dimensions that goes into weights, None if none can."""

    def error(self, kept: NDArray[np.bool_]) -> float:
        """Return the squared error of a logit without the other dimensions, after the map."""

    def costs(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return what each dimension that is left costs, shape (kept,)."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadMoments:
    """The moments of queries and keys of one head, into whose weights any map can be put.

    Attributes:
        query: E[q q'] of the query with a constant 1 behind its dimensions, shape (dimensions + 1,
            dimensions + 1).
        key: E[k k'] of the key about its mean in each example, or another weight of errors, shape
            (dimensions, dimensions).
    """

    query: Float64Array
    key: Float64Array

    @property
    def variance(self) -> float:
        """The mean square of a logit, apart from what all keys of a query share."""
        return float(np.sum(self.query[:-1, :-1] * self.key))

    def map(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return M of the kept dimensions, shape (kept + 1, kept): its last row is a bias.

        Args:
            kept: Which dimensions stay, shape (dimensions,).

        Example:
            The second dimension of queries is twice the first, that of keys three times:

            >>> query = np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]])
            >>> moments = HeadMoments(query, np.array([[1.0, 3], [3, 9]]))
            >>> moments.map(np.array([True, False])).round(1).tolist()
            [[7.0], [0.0]]
        """
        return _explained(self.query, kept, constant=True) @ self._of_keys(kept).T

    def error(self, kept: NDArray[np.bool_]) -> float:
        """Return the squared error of a logit without the other dimensions, after the map.

        Args:
            kept: Which dimensions stay, shape (dimensions,).
        """
        left = np.eye(len(kept) + 1, len(kept))
        at = np.flatnonzero(kept)
        left[np.ix_(np.append(at, len(kept)), at)] -= self.map(kept)
        return max(float(np.sum((self.query @ left) * (left @ self.key))), 0.0)

    def costs(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return what a logit loses with each dimension that the others do not explain."""
        query, key = (m[np.ix_(kept, kept)] for m in (self.query[:-1, :-1], self.key))
        whole = query.diagonal() * key.diagonal()
        return whole - _explained_part(query) * _explained_part(key)

    def _of_keys(self, kept: NDArray[np.bool_]) -> Float64Array:
        return _explained(self.key, kept, constant=False)


def _explained(moments: Float64Array, kept: NDArray[np.bool_], *, constant: bool) -> Float64Array:
    """Return all dimensions as combinations of the kept ones, shape (kept, dimensions).

    Args:
        moments: Second moments of all dimensions, and of a constant behind them.
        kept: Which dimensions stay, shape (dimensions,).
        constant: Whether there is a constant, which is kept, too.
    """
    from scipy.linalg import solve

    count = len(kept)
    rows = np.append(np.flatnonzero(kept), [count] if constant else []).astype(np.intp)
    ridge = RIDGE * float(moments.diagonal()[:count].mean()) or 1.0
    inner, across = moments[np.ix_(rows, rows)].copy(), moments[rows, :count].copy()
    own = np.arange(int(kept.sum()))
    inner[own, own] += ridge
    across[own, rows[own]] += ridge  # the ridge pulls towards the original
    explained: Float64Array = solve(inner, across, assume_a="pos")
    return explained


def backward_order(
    moments: Sequence[Logits], positions: Sequence[NDArray[np.intp]]
) -> NDArray[np.intp]:
    """Return the order in which dimensions are removed, each time the one of least error.

    Args:
        moments: The logits of the heads that lose the same dimensions, at least one.
        positions: The dimensions of each candidate, which leave together.

    Returns:
        Indices into ``positions``, the first to be removed first.
    """
    count = len(moments[0].key)
    kept = np.ones(count, np.bool_)
    left, order = set(range(len(positions))), []
    while left:
        costs = np.zeros(count)
        for each in moments:
            costs[kept] += each.costs(kept)
        best = min(left, key=lambda i: float(costs[positions[i]].sum()))
        left.remove(best)
        kept[positions[best]] = False
        order.append(best)
    return np.array(order, np.intp)


def _explained_part(moments: Float64Array) -> Float64Array:
    """Return the second moment of each dimension that the others explain, shape (dimensions,)."""
    diagonal = moments.diagonal()
    ridge = RIDGE * float(diagonal.mean()) or 1.0
    inverse = np.linalg.inv(moments + ridge * np.eye(len(moments)))
    explained: Float64Array = np.clip(diagonal - 1 / inverse.diagonal() + ridge, 0.0, diagonal)
    return explained
