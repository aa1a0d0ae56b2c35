"""Elimination of several groups of units at once, such as a dimension of every head."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.layer_groups import LayerGroup
from frivkit.graph.layout import NO_GROUP
from frivkit.units.elimination import Term
from frivkit.units.moments import Float64Array


class BlockElimination:
    """One consumer of units, as units are removed and its weights are refitted to the others.

    With C the inverse of the covariance of the remaining units and F their fitted weights, the
    removal of units R costs tr(F_R' (C_RR)⁻¹ F_R); C and F then lose C_:R (C_RR)⁻¹ times their rows
    of R.
    """

    def __init__(self, term: Term, layer_group: LayerGroup) -> None:
        """Fit the weights to all units.

        Args:
            term: The consumer.
            layer_group: The layers whose units it consumes.
        """
        floor = layer_group.ridge * float(term.covariance.diagonal().mean()) or 1.0
        regular = term.covariance + floor * np.eye(len(term.covariance))
        self._inverse = np.linalg.inv(regular)
        weights = term.covariance if term.consumer is None else term.covariance @ term.consumer
        self._fitted = self._inverse @ weights
        self._weight = term.weight
        known = term.groups != NO_GROUP
        groups = np.where(known, layer_group.groups[np.where(known, term.groups, 0)], NO_GROUP)
        self._units: dict[int, NDArray[np.intp]] = {
            int(group): np.flatnonzero(groups == group) for group in np.unique(groups[known])
        }

    def count(self, groups: Sequence[int]) -> int:
        """Return how many units of some groups the consumer reads."""
        return sum(len(self._units.get(group, ())) for group in groups)

    def cost(self, groups: Sequence[int]) -> float:
        """Return the squared error that the removal of groups adds, with the term's weight."""
        units = self._of(groups)
        if not len(units):
            return 0.0
        fitted = self._fitted[units]
        return self._weight * float(np.sum(fitted * self._solved(units, fitted)))

    def remove(self, groups: Sequence[int]) -> None:
        """Remove groups, and fit the weights to the other units."""
        units = self._of(groups)
        if not len(units):
            return
        rows = np.concatenate([self._inverse[units], self._fitted[units]], axis=1)
        solved = self._solved(units, rows)
        across = self._inverse[:, units]
        self._fitted = self._fitted - across @ solved[:, len(self._inverse) :]
        self._inverse = self._inverse - across @ solved[:, : len(self._inverse)]
        # What is gone explains nothing and costs nothing.
        self._inverse[units] = 0.0
        self._inverse[:, units] = 0.0
        self._fitted[units] = 0.0
        for group in groups:
            self._units.pop(group, None)

    def _of(self, groups: Sequence[int]) -> NDArray[np.intp]:
        found = [self._units[group] for group in groups if group in self._units]
        return np.concatenate(found) if found else np.zeros(0, np.intp)

    def _solved(self, units: NDArray[np.intp], right: Float64Array) -> Float64Array:
        solved: Float64Array = np.linalg.solve(self._inverse[np.ix_(units, units)], right)
        return solved
