"""Which axes of a tensor are heads, and which are dimensions of heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_GROUP, NO_UNIT, IntArray, Layout, shape_of
from frivkit.graph.sites.heads import HeadBlock, Heads, numbered

LocatedLines = dict[str, dict[int, IntArray]]
"""By the name of a tensor, the groups and lines along its axes."""
_WITH_BATCH = "its heads lie on one axis with the examples"


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Where each pruning group is: in which heads, in which block, and at which dimension.

    Attributes:
        attention: By group, the number of its attention, -1 for a group of no head.
        head: By group, the line of its head.
        row: By group, a number of its row of its block, different for all rows of a model.
        dimension: By group, the line of its dimension.
        single: By the line of a dimension that one row has alone, its group.
    """

    attention: IntArray
    head: IntArray
    row: IntArray
    dimension: IntArray
    single: dict[int, int]

    @classmethod
    def of(cls, heads: Sequence[Heads]) -> Self:
        """Return the coordinates of all groups of some heads."""
        size = 1 + max((int(each.groups.max()) for each in heads), default=0)
        none = np.full(size, NO_GROUP)
        result = cls(none, none.copy(), none.copy(), none.copy(), {})
        row = 0
        for number, each in enumerate(heads):
            for block in each.blocks:
                count, dimensions = block.groups.shape
                result.attention[block.groups] = number
                result.head[block.groups] = each.first_line + block.heads[:, np.newaxis]
                result.row[block.groups] = row + np.arange(count)[:, np.newaxis]
                result.dimension[block.groups] = block.first_line + np.arange(dimensions)
                row += count
                if count == 1:
                    lines = range(block.first_line, block.first_line + dimensions)
                    result.single.update(zip(lines, block.groups[0].tolist(), strict=True))
        return result

    def exact(self, lines: IntArray) -> IntArray:
        """Return lines, and in place of the dimensions of a single row their groups."""
        return np.array([self.single.get(line, line) for line in lines.tolist()], np.intp)

    def head_line(self, groups: IntArray) -> IntArray:
        """Return the line of the head of each group, ``NO_GROUP`` for a group of no head."""
        return _take(self.head, groups)


def _take(of: IntArray, groups: IntArray) -> IntArray:
    """Return an entry for each group, ``NO_GROUP`` for groups that have none."""
    known = (groups >= 0) & (groups < len(of))
    return np.where(known, of[np.where(known, groups, 0)], NO_GROUP)


def groups_by_axes(
    parts: Sequence[tuple[str, Layout]], labels: Mapping[str, IntArray]
) -> dict[tuple[int, ...], IntArray]:
    """Return the group at each position of a tensor, by the axes along which units change.

    Args:
        parts: The sites whose units lie in the tensor, and their layouts.
        labels: The group of each unit of a site.
    """
    known: dict[tuple[int, ...], IntArray] = {}
    for site, layout in parts:
        groups = np.where(layout.units == NO_UNIT, NO_GROUP, labels[site][layout.units])
        before = known.get(layout.axes)
        if before is not None and before.shape == groups.shape:
            groups = np.where(groups == NO_GROUP, before, groups)
        known[layout.axes] = groups
    return known


def located_lines(
    heads: tuple[Heads, ...],
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]],
    labels: Mapping[str, IntArray],
    values: Mapping[str, ir.Value],
    count: int,
) -> tuple[tuple[Heads, ...], LocatedLines]:
    """Return the heads of which every tensor can be told, and the lines along their axes.

    Args:
        heads: The candidates.
        layouts: By the name of a tensor, the sites whose units lie in it, and their layouts.
        labels: The pruning group of each unit of a site.
        values: The tensors by name.
        count: The number of pruning groups.
    """
    tensors = {name: groups_by_axes(parts, labels) for name, parts in layouts.items()}
    heads = _tied(heads, tensors, count)
    where = Coordinates.of(heads)
    refused: set[int] = set()
    uniform: set[int] = set()
    with_batch: set[int] = set()
    located: LocatedLines = {}
    for name, parts in tensors.items():
        sizes = shape_of(values.get(name))
        for axes, groups in parts.items():
            attention = set(_take(where.attention, groups[groups != NO_GROUP]).tolist())
            if attention == {NO_GROUP}:
                continue
            found = _axes(where, axes, groups)
            if len(axes) == 1:
                attention.discard(NO_GROUP)  # beside units of no head each keeps its group
            if found is None or len(attention) > 1:
                refused |= attention
                continue
            if found.ragged_breaks:
                uniform |= set(np.unique(found.dimensions).tolist())
            for axis, numbers in found.lines.items():
                lines = where.exact(numbers)
                if sizes is None or sizes[axis] != len(lines):
                    if axis in found.heads:
                        with_batch |= attention
                    else:
                        refused |= attention
                    continue
                known = located.setdefault(name, {}).setdefault(axis, lines)
                located[name][axis] = np.where(known == NO_GROUP, lines, known)
    kept = [replace_fixed(each, number in with_batch) for number, each in enumerate(heads)]
    return _accepted(kept, refused, uniform, located, where)


def replace_fixed(heads: Heads, with_batch: bool) -> Heads:
    """Return heads that cannot leave if they lie on one axis with the examples."""
    return replace(heads, fixed=_WITH_BATCH) if with_batch and heads.fixed is None else heads


def _accepted(
    heads: Sequence[Heads],
    refused: set[int],
    uniform: set[int],
    located: LocatedLines,
    where: Coordinates,
) -> tuple[tuple[Heads, ...], LocatedLines]:
    """Return the heads that were not refused, and their tensors."""
    result = []
    gone: set[int] = set()
    for number, each in enumerate(heads):
        if number in refused:
            lines = each.count + sum(block.groups.shape[1] for block in each.blocks)
            gone |= {*range(each.first_line, each.first_line + lines), *each.groups.tolist()}
            continue
        blocks = tuple(
            replace(block, uniform=bool(uniform.intersection(_lines(block))))
            for block in each.blocks
        )
        result.append(replace(each, blocks=blocks))
    kept: LocatedLines = {}
    for name, by_axis in located.items():
        lines = {axis: ids for axis, ids in by_axis.items() if not gone.intersection(ids.tolist())}
        if lines:
            kept[name] = lines
    return tuple(result), kept


def _lines(block: HeadBlock) -> range:
    return range(block.first_line, block.first_line + block.groups.shape[1])


def _tied(
    heads: tuple[Heads, ...],
    tensors: Mapping[str, Mapping[tuple[int, ...], IntArray]],
    count: int,
) -> tuple[Heads, ...]:
    """Return heads whose blocks are one where they share an axis of dimensions."""
    where = Coordinates.of(heads)
    first = {block.first_line: block for each in heads for block in each.blocks}
    starts = np.array(sorted(first))
    same_axis: dict[int, int] = {}
    for parts in tensors.values():
        for axes, groups in parts.items():
            lines = _take(where.dimension, groups)
            if len(axes) < 2 or (lines == NO_GROUP).any():
                continue
            blocks = np.unique(starts[np.searchsorted(starts, lines, side="right") - 1])
            for other in blocks[1:].tolist():
                same_axis[other] = int(blocks[0])
    result = []
    for each in heads:
        merged: dict[int, list[HeadBlock]] = {}
        for block in each.blocks:
            target = block.first_line
            while target in same_axis:
                target = same_axis[target]
            merged.setdefault(target, []).append(block)
        if any(len({b.groups.shape[1] for b in several}) > 1 for several in merged.values()):
            continue
        result.append(replace(each, blocks=tuple(map(_joined, merged.values()))))
    return numbered(result, count)


def _joined(blocks: Sequence[HeadBlock]) -> HeadBlock:
    groups = np.concatenate([block.groups for block in blocks])
    return replace(blocks[0], groups=groups, heads=np.concatenate([b.heads for b in blocks]))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The axes of one layout.

    Attributes:
        lines: The groups or lines along each axis.
        heads: The axes of heads.
        dimensions: The lines of all dimensions in the tensor.
        ragged_breaks: Whether positions are counted wrongly if heads lose different dimensions.
    """

    lines: dict[int, IntArray]
    heads: tuple[int, ...]
    dimensions: IntArray
    ragged_breaks: bool


def _axes(where: Coordinates, axes: tuple[int, ...], groups: IntArray) -> _Found | None:
    """Return what the axes of a layout are, None if they are neither heads nor dimensions."""
    empty = groups == NO_GROUP
    head, dimension, row = (_take(of, groups) for of in (where.head, where.dimension, where.row))
    dimensions = dimension[~empty]
    if len(axes) == 1:
        breaks = not _heads_outside(row, dimension)
        return _Found({axes[0]: groups}, (), dimensions, breaks)
    if empty.any() or (head == NO_GROUP).any():
        return None
    lines: dict[int, IntArray] = {}
    of_heads = []
    for at, axis in enumerate(axes):
        by_head, by_dimension, by_row = (np.moveaxis(x, at, 0) for x in (head, dimension, row))
        flat_head, flat_dimension = (x.reshape(len(x), -1) for x in (by_head, by_dimension))
        same_row = bool((by_row == by_row[:1]).all())
        same_dimension = bool((by_dimension == by_dimension[:1]).all())
        if same_row and same_dimension:
            continue
        same_head = bool((by_head == by_head[:1]).all())
        if same_head and bool((flat_dimension == flat_dimension[:, :1]).all()):
            lines[axis] = flat_dimension[:, 0]
        elif same_dimension and bool((flat_head == flat_head[:, :1]).all()):
            lines[axis] = flat_head[:, 0]
            of_heads.append(axis)
        elif not (same_dimension and same_head):
            return None
    return _Found(lines, tuple(of_heads), dimensions, ragged_breaks=False)


def _heads_outside(row: IntArray, dimension: IntArray) -> bool:
    """Whether each row of a block lies in one piece along an axis, its dimensions in order."""
    known = row != NO_GROUP
    starts = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    ends = np.append(starts[1:], len(row))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if not known[start]:
            continue
        part = dimension[start:end]
        width = int(part.max() - part.min()) + 1
        if len(part) % width or (np.bincount(part - part.min(), minlength=width) == 0).any():
            return False
        tiles = part.reshape(-1, len(np.unique(part)))
        if len(part) != width and not (tiles == tiles[0]).all():
            return False
    return True
