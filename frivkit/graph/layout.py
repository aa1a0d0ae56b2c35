"""Where the units of a site lie in a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import is_constant

NO_UNIT = -1
"""Stands for a position of a layout at which no unit of the site lies."""
NO_GROUP = -1
"""Stands for a position of an axis at which no group of units lies that could leave."""

Numbers = NDArray[np.intp]
GroupIds = Mapping[int, Numbers]
"""The group at each position of an axis, for each axis of a tensor on which units lie."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the units of one site lie in a tensor: mostly along one axis, several after a split.

    Attributes:
        axes: The axes along which units change, in rising order.
        units: The number of the unit at each position of these axes, ``NO_UNIT`` where no unit of
            this site lies; one axis for each of ``axes``.  Along an axis whose length is a
            multiple of the batch it is one period of the pattern.

    Example:
        >>> Layout.of(axis=1, width=2, inner=2, offset=1, span=3).units.tolist()
        [-1, -1, 0, 0, 1, 1]
    """

    axes: tuple[int, ...]
    units: Numbers

    @classmethod
    def of(
        cls,
        axis: int,
        width: int,
        *,
        inner: int = 1,
        outer: int = 1,
        offset: int = 0,
        span: int = 0,
    ) -> Self:
        """Return units in order along one axis.

        Args:
            axis: The axis.
            width: The number of units.
            inner: Consecutive positions of one unit (height times width of flattened maps).
            outer: How often the whole row of units repeats along the axis.
            offset: The unit position at which the units start (behind others in a Concat).
            span: Unit positions in one row; ``width`` unless others lie beside the units.
        """
        row = np.full(span or width, NO_UNIT, np.intp)
        row[offset : offset + width] = np.arange(width)
        return cls((axis,), np.tile(np.repeat(row, inner), outer))

    @property
    def axis(self) -> int:
        """The axis along which units change, where there is only one.

        Raises:
            ValueError: units change along several axes.
        """
        (axis,) = self.axes
        return axis

    @property
    def size(self) -> int:
        """The length of that axis."""
        return len(self.units)

    @property
    def whole(self) -> bool:
        """Whether each unit has one position, in order, and nothing lies beside them."""
        return len(self.axes) == 1 and bool((self.units == np.arange(len(self.units))).all())

    @property
    def first(self) -> int:
        """The position of the first unit, in units: those of a Concat lie behind each other."""
        found = np.flatnonzero(self.units.ravel() != NO_UNIT)
        return int(found[0]) // self.inner if len(found) else 0

    @cached_property
    def inner(self) -> int:
        """Consecutive positions that belong to one unit, 1 where units differ in that."""
        units = self.units.ravel()
        starts = np.flatnonzero(np.diff(units, prepend=units[0] - 1))
        lengths = np.diff(starts, append=len(units))
        of = units[starts]
        here = of != NO_UNIT
        if not here.any() or len(set(of[here].tolist())) < here.sum():
            return 1
        found = set(lengths[here].tolist())
        inner = int(found.pop())
        return inner if not found and not (starts[here] % inner).any() else 1

    def at(self, axis: int) -> Numbers | None:
        """Return the units along an axis, None where units change along others or along more."""
        return self.units if self.axes == (axis,) else None

    def moved(self, *axes: int) -> "Layout":
        """Return the layout on other axes, each taking the place of one, in any order."""
        if axes == self.axes:
            return self
        order = sorted(range(len(axes)), key=axes.__getitem__)
        return Layout(
            tuple(axes[i] for i in order), np.ascontiguousarray(self.units.transpose(order))
        )

    def taken(self, axis: int, positions: Numbers) -> "Layout | None":
        """Return what lies at positions of one of the axes, in that order; None if no unit does.

        Args:
            axis: One of ``axes``.
            positions: Which to take, ``NO_UNIT`` for what comes from elsewhere; shape (n,), or ()
                to take one and drop the axis, which must not be the only one.
        """
        at = self.axes.index(axis)
        units = np.take(self.units, np.maximum(positions, 0), axis=at)
        if np.ndim(positions):
            shape = [-1 if i == at else 1 for i in range(self.units.ndim)]
            units = np.where(np.reshape(positions == NO_UNIT, shape), NO_UNIT, units)
        if not (units != NO_UNIT).any():
            return None
        if np.ndim(positions):
            return Layout(self.axes, units)
        return Layout(tuple(a - (a > axis) for a in self.axes if a != axis), units)

    @cached_property
    def _key(self) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
        return self.axes, self.units.shape, self.units.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and (self is other or self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)


SHAPE_ONLY = frozenset(("Shape", "Size"))
"""Operators that read how large a tensor is and none of its entries."""


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape with None for every size that is not a number, or None if unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def rank_of(value: ir.Value | None) -> int | None:
    """Return a value's number of axes, or None if unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def others_constant(node: ir.Node, index: int) -> bool:
    """Whether every input of the node but ``index`` is a constant."""
    return all(
        value is None or i == index or is_constant(value) for i, value in enumerate(node.inputs)
    )


def attribute(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute of a node, or ``default`` when the file leaves it out."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()
