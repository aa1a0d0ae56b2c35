"""Activations summed by class, and the selectivity that follows."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError
from frivkit.study import Study
from frivkit.units import UnitSelector

Array = NDArray[np.float64]
READ = 64
"""Examples read at a time for their labels."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """Activations of some units summed over the rows of each class.

    Attributes:
        sums: Shape (classes, units).
        rows: How many rows were summed, shape (classes,).
    """

    sums: Array
    rows: NDArray[np.int64]

    def __add__(self, other: "ClassSums") -> "ClassSums":
        """Merge the sums of two parts of the rows."""
        return ClassSums(self.sums + other.sums, self.rows + other.rows)

    def favourites(self) -> NDArray[np.intp]:
        """Give the class with the largest mean for each unit, shape (units,).

        The first of several; classes without rows stand back.
        """
        means = np.full(self.sums.shape, -np.inf)
        seen = self.rows > 0
        means[seen] = self.sums[seen] / self.rows[seen, np.newaxis]
        best: NDArray[np.intp] = means.argmax(axis=0)
        return best

    def selectivity(self, classes: NDArray[np.intp]) -> Array:
        """Give (m - r) / (m + r) for m the mean over a unit's class and r over the other rows.

        Args:
            classes: The class of each unit, shape (units,).

        Returns:
            Shape (units,), in [-1, 1].  NaN where it means nothing: the class or the others have
            no rows, m or r is negative, or both are zero.

        Example:
            >>> sums = ClassSums(np.array([[6.0, 0.0], [2.0, 0.0]]), np.array([2, 2]))
            >>> sums.selectivity(sums.favourites()).tolist()
            [0.5, nan]
        """
        units = np.arange(len(classes))
        others = self.sums.copy()
        others[classes, units] = 0.0  # taking the class off a total would cancel
        inside, outside = self.rows[classes], self.rows.sum() - self.rows[classes]
        m = self.sums[classes, units] / np.maximum(inside, 1)
        r = others.sum(axis=0) / np.maximum(outside, 1)
        defined = (inside > 0) & (outside > 0) & (m >= 0) & (r >= 0) & (m + r > 0)
        found = np.full(len(classes), np.nan)
        found[defined] = ((m - r) / np.where(defined, m + r, 1.0))[defined]
        return found


def sum_by_class(
    study: Study, selector: UnitSelector
) -> tuple[NDArray[np.int64], dict[str, tuple[ClassSums, ClassSums]]]:
    """Sum the activations of each site by class, in one pass, over each half of the examples.

    Returns:
        The labels that occur, ascending, which are the classes; and for each site by name the sums
        over the first half of the examples (rounded down) and over the second.

    Raises:
        DataError: the data hold no labels, or those of one class only.
        ModelError: a layer gives activations that are not finite.
    """
    classes, class_of = np.unique(_labels(study), return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"selectivity compares classes and data {study.data.spec} has examples of class "
            f"{classes[0]} alone; give examples of others"
        )
    half_of = (np.arange(study.examples) >= study.examples // 2).astype(np.intp)
    rows_each = {site.name: prod(site.shape) // selector.count(site) for site in study.sites}
    sums = {s.name: np.zeros((2, len(classes), selector.count(s))) for s in study.sites}
    for first, found in study.activations(selector):
        for name, part in found.items():
            by_example = part.reshape(-1, rows_each[name], part.shape[1])
            which = slice(first, first + len(by_example))
            with np.errstate(over="ignore", invalid="ignore"):  # infinite ones are refused below
                totals = by_example.sum(axis=1, dtype=np.float64)
                np.add.at(sums[name], (half_of[which], class_of[which]), totals)
    for site in study.sites:
        if not np.isfinite(sums[site.name]).all():
            raise ModelError(
                f"layer {site.layer} gives activations that are not finite, so selectivity is "
                "undefined: leave it out with --layer, or change the data"
            )
    examples = np.zeros((2, len(classes)), np.int64)
    np.add.at(examples, (half_of, class_of), 1)
    return classes, {
        name: (
            ClassSums(both[0], examples[0] * rows_each[name]),
            ClassSums(both[1], examples[1] * rows_each[name]),
        )
        for name, both in sums.items()
    }


def _labels(study: Study) -> NDArray[np.int64]:
    found = [batch.labels for batch in study.data.batches(READ) if batch.labels is not None]
    if not found:
        raise DataError(
            f"selectivity compares classes and data {study.data.spec} holds no labels: "
            "give data with a column y, or leave this metric out"
        )
    return np.concatenate(found)
