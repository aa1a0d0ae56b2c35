"""Which units can only leave together, and where on the axes of each tensor they lie.

Units are numbered over all sites.  Those that leave together are one *group*; a *mark* says of one
position of an axis which group lies there, and ``NO_GROUP`` where nothing that can leave does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.coupling import MergePoint
from frivkit.graph.layout import NO_GROUP, NO_UNIT, GroupIds, Layout, IntArray, attribute
from frivkit.graph.sites.site_map import SiteMap


def narrowed_axis(layout: Layout) -> int:
    """Return the axis on which units leave: of several the longest, of equals the last.

    Units at one position of it leave together, as those of all heads of an attention do.
    """
    return max(layout.axes, key=lambda a: (layout.units.shape[layout.axes.index(a)], a))


def stacked(layout: Layout) -> IntArray:
    """Return the units at each position of that axis, shape (positions, units at each)."""
    at = layout.axes.index(narrowed_axis(layout))
    return np.moveaxis(layout.units, at, 0).reshape(layout.units.shape[at], -1)


@dataclass(frozen=True, slots=True)
class GroupAssignment:
    """The groups of units that leave together, and where they lie.

    Attributes:
        of: The group of each unit of each site, by the site's name, shape (units,).
        count: The number of groups; they are numbered from 0 in the order of the sites.
        group_ids: The marks of each tensor in which units lie, by its name.
        conflicting: Groups that lie on each other at some place but not at all.
    """

    of: Mapping[str, IntArray]
    count: int
    group_ids: Mapping[str, GroupIds]
    conflicting: IntArray

    def at(self, value: ir.Value | None) -> GroupIds:
        """Return the marks of a tensor, none where no units lie in it."""
        return {} if value is None else self.group_ids.get(value.name or "", {})


def assign_groups(graph: ir.Graph, site_map: SiteMap) -> GroupAssignment:
    """Find the groups.

    Units that lie on each other in a sum, a product, a depthwise convolution or shared weights are
    one group.  So are all units that one group of a grouped convolution reads and writes: it can
    only leave whole.
    """
    widths = [site.width for site in site_map.sites]
    starts = np.cumsum([0, *widths])
    first = {site.name: int(start) for site, start in zip(site_map.sites, starts, strict=False)}
    width = {site.name: site.width for site in site_map.sites}
    merge_points = [merge_point for each in site_map.couplings for merge_point in each.merge_points]
    rows = [
        *_merged_units(merge_points, first),
        *_grouped(graph, site_map, first),
        *_split(site_map, first),
    ]
    labels = _connected_parts(int(starts[-1]), rows)
    of = {name: labels[start : start + width[name]] for name, start in first.items()}
    group_ids: dict[str, GroupIds] = {}
    conflicting: list[IntArray] = [np.zeros(0, dtype=np.intp)]
    for tensor, layouts in site_map.layouts.items():
        group_ids[tensor] = _ids_of(layouts, of, conflicting)
    count = int(labels.max()) + 1 if len(labels) else 0
    return GroupAssignment(of, count, group_ids, np.unique(np.concatenate(conflicting)))


def _merged_units(
    merge_points: Iterable[MergePoint], first: Mapping[str, int]
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of rows of units that lie on each other, by unit number."""
    for merge_point in merge_points:
        if merge_point.kind == "concat":
            continue
        below: IntArray | None = None
        for part in merge_point.parts:
            units = part.layout.units
            here = np.where(units == NO_UNIT, NO_UNIT, first[part.site] + units)
            if below is None:
                below = here.copy()
                continue
            met = (below != NO_UNIT) & (here != NO_UNIT)
            yield below[met], here[met]
            below = np.where(here == NO_UNIT, below, here)


def _split(site_map: SiteMap, first: Mapping[str, int]) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units that lie at one position of the axis on which they leave.

    Such are the units of all heads of an attention, and those of sites that lay side by side
    before their axis was split.
    """
    seen: set[tuple[tuple[str, Layout], ...]] = set()
    for layouts in site_map.layouts.values():
        if layouts in seen or all(len(layout.axes) == 1 for _, layout in layouts):
            continue
        seen.add(layouts)
        last: dict[tuple[int, int], IntArray] = {}  # by axis and its length
        for site, layout in layouts:
            units = stacked(layout)
            here = np.where(units == NO_UNIT, NO_UNIT, first[site] + units)
            place = (narrowed_axis(layout), len(here))
            for column in here.T:
                before = last.get(place, np.full(len(column), NO_UNIT))
                both = (before != NO_UNIT) & (column != NO_UNIT)
                yield before[both], column[both]
                last[place] = np.where(column == NO_UNIT, before, column)


def _grouped(
    graph: ir.Graph, site_map: SiteMap, first: Mapping[str, int]
) -> Iterator[Sequence[IntArray]]:
    """Return pairs of units that belong to one group of a grouped convolution."""
    for node in graph:
        groups = attribute(node, "group", 1) if node.op_type in ("Conv", "ConvTranspose") else 1
        if groups == 1:
            continue
        for layouts in (_channels(node.inputs[0], site_map), _channels(node.outputs[0], site_map)):
            for site, layout in layouts:
                if layout.size % groups == 0:
                    yield _within(layout, first[site], groups)
        yield from _across(node, site_map, first, groups)


def _channels(value: ir.Value | None, site_map: SiteMap) -> list[tuple[str, Layout]]:
    found = site_map.layouts.get((value.name if value is not None else None) or "", ())
    return [(site, layout) for site, layout in found if layout.axes == (1,)]


def _within(layout: Layout, start: int, groups: int) -> Sequence[IntArray]:
    """Tie the units of one site that lie in one group."""
    unit = layout.units.reshape(groups, -1)
    here = np.where(unit == NO_UNIT, NO_UNIT, start + unit)
    left, right = here[:, :-1].ravel(), here[:, 1:].ravel()
    both = (left != NO_UNIT) & (right != NO_UNIT)
    return left[both], right[both]


def _across(
    node: ir.Node, site_map: SiteMap, first: Mapping[str, int], groups: int
) -> Iterator[Sequence[IntArray]]:
    """Tie units of different sites that lie in one group, by the last of each in it."""
    last = np.full(groups, NO_UNIT)
    for value in (node.inputs[0], node.outputs[0]):
        for site, layout in _channels(value, site_map):
            if layout.size % groups:
                continue
            unit = layout.units.reshape(groups, -1).max(axis=1)
            here = np.where(unit == NO_UNIT, NO_UNIT, first[site] + unit)
            both = (last != NO_UNIT) & (here != NO_UNIT)
            yield last[both], here[both]
            last = np.where(here == NO_UNIT, last, here)


def _connected_parts(count: int, pairs: Iterable[Sequence[IntArray]]) -> IntArray:
    """Number the connected parts of a graph of units in the order of their first units."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    empty = np.zeros(0, dtype=np.intp)
    if count == 0:
        return empty
    known = list(pairs)
    left = np.concatenate([empty, *(pair[0] for pair in known)])
    right = np.concatenate([empty, *(pair[1] for pair in known)])
    edges = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    labels = connected_components(edges, directed=False)[1]
    _, begins, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(begins))[inverse].astype(np.intp)


def _ids_of(
    layouts: Iterable[tuple[str, Layout]], of: Mapping[str, IntArray], conflicting: list[IntArray]
) -> GroupIds:
    group_ids: dict[int, IntArray] = {}
    for site, layout in layouts:
        unit = stacked(layout).max(axis=1)
        mine = np.where(unit == NO_UNIT, NO_GROUP, of[site][unit])
        axis = narrowed_axis(layout)
        there = group_ids.setdefault(axis, np.full(len(mine), NO_GROUP))
        if len(there) != len(mine):
            conflicting.extend((there[there != NO_GROUP], mine[mine != NO_GROUP]))
            continue
        differ = (there != NO_GROUP) & (mine != NO_GROUP) & (there != mine)
        conflicting.extend((there[differ], mine[differ]))
        group_ids[axis] = np.where(mine == NO_GROUP, there, mine)
    return group_ids
