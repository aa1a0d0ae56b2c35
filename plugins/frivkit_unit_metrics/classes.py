"""Activations summed by class, and the selectivity index computed from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.study import Study
from frivkit.runtime.memory import batch_size, plan_passes
from frivkit.units.selector import UnitSelector

Array = NDArray[np.float64]
READ = 64
"""Examples read at once for their labels."""
WORKING = 3
"""Further arrays as large as the sums of one half that a site needs: the whole sum, and copies."""
COPIES = 3
"""Arrays as large as a site's activations: the output, its rows, and the rows of a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """Activations of some units summed over the rows of each class.

    Attributes:
        sums: Shape (classes, units).
        rows: The number of rows summed, shape (classes,).
    """

    sums: Array
    rows: NDArray[np.int64]

    def __add__(self, other: "ClassSums") -> "ClassSums":
        """Return the sums over the rows of both."""
        return ClassSums(self.sums + other.sums, self.rows + other.rows)

    def favourites(self) -> NDArray[np.intp]:
        """Return the class with the largest mean for each unit, an index, shape (units,).

        The first of several; classes without rows do not count.
        """
        means = np.full(self.sums.shape, -np.inf)
        seen = self.rows > 0
        means[seen] = self.sums[seen] / self.rows[seen, np.newaxis]
        best: NDArray[np.intp] = means.argmax(axis=0)
        return best

    def selectivity(self, classes: NDArray[np.intp]) -> Array:
        """Return (m - r) / (m + r), m being the mean over a unit's class, r that over all others.

        Args:
            classes: The class of each unit, an index, shape (units,).

        Returns:
            Shape (units,), in [-1, 1].  NaN if it is undefined: the class or the others have no
            rows, m or r is negative, or both are zero.

        Example:
            >>> sums = ClassSums(np.array([[6.0, 0.0], [2.0, 0.0]]), np.array([2, 2]))
            >>> sums.selectivity(sums.favourites()).tolist()
            [0.5, nan]
        """
        units = np.arange(len(classes))
        others = self.sums.copy()
        others[classes, units] = 0.0  # subtracting the class from a total would cancel digits
        inside, outside = self.rows[classes], self.rows.sum() - self.rows[classes]
        m = self.sums[classes, units] / np.maximum(inside, 1)
        r = others.sum(axis=0) / np.maximum(outside, 1)
        defined = (inside > 0) & (outside > 0) & (m >= 0) & (r >= 0) & (m + r > 0)
        index = np.full(len(classes), np.nan)
        index[defined] = ((m - r) / np.where(defined, m + r, 1.0))[defined]
        return index


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The class of each example.

    Attributes:
        labels: The labels that occur, ascending, shape (classes,).
        of: For each example the index of its label in ``labels``, shape (n,).
    """

    labels: NDArray[np.int64]
    of: NDArray[np.intp]

    @property
    def half(self) -> NDArray[np.intp]:
        """0 for the first half of the examples (rounded down), 1 for the second, shape (n,)."""
        return (np.arange(len(self.of)) >= len(self.of) // 2).astype(np.intp)


def classes_of(study: Study) -> Classes:
    """Return the classes by the labels of the data.

    Raises:
        DataError: the data hold no labels, or those of one class only.
    """
    batches = [batch.labels for batch in study.data.batches(READ) if batch.labels is not None]
    if not batches:
        raise DataError(
            f"selectivity compares classes and data {study.data.spec} holds no labels: "
            "give data with a column y, or leave this metric out"
        )
    labels, of = np.unique(np.concatenate(batches), return_inverse=True)
    if len(labels) < 2:
        raise DataError(
            f"selectivity compares classes and data {study.data.spec} has examples of class "
            f"{labels[0]} alone; give examples of others"
        )
    return Classes(labels, of)


def sums_by_class(
    study: Study, selector: UnitSelector, classes: Classes
) -> Iterator[tuple[Site, tuple[ClassSums, ClassSums]]]:
    """Yield the activations of each site, summed by class over each half of the examples.

    All sites whose sums fit together into half the memory bound share a pass over the data; the
    other half is for the activations of a batch.  Release the sums of one site before taking the
    next.

    Args:
        study: The study.
        selector: How a tensor is read as units.
        classes: The class of each example.

    Yields:
        Each site, in order, with the sums over the first half of the examples (rounded down) and
        over the second.

    Raises:
        ModelError: a layer's activations are not finite, or its sums alone do not fit.
    """
    examples = np.zeros((2, len(classes.labels)), np.int64)
    np.add.at(examples, (classes.half, classes.of), 1)
    for together in _passes(study, selector, len(classes.labels)):
        sums = _summed(study, selector, together, classes)
        for site in together:
            first, second = sums.pop(site.name)
            rows = examples * _rows_each(site, selector)
            if not (np.isfinite(first).all() and np.isfinite(second).all()):
                raise ModelError(
                    f"layer {site.layer} gives activations that are not finite, so selectivity is "
                    "undefined: leave it out with --layer, or change the data"
                )
            yield site, (ClassSums(first, rows[0]), ClassSums(second, rows[1]))


def _summed(
    study: Study, selector: UnitSelector, sites: Sequence[Site], classes: Classes
) -> dict[str, Array]:
    """Return the sums of one pass: for each site, by name, shape (2, classes, units)."""
    rows_each = {site.name: _rows_each(site, selector) for site in sites}
    sums = {s.name: np.zeros((2, len(classes.labels), selector.count(s))) for s in sites}
    half = classes.half
    batch = _batch(study, selector, sites)
    for first, activations in study.activations(selector, sites, batch=batch):
        for name, part in activations.items():
            by_example = part.reshape(-1, rows_each[name], part.shape[1])
            which = slice(first, first + len(by_example))
            with np.errstate(over="ignore", invalid="ignore"):  # infinite sums raise an error later
                totals = by_example.sum(axis=1, dtype=np.float64)
                np.add.at(sums[name], (half[which], classes.of[which]), totals)
    return sums


def _passes(study: Study, selector: UnitSelector, classes: int) -> list[list[Site]]:
    """Distribute sites, in order, among passes whose sums fit into half the memory."""
    room = study.memory // 2

    def half(site: Site) -> int:  # bytes of the sums over one half of the examples
        return 8 * classes * selector.count(site)

    for site in study.sites:
        needed = (2 + WORKING) * half(site)
        if needed > room:
            raise ModelError(
                f"layer {site.layer} has {selector.count(site)} units, whose sums over {classes} "
                f"classes take {2.0 * needed:.2e} bytes of --memory: give a larger --memory, "
                "other layers with --layer, or --units map"
            )
    return plan_passes(
        study.sites,
        room,
        held=lambda site: 2 * half(site),
        needed=lambda site: (2 + WORKING) * half(site),
    )


def _batch(study: Study, selector: UnitSelector, sites: Sequence[Site]) -> int | None:
    """Return how many examples at once keep the activations of all sites in half the memory.

    None if the model has a fixed batch size.
    """
    if study.model.batch is not None:
        return None
    entries = sum(COPIES * prod(site.shape) + selector.count(site) for site in sites)
    most = batch_size(study.model.graph, study.memory, None)
    return max(1, min(most, study.memory // 2 // (8 * entries)))


def _rows_each(site: Site, selector: UnitSelector) -> int:
    return prod(site.shape) // selector.count(site)
