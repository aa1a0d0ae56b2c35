"""The positions of a site's units in a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import is_constant

NO_UNIT = -1
"""The entry of a layout at positions without a unit of the site."""
NO_GROUP = -1
"""The group id of positions without units that could be removed."""

LARGEST_LAYOUTS = 1 << 23
"""Positions in all layouts of a tensor beyond which units are not followed into it: a file of a few
nodes can ask for billions."""
LARGEST_OF_ALL = 1 << 26
"""Positions in the layouts of all tensors together beyond which no units are followed: half a
gigabyte, which a chain of a few hundred Concats can ask for."""

IntArray = NDArray[np.intp]
GroupIds = Mapping[int, IntArray]
"""By axis, for each axis of a tensor on which units lie, the pruning group at each position."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the units of one site lie in a tensor.

    Units mostly lie along one axis; behind a Reshape that splits that axis they lie along several.

    Attributes:
        axes: The axes along which units change, in rising order.
        units: The number of the unit at each position of these axes, ``NO_UNIT`` at positions
            without one; it has one axis for each of ``axes``.  Along an axis whose length is a
            multiple of the batch it is one period of the pattern.

    Example:
        A tensor of shape (N, 6) holds two units of two entries each, behind two entries of another
        site:

        >>> layout = Layout.of(axis=1, width=2, inner=2, offset=1, span=3)
        >>> layout.axes, layout.units.tolist()
        ((1,), [-1, -1, 0, 0, 1, 1])
    """

    axes: tuple[int, ...]
    units: IntArray

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
            outer: The number of times that the row of units is repeated along the axis.
            offset: The number of unit positions in front of the first unit.
            span: Unit positions in one row; 0 stands for ``width``, with nothing beside the units.
        """
        row = np.full(span or width, NO_UNIT, np.intp)
        row[offset : offset + width] = np.arange(width)
        return cls((axis,), np.tile(np.repeat(row, inner), outer))

    @property
    def axis(self) -> int:
        """The only axis along which units change.

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
        """Whether position *i* of a single axis is unit *i*, for all positions."""
        return len(self.axes) == 1 and bool((self.units == np.arange(len(self.units))).all())

    @property
    def first(self) -> int:
        """The number of unit positions in front of the first unit, not 0 behind other sites."""
        positions = np.flatnonzero(self.units.ravel() != NO_UNIT)
        return int(positions[0]) // self.inner if len(positions) else 0

    @cached_property
    def inner(self) -> int:
        """The number of consecutive positions of each unit, 1 if units differ in it."""
        units = self.units.ravel()
        starts = np.flatnonzero(np.diff(units, prepend=units[0] - 1))
        lengths = np.diff(starts, append=len(units))
        unit_of_run = units[starts]
        is_unit = unit_of_run != NO_UNIT
        if not is_unit.any() or len(set(unit_of_run[is_unit].tolist())) < is_unit.sum():
            return 1
        different = set(lengths[is_unit].tolist())
        inner = int(different.pop())
        return inner if not different and not (starts[is_unit] % inner).any() else 1

    def at(self, axis: int) -> IntArray | None:
        """Return the unit at each position of an axis, None unless it is the only axis of units."""
        return self.units if self.axes == (axis,) else None

    def with_axes(self, *axes: int) -> "Layout":
        """Return the layout on other axes, which replace those of ``axes`` one by one.

        Example:
            >>> Layout.of(axis=1, width=3).with_axes(2).axes
            (2,)
        """
        if axes == self.axes:
            return self
        order = sorted(range(len(axes)), key=axes.__getitem__)
        return Layout(
            tuple(axes[i] for i in order), np.ascontiguousarray(self.units.transpose(order))
        )

    def take(self, axis: int, positions: IntArray) -> "Layout | None":
        """Return the layout after positions of one axis were taken, in that order.

        Args:
            axis: One of ``axes``.
            positions: The positions to take, ``NO_UNIT`` for entries of other origin; shape (n,),
                or () to take one position and drop the axis, which must not be the only one.

        Returns:
            The layout, None if no unit is taken.

        Example:
            >>> Layout.of(axis=1, width=4).take(1, np.array([2, 3])).units.tolist()
            [2, 3]
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
    def separating_axes(self) -> tuple[int, ...]:
        """The axes whose positions have no unit in common.

        Example:
            Channels that were laid out over places, as a pixel shuffle does:

            >>> Layout((1, 2), np.array([[0, 1, 0, 1], [2, 3, 2, 3]])).separating_axes
            (1,)
        """
        if len(self.axes) == 1:
            return self.axes
        present = len(np.unique(self.units[self.units != NO_UNIT]))
        rows = (sorted_rows(self.units, at) for at in range(self.units.ndim))
        found = [int(is_first(row).sum()) for row in rows]
        return tuple(axis for axis, n in zip(self.axes, found, strict=True) if n == present)

    @cached_property
    def narrowed_axis(self) -> int:
        """The axis that gets shorter if units are removed.

        It is the longest of those whose positions have no unit in common, of equal ones the last;
        of all axes if there is none of those.  Units at one position of it are one group, as those
        of all heads of an attention.
        """
        sizes = dict(zip(self.axes, self.units.shape, strict=True))
        return max(self.separating_axes or self.axes, key=lambda axis: (sizes[axis], axis))

    @property
    def units_at_positions(self) -> IntArray:
        """The units at each position of the narrowed axis, shape (positions, units)."""
        at = self.axes.index(self.narrowed_axis)
        return np.moveaxis(self.units, at, 0).reshape(self.units.shape[at], -1)

    def stacked(self, axis: int) -> "tuple[Layout, ...] | None":
        """Return layouts on one axis alone, each with one of the units at each of its positions.

        Args:
            axis: One of ``axes``.

        Returns:
            The layouts; None if positions have different numbers of units.

        Example:
            >>> layout = Layout((1, 2), np.array([[0, 1, 0, 1], [2, 3, 2, 3]]))
            >>> [each.units.tolist() for each in layout.stacked(1)]
            [[0, 2], [1, 3]]
        """
        rows = sorted_rows(self.units, self.axes.index(axis))
        first = is_first(rows)
        count = first.sum(axis=1)
        if len(set(count[count > 0].tolist())) != 1:
            return None
        stack = np.full((len(rows), int(count.max())), NO_UNIT, np.intp)
        stack[count > 0] = rows[first].reshape(-1, stack.shape[1])
        return tuple(Layout((axis,), column.copy()) for column in stack.T)

    @cached_property
    def _key(self) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
        return self.axes, self.units.shape, self.units.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and (self is other or self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)


def sorted_rows(units: IntArray, at: int) -> IntArray:
    """Return the units at each position of an axis of an array, sorted, shape (positions, n)."""
    return np.sort(np.moveaxis(units, at, 0).reshape(units.shape[at], -1), axis=1)


def is_first(rows: IntArray) -> NDArray[np.bool_]:
    """Whether each entry of sorted rows is a unit, and the first of its number in its row."""
    changes = np.diff(rows, axis=1, prepend=NO_UNIT - 1) != 0
    return np.asarray(changes & (rows != NO_UNIT))


SHAPE_ONLY = frozenset(("Shape", "Size"))
"""Operators that read the shape of a tensor and none of its entries."""


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape, None if it is unknown; sizes that are not numbers are None."""
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
    """Return an integer attribute of a node, ``default`` if the file leaves it out."""
    value = node.attributes.get(name)
    return default if value is None else value.as_int()
