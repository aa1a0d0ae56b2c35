"""Which units can leave a model, and which of them only together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.layout import NO_GROUP, IntArray
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.operators.edits import Edit, Locked
from frivkit.graph.operators.table import edits
from frivkit.graph.sites.group_ids import GroupAssignment, assign_groups
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of units of sites that can only leave together, numbered over the whole model.

    Attributes:
        of: The group of each unit of each site, by the site's name, shape (units,).
        count: The number of groups.
        locked: Why a group cannot leave, for each that cannot.
        layer_groups: The sites that share groups, each site in one of them, in the order of the
            graph.
        rows: Groups that lie beside each other in some tensor and nothing else with them, so that
            one of them must stay: those of a site, of a part that was split off, of a head.
    """

    of: Mapping[str, IntArray]
    count: int
    locked: Mapping[int, str]
    layer_groups: tuple[tuple[str, ...], ...]
    rows: tuple[IntArray, ...] = ()

    @property
    def free(self) -> NDArray[np.bool_]:
        """Whether each group can leave, shape (groups,)."""
        free = np.ones(self.count, dtype=np.bool_)
        free[list(self.locked)] = False
        return free

    def reason(self, site: str) -> str | None:
        """Return why no unit of a site can leave, None where one can."""
        reasons = [self.locked.get(int(group)) for group in self.of[site]]
        return None if None in reasons else reasons[0]

    def flags(self, stays: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """Return of each unit of each site whether it stays, from what is said of each group.

        Args:
            stays: Whether each group stays, shape (groups,).
        """
        return {site: stays[groups] for site, groups in self.of.items()}


@dataclass(frozen=True, slots=True)
class PruningGraph:
    """A model as surgery sees it.

    Attributes:
        groups: What can leave.
        assignment: Where the groups lie in each tensor.
        edits: What changes in each node when they leave, by the node's place in the graph.
    """

    groups: Groups
    assignment: GroupAssignment
    edits: Mapping[int, tuple[Edit, ...]]


def find_groups(model: Model, site_map: SiteMap) -> Groups:
    """Return the units that can leave, and which of them only together.

    Units that lie on each other in a sum, a product, a depthwise convolution or in shared weights
    are one group, as are all that one group of a grouped convolution reads and writes.  The parts
    of a concatenation are not.  A group cannot leave where one of its units is an output of the
    model, is not followed to all that reads it, or is read by an operator that cannot be narrowed
    exactly (a normalisation over units, say) or for which there is no rule.

    Args:
        model: The model, with known shapes.
        site_map: What was found in that model.
    """
    return analyze_groups(model, site_map).groups


def analyze_groups(model: Model, site_map: SiteMap) -> PruningGraph:
    """Find the groups of a model and what changes when they leave (see ``find_groups``)."""
    assignment = assign_groups(model.graph, site_map)
    found = {i: tuple(edits(node, assignment.at, model)) for i, node in enumerate(model.graph)}
    locked: dict[int, str] = {}
    for reason, group_ids in _locks(model, site_map, assignment, found):
        for group in np.unique(group_ids[group_ids != NO_GROUP]).tolist():
            locked.setdefault(group, reason)
    groups = Groups(
        assignment.of, assignment.count, locked, _layer_groups(assignment), _rows(assignment)
    )
    return PruningGraph(groups, assignment, {i: each for i, each in found.items() if each})


def _rows(assignment: GroupAssignment) -> tuple[IntArray, ...]:
    every = [
        *assignment.of.values(),
        *(m for there in assignment.group_ids.values() for m in there.values()),
    ]
    alone = [
        np.unique(group_ids)
        for group_ids in every
        if (group_ids != NO_GROUP).all() and len(group_ids)
    ]
    return tuple({row.tobytes(): row for row in alone}.values())


def _locks(
    model: Model,
    site_map: SiteMap,
    assignment: GroupAssignment,
    found: Mapping[int, tuple[Edit, ...]],
) -> Iterator[tuple[str, IntArray]]:
    for site in site_map.sites:
        if site.ends:
            yield site.ends[0], assignment.of[site.name]
    for output in model.graph.outputs:
        for group_ids in assignment.at(output).values():
            yield f"units of the model's output {output.name!r}", group_ids
    for index, node in enumerate(model.graph):
        for edit in found[index]:
            if isinstance(edit, Locked):
                yield f"{node_label(node)}: {edit.reason}", edit.group_ids
    yield "units that lie on each other in one tensor only", assignment.conflicting


def _layer_groups(assignment: GroupAssignment) -> tuple[tuple[str, ...], ...]:
    """Gather the sites that share groups."""
    sites = list(assignment.of)
    root = list(range(len(sites)))

    def find(site: int) -> int:
        while root[site] != site:
            site = root[site]
        return site

    owner: dict[int, int] = {}
    for number, site in enumerate(sites):
        for group in np.unique(assignment.of[site]).tolist():
            other = find(owner.setdefault(group, number))
            here = find(number)
            root[max(other, here)] = min(other, here)
    gathered: dict[int, list[str]] = {}
    for number, site in enumerate(sites):
        gathered.setdefault(find(number), []).append(site)
    return tuple(tuple(names) for names in gathered.values())
