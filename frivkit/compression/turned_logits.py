"""The logits of attention whose maps are not free: of turned queries and keys, or none at all.

A rotation of positions (RoPE, Su 2021) turns a pair of dimensions by an angle that grows with the
position.  It commutes with what scales and turns a pair by one amount at all positions, and with no
other map, since other pairs turn by other angles.  With dimensions S left a logit is thus

    sum over pairs g in S of  a_g (q_1 k_1 + q_2 k_2) + b_g (q_1 k_2 - q_2 k_1),

and a_g, b_g are least squares on these products.  For independent queries and keys with second
moments A = E[q q'] and B = E[k k'], both behind the rotation, the expected product of two of them,
q' E k and q' F k, is tr(E' A F B).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.logits import RIDGE
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class CutLogits:
    """The moments of queries and keys into which no map can be put.

    Attributes:
        query: E[q q'], shape (dimensions, dimensions).
        key: E[k k'], or another weight of errors, shape (dimensions, dimensions).
    """

    query: Float64Array
    key: Float64Array

    def map(self, kept: NDArray[np.bool_]) -> Float64Array | None:
        """Return None: dimensions are cut."""
        del kept
        return None

    def error(self, kept: NDArray[np.bool_]) -> float:
        """Return the squared error of a logit without the other dimensions.

        Example:
            >>> logits = CutLogits(np.diag([1.0, 2.0]), np.diag([3.0, 4.0]))
            >>> logits.error(np.array([True, False]))
            8.0
        """
        return max(float((self.query * self.key)[np.ix_(~kept, ~kept)].sum()), 0.0)

    def costs(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return what each dimension that is left costs, shape (kept,)."""
        products = self.query * self.key
        costs: Float64Array = products.diagonal()[kept] + 2 * products[np.ix_(kept, ~kept)].sum(1)
        return costs


@dataclass(frozen=True, slots=True, eq=False)
class TurnedLogits:
    """The moments of queries and keys that are turned pair by pair.

    Attributes:
        query: E[q q'] behind the rotation, shape (dimensions, dimensions).
        key: E[k k'] behind it, or another weight of errors, shape (dimensions, dimensions).
        pairs: The dimensions that are turned together, shape (pairs, 2); others are scaled only.
    """

    query: Float64Array
    key: Float64Array
    pairs: NDArray[np.intp]
    _products: "_Products" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_products", _Products.of(self.query, self.key, self.pairs))

    def map(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return M of the kept dimensions, shape (kept + 1, kept): its last row, a bias, is 0.

        Args:
            kept: Which dimensions stay, shape (dimensions,); of a pair both or none.

        Example:
            Of two equal pairs one makes up for the other:

            >>> same = np.tile(np.eye(2), (2, 2))
            >>> turned = TurnedLogits(same, same, np.array([[0, 1], [2, 3]]))
            >>> turned.map(np.array([True, True, False, False])).round(1).tolist()
            [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
        """
        whole = self._products.matrix(self._products.fitted(kept))
        at = np.flatnonzero(kept)
        return np.vstack([whole[np.ix_(at, at)], np.zeros((1, len(at)))])

    def error(self, kept: NDArray[np.bool_]) -> float:
        """Return the squared error of a logit without the other dimensions, after the map."""
        lost = self._products.whole - self._products.fitted(kept)
        return max(float(lost @ self._products.second @ lost), 0.0)

    def costs(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return what each dimension that is left costs, shape (kept,); of a pair half of both."""
        return self._products.costs(kept)[kept]


@dataclass(frozen=True, slots=True, eq=False)
class _Products:
    """Products of queries and keys that a logit is a sum of: q' E k, for several E of two entries.

    Attributes:
        rows: The dimension of the query in both entries, shape (products, 2).
        columns: That of the key.
        signs: The entries; 0 for one that is not there.
        second: The expected product of two of them, shape (products, products).
        whole: How often each is in the logit itself, shape (products,).
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    signs: Float64Array
    second: Float64Array
    whole: Float64Array

    @classmethod
    def of(cls, query: Float64Array, key: Float64Array, pairs: NDArray[np.intp]) -> "_Products":
        """Return the products of pairs, and of each dimension that is in none."""
        alone = np.setdiff1d(np.arange(len(key)), pairs)
        rows = np.vstack([pairs, pairs, np.column_stack([alone, alone])])
        columns = np.vstack([pairs, pairs[:, ::-1], np.column_stack([alone, alone])])
        count = len(pairs)
        signs = np.ones(rows.shape)
        signs[count : 2 * count, 1] = -1.0
        signs[2 * count :, 1] = 0.0
        second = np.zeros((len(rows), len(rows)))
        for i in range(2):
            for j in range(2):
                weight = np.outer(signs[:, i], signs[:, j])
                both = query[np.ix_(rows[:, i], rows[:, j])]
                second += weight * both * key[np.ix_(columns[:, i], columns[:, j])]
        whole = np.ones(len(rows))
        whole[count : 2 * count] = 0.0
        return cls(rows, columns, signs, second, whole)

    def fitted(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return how often each product is taken to make up for the others, shape (products,)."""
        taken, coefficients = np.flatnonzero(kept[self.rows[:, 0]]), np.zeros(len(self.rows))
        if len(taken):
            inner, wanted = self._equations(taken)
            coefficients[taken] = np.linalg.solve(inner, wanted)
        return coefficients

    def costs(self, kept: NDArray[np.bool_]) -> Float64Array:
        """Return what each dimension costs beyond what is gone, shape (dimensions,)."""
        taken, costs = np.flatnonzero(kept[self.rows[:, 0]]), np.zeros(len(kept))
        inner, wanted = self._equations(taken)
        inverse = np.linalg.inv(inner)
        fitted = inverse @ wanted
        firsts = self.rows[taken, 0]
        for first in np.unique(firsts):
            mine = np.flatnonzero(firsts == first)
            own = fitted[mine]
            cost = float(own @ np.linalg.solve(inverse[np.ix_(mine, mine)], own))
            dimensions = np.unique(self.rows[taken[mine]])
            costs[dimensions] += cost / len(dimensions)
        return costs

    def matrix(self, coefficients: Float64Array) -> Float64Array:
        """Return the sum of products as a map of the dimensions of queries."""
        size = int(self.rows.max()) + 1
        made = np.zeros((size, size))
        np.add.at(made, (self.rows, self.columns), self.signs * coefficients[:, np.newaxis])
        return made

    def _equations(self, taken: NDArray[np.intp]) -> tuple[Float64Array, Float64Array]:
        """Return the normal equations of some products; their ridge pulls towards the original."""
        inner = self.second[np.ix_(taken, taken)].copy()
        ridge = RIDGE * float(self.second.diagonal().mean()) or 1.0
        inner[np.arange(len(taken)), np.arange(len(taken))] += ridge
        return inner, self.second[taken] @ self.whole + ridge * self.whole[taken]
