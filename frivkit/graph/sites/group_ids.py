"""Pruning groups: units that can only be removed together, and their positions in all tensors.

The groups of a model are numbered from 0.  Along each axis of a tensor on which units lie, a group
id for each position is the group of the units there, or ``NO_GROUP``.

For a Gemm of 3 units whose output is added to that of another Gemm, unit *i* of the first layer
and unit *i* of the second are group *i*, and the group ids of the sum are ``{1: [0, 1, 2]}``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from frivkit.graph.components import connected_components
from frivkit.graph.coupling import MergePoint
from frivkit.graph.layout import NO_GROUP, NO_UNIT, GroupIds, IntArray, Layout, attribute
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import OPERATORS
from frivkit.graph.sites.find_heads import find_heads
from frivkit.graph.sites.heads import Heads
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True)
class GroupAssignment:
    """The pruning groups of a model, and their positions.

    Attributes:
        of: By the name of a site, the group of each of its units, shape (units,).
        count: The number of groups; they are numbered from 0 in the order of the sites.
        group_ids: By the name of a tensor in which units lie, the groups along its axes.
        conflicting: Groups that share a position of some tensor with another group, sorted.
        heads: The heads of attentions; their lines are numbered behind the groups, and are in
            ``group_ids``, too.
    """

    of: Mapping[str, IntArray]
    count: int
    group_ids: Mapping[str, GroupIds]
    conflicting: IntArray
    heads: tuple[Heads, ...] = ()

    def at(self, value: ir.Value | None) -> GroupIds:
        """Return the groups along the axes of a tensor, an empty mapping if no units lie in it."""
        return {} if value is None else self.group_ids.get(value.name or "", {})

    def renumbered(self, numbers: IntArray) -> "GroupAssignment":
        """Return the assignment with other numbers of groups, some of them joined.

        Args:
            numbers: The new number of each group, shape (groups,).
        """
        final = _Renumbering(np.arange(self.count), numbers)
        joined = np.bincount(numbers)[numbers] > 1
        heads = tuple(_held(each) if joined[each.groups].any() else each for each in self.heads)
        return GroupAssignment(
            {site: final(ids) for site, ids in self.of.items()},
            final.count,
            {
                tensor: {axis: final(ids) for axis, ids in by_axis.items()}
                for tensor, by_axis in self.group_ids.items()
            },
            np.unique(final(self.conflicting)),
            tuple(map(final.heads, heads)),
        )


def _held(heads: Heads) -> Heads:
    """Return heads of which none can leave, since other layers share their weights."""
    blocks = tuple(replace(block, fixed=_SHARED) for block in heads.blocks)
    return replace(heads, blocks=blocks, fixed=_SHARED)


_SHARED = "its weights are those of another attention, too"


def assign_groups(
    graph: ir.Graph, site_map: SiteMap, operators: Operators = OPERATORS
) -> GroupAssignment:
    """Return the pruning groups of a model.

    Units that meet in a sum, a product, a depthwise convolution or shared weights are one group.
    So are all units that one group of a grouped convolution consumes and produces: it can only be
    removed as a whole.  Units that lie along several axes are heads of an attention, or leave at
    one position of the longest axis.

    Args:
        graph: The graph of the model.
        site_map: Its sites.
        operators: The operators, by name.
    """
    widths = [site.width for site in site_map.sites]
    starts = np.cumsum([0, *widths])
    offset = {site.name: int(start) for site, start in zip(site_map.sites, starts, strict=False)}
    merge_points = [merge_point for each in site_map.couplings for merge_point in each.merge_points]
    pairs = [*_merged_units(merge_points, offset), *_grouped_units(graph, site_map, offset)]
    apart = connected_components(int(starts[-1]), pairs)
    count = int(apart.max(initial=-1)) + 1
    by_site = {
        site.name: apart[start : start + site.width]
        for site, start in zip(site_map.sites, starts.tolist(), strict=False)
    }
    heads, located = find_heads(graph, site_map.layouts, by_site, count, operators)
    in_heads = {group for each in heads for group in each.groups.tolist()}
    split = _outside(site_map.layouts, by_site, in_heads)
    labels = connected_components(int(starts[-1]), [*pairs, *_split_units(split, offset)])
    of = {name: labels[start : start + len(by_site[name])] for name, start in offset.items()}
    final = _Renumbering(apart, labels)
    group_ids: dict[str, GroupIds] = {
        tensor: {axis: final(ids) for axis, ids in by_axis.items()}
        for tensor, by_axis in located.items()
    }
    conflicting: list[IntArray] = [np.zeros(0, dtype=np.intp)]
    for tensor, layouts in split.items():
        found = _ids_of(layouts, of, conflicting)
        group_ids[tensor] = {**found, **group_ids.get(tensor, {})}
    return GroupAssignment(
        of,
        final.count,
        group_ids,
        np.unique(np.concatenate(conflicting)),
        tuple(map(final.heads, heads)),
    )


class _Renumbering:
    """From groups and lines of a finer numbering to those of a coarser one."""

    def __init__(self, before: IntArray, after: IntArray) -> None:
        self.count = int(after.max(initial=-1)) + 1
        self._shift = self.count - (int(before.max(initial=-1)) + 1)
        self._new = np.zeros(int(before.max(initial=-1)) + 1, np.intp)
        self._new[before] = after

    def __call__(self, ids: IntArray) -> IntArray:
        """Return new numbers of groups, and of lines, which are numbered behind them."""
        lines = ids >= len(self._new)
        known = np.where(lines | (ids == NO_GROUP), 0, ids)
        return np.where(
            ids == NO_GROUP, NO_GROUP, np.where(lines, ids + self._shift, self._new[known])
        )

    def heads(self, heads: Heads) -> Heads:
        blocks = tuple(
            replace(block, groups=self(block.groups), first_line=block.first_line + self._shift)
            for block in heads.blocks
        )
        return replace(heads, first_line=heads.first_line + self._shift, blocks=blocks)


def _outside(
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]],
    groups: Mapping[str, IntArray],
    in_heads: Set[int],
) -> dict[str, tuple[tuple[str, Layout], ...]]:
    """Return the layouts of units that are not in heads."""
    sites = {name for name, of in groups.items() if not in_heads.isdisjoint(of.tolist())}
    result = {}
    for tensor, parts in layouts.items():
        others = tuple(
            (site, layout)
            for site, layout in parts
            if site not in sites or in_heads.isdisjoint(_groups_in(layout, groups[site]))
        )
        if others:
            result[tensor] = others
    return result


def _groups_in(layout: Layout, groups: IntArray) -> list[int]:
    """Return the groups of the units of a layout."""
    units = layout.units[layout.units != NO_UNIT]
    found: list[int] = groups[units].tolist()
    return found


def _merged_units(
    merge_points: Iterable[MergePoint], offset: Mapping[str, int]
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units that lie at one position of a merge point."""
    for merge_point in merge_points:
        if merge_point.kind == "concat":
            continue
        layouts = [part.layout for part in merge_point.parts]
        if len({(layout.axes, layout.units.shape) for layout in layouts}) == 1:
            units = [_numbered(p.layout.units, offset[p.site]) for p in merge_point.parts]
            parts = [each.reshape(-1, 1) for each in units]  # entry by entry, heads by heads
        else:
            parts = [
                _numbered(part.layout.units_at_positions, offset[part.site])
                for part in merge_point.parts
            ]
        merged = np.full(len(parts[0]), NO_UNIT)
        for column in (column for part in parts for column in part.T):
            yield _pairs(merged, column)
            merged = np.where(column == NO_UNIT, merged, column)


def _split_units(
    located: Mapping[str, tuple[tuple[str, Layout], ...]], offset: Mapping[str, int]
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units that lie at one position of a narrowed axis.

    Such are the units of all groups of a channel shuffle, and those of sites that lay side by side
    before their axis was split.
    """
    seen: set[tuple[tuple[str, Layout], ...]] = set()
    for layouts in located.values():
        if layouts in seen or all(len(layout.axes) == 1 for _, layout in layouts):
            continue
        seen.add(layouts)
        last: dict[tuple[int, int], IntArray] = {}  # by axis and its length
        for site, layout in layouts:
            units = _numbered(layout.units_at_positions, offset[site])
            key = (layout.narrowed_axis, len(units))
            for column in units.T:
                before = last.get(key, np.full(len(column), NO_UNIT))
                yield _pairs(before, column)
                last[key] = np.where(column == NO_UNIT, before, column)


def _grouped_units(
    graph: ir.Graph, site_map: SiteMap, offset: Mapping[str, int]
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units that belong to one group of a grouped convolution."""
    for node in graph:
        groups = attribute(node, "group", 1) if node.op_type in ("Conv", "ConvTranspose") else 1
        if groups == 1:
            continue
        for layouts in (_channels(node.inputs[0], site_map), _channels(node.outputs[0], site_map)):
            for site, layout in layouts:
                if layout.size % groups == 0:
                    units = _numbered(layout.units.reshape(groups, -1), offset[site])
                    yield _pairs(units[:, :-1].ravel(), units[:, 1:].ravel())
        yield from _grouped_across_sites(node, site_map, offset, groups)


def _channels(value: ir.Value | None, site_map: SiteMap) -> list[tuple[str, Layout]]:
    layouts = site_map.layouts.get((value.name if value is not None else None) or "", ())
    return [(site, layout) for site, layout in layouts if layout.axes == (1,)]


def _grouped_across_sites(
    node: ir.Node, site_map: SiteMap, offset: Mapping[str, int], groups: int
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units of different sites in one group, each site represented by one unit."""
    last = np.full(groups, NO_UNIT)
    for value in (node.inputs[0], node.outputs[0]):
        for site, layout in _channels(value, site_map):
            if layout.size % groups:
                continue
            units = _numbered(layout.units.reshape(groups, -1).max(axis=1), offset[site])
            yield _pairs(last, units)
            last = np.where(units == NO_UNIT, last, units)


def _numbered(units: IntArray, offset: int) -> IntArray:
    """Return units of a site with the numbers that they have among those of all sites."""
    return np.where(units == NO_UNIT, NO_UNIT, offset + units)


def _pairs(left: IntArray, right: IntArray) -> Sequence[IntArray]:
    """Return the entries of two arrays at the positions at which both have a unit."""
    both = (left != NO_UNIT) & (right != NO_UNIT)
    return left[both], right[both]


def _ids_of(
    layouts: Iterable[tuple[str, Layout]], of: Mapping[str, IntArray], conflicting: list[IntArray]
) -> GroupIds:
    """Return the groups by axis of one tensor, and add those that conflict to a list."""
    by_axis: dict[int, IntArray] = {}
    for site, layout in layouts:
        unit = layout.units_at_positions.max(axis=1)
        group_ids = np.where(unit == NO_UNIT, NO_GROUP, of[site][unit])
        axis = layout.narrowed_axis
        known = by_axis.setdefault(axis, np.full(len(group_ids), NO_GROUP))
        if len(known) != len(group_ids):
            conflicting.extend((known[known != NO_GROUP], group_ids[group_ids != NO_GROUP]))
            continue
        differ = (known != NO_GROUP) & (group_ids != NO_GROUP) & (known != group_ids)
        conflicting.extend((known[differ], group_ids[differ]))
        by_axis[axis] = np.where(group_ids == NO_GROUP, known, group_ids)
    return by_axis
