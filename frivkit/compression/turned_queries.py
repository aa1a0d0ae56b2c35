"""Whether queries are rotated, pair by pair, by angles that are the same in all examples."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.layout import IntArray
from frivkit.graph.sites.projections import Projection

UNEXPLAINED = 1e-6
"""Share of the squares of queries that a rotation may leave unexplained: rounding leaves less."""
LEAST = 4
"""Examples without which nothing is told: two numbers explain one of them."""


class TurnCheck:
    """Compares the outputs of a projection with the queries that are made of them.

    With a pair of each as a complex number, z of the outputs and w of the queries, a rotation gives
    w = c z at each position; c is fitted over the examples.  A pair whose outputs are in the other
    order is mirrored, w = c z*.  A dimension of no pair is scaled, which is the same with one real
    number.
    """

    def __init__(self, projection: Projection) -> None:
        """Start with no examples.

        Args:
            projection: The projection, with pairs.
        """
        self._projection = projection
        self._examples = 0
        self._sums: list[NDArray[Any] | float] = [0.0, 0.0, 0.0, 0.0]

    @property
    def tensor(self) -> str:
        """The tensor of the outputs of the projection."""
        return self._projection.tensor

    def add(self, outputs: NDArray[Any], query: NDArray[np.float64]) -> None:
        """Add the outputs of the projection, units on the last axis, and queries by head.

        Args:
            outputs: Shape (examples, ..., units).
            query: Shape (examples, heads, positions, dimensions).
        """
        rows = outputs.reshape(len(outputs), -1, outputs.shape[-1]).astype(np.float64)
        if rows.shape[1] != query.shape[2]:
            return
        made = np.moveaxis(rows[:, :, self._projection.outputs], 2, 1)
        z, w = (self._complex(each) for each in (made, query))
        added = (
            (w * z.conj()).sum(axis=0),
            (w * z).sum(axis=0),
            np.square(np.abs(z)).sum(axis=0),
            np.square(np.abs(w)).sum(axis=0),
        )
        self._sums = [a + b for a, b in zip(self._sums, added, strict=True)]
        self._examples += len(rows)

    def projection(self) -> Projection | None:
        """Return the projection with outputs in the order in which they turn; None if they do not.

        It is one of the order of all heads alike.
        """
        if self._examples < LEAST:
            return None
        straight, mirrored, outputs, queries = (np.asarray(each) for each in self._sums)
        lost = [
            (queries - np.square(np.abs(each)) / np.where(outputs > 0, outputs, 1.0)).sum(axis=1)
            for each in (straight, mirrored)
        ]  # by head and pair
        limit = UNEXPLAINED * queries.sum(axis=1)
        rotated = [each <= limit for each in lost]
        if not (rotated[0] | rotated[1]).all():
            return None
        ordered: IntArray = self._projection.outputs.copy()
        for head, pair in zip(*np.nonzero(~rotated[0]), strict=True):
            if pair < len(self._pairs):
                first, second = self._pairs[pair]
                ordered[head, [first, second]] = ordered[head, [second, first]]
        return replace(self._projection, outputs=ordered)

    @property
    def _pairs(self) -> IntArray:
        pairs = self._projection.pairs
        return np.zeros((0, 2), np.intp) if pairs is None else pairs

    def _complex(self, numbers: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return pairs, and behind them the dimensions of none, as complex numbers."""
        alone = np.setdiff1d(np.arange(numbers.shape[-1]), self._pairs)
        first, second = (numbers[..., self._pairs[:, i]] for i in (0, 1))
        made: NDArray[np.complex128] = np.concatenate(
            [first + 1j * second, numbers[..., alone].astype(np.complex128)], axis=-1
        )
        return made
