"""Couplings: sites whose units cannot all leave independently of each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from frivkit.graph.components import connected_components
from frivkit.graph.layout import Layout


@dataclass(frozen=True, slots=True)
class SitePart:
    """One of the sites at a merge point.

    Attributes:
        site: Its name.
        layout: Where its units lie in the tensor of the merge point.
    """

    site: str
    layout: Layout

    @property
    def offset(self) -> int:
        """The number of units in front of its own: those of the parts before it in a Concat."""
        return self.layout.first


@dataclass(frozen=True, slots=True)
class MergePoint:
    """A tensor in which units of several sites meet, or units of one site meet each other.

    In a ``"sum"``, a ``"product"``, an ``"inner"`` product, a ``"depthwise"`` convolution, for
    ``"shared"`` weights, and where channels are ``"stacked"`` into the places of one, units at one
    position are one pruning group.  So are, in a ``"joined"``
    merge point, the units of a concat site and those of other sites that lie in its Concat.  In a
    ``"concat"`` the parts lie side by side, and each unit may leave alone; the positions of the
    parts behind it then change.

    Attributes:
        tensor: The name of the tensor, or of the weight for ``"shared"``.
        kind: One of the words above.
        parts: The sites, at least two or one twice.
    """

    tensor: str
    kind: str
    parts: tuple[SitePart, ...]


@dataclass(frozen=True, slots=True)
class Coupling:
    """Sites connected by merge points.

    Attributes:
        name: ``"coupling 1"`` and so on, in the order of the graph.
        sites: Their names, in the order of the graph.
        merge_points: Where they meet.
    """

    name: str
    sites: tuple[str, ...]
    merge_points: tuple[MergePoint, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its merge points, each once."""
        return tuple(dict.fromkeys(merge_point.kind for merge_point in self.merge_points))


def couple(sites: Sequence[str], merge_points: Iterable[MergePoint]) -> tuple[Coupling, ...]:
    """Return the sets of sites that merge points connect, in the order of the graph.

    Args:
        sites: The names of all sites, in the order of the graph.
        merge_points: Where they meet.

    Example:
        >>> layout = Layout.of(axis=1, width=4)
        >>> add = MergePoint("add", "sum", (SitePart("a", layout), SitePart("b", layout)))
        >>> [coupling.sites for coupling in couple(["a", "b", "c"], [add])]
        [('a', 'b')]
    """
    number = {name: i for i, name in enumerate(sites)}
    points = list(merge_points)
    edges = []
    for point in points:
        first, *others = (number[part.site] for part in point.parts)
        edges.append((np.full(len(others), first), np.array(others, np.intp)))
    component = dict(zip(sites, connected_components(len(sites), edges).tolist(), strict=True))
    points_of: dict[int, list[MergePoint]] = {}
    for point in points:
        points_of.setdefault(component[point.parts[0].site], []).append(point)
    sites_of: dict[int, list[str]] = {}
    for name in sites:
        sites_of.setdefault(component[name], []).append(name)
    return tuple(
        Coupling(
            f"coupling {i}",
            tuple(sites_of[each]),
            tuple(points_of[each]),
        )
        for i, each in enumerate(sorted(points_of), start=1)
    )
