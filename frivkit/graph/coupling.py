"""Couplings: sites whose units cannot all leave on their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from frivkit.graph.layout import Layout


@dataclass(frozen=True, slots=True)
class SitePart:
    """One site in a junction, and where its units lie in the junction's tensor."""

    site: str
    layout: Layout

    @property
    def offset(self) -> int:
        """The position of its first unit, counted in units: in a concatenation, how many before."""
        return self.layout.first


@dataclass(frozen=True, slots=True)
class MergePoint:
    """A tensor in which units of several sites meet, or units of one site meet each other.

    In a ``"sum"``, a ``"product"``, an ``"inner"`` product, a ``"depthwise"`` convolution, and for
    ``"shared"`` weights, units at one position leave together, and so do those of a ``"joined"``
    layer and of layers that stay beside it.  In a ``"concat"`` the parts lie side by side and each
    unit may leave alone, but whoever narrows a part moves the positions of the parts behind it.
    """

    tensor: str
    kind: str
    parts: tuple[SitePart, ...]


@dataclass(frozen=True, slots=True)
class Coupling:
    """Sites connected by junctions."""

    name: str
    sites: tuple[str, ...]
    merge_points: tuple[MergePoint, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its junctions, each once."""
        return tuple(dict.fromkeys(merge_point.kind for merge_point in self.merge_points))


def couple(sites: Sequence[str], merge_points: Iterable[MergePoint]) -> tuple[Coupling, ...]:
    """Gather the sites that junctions connect, in the order of the graph.

    Example:
        >>> here = Layout.of(axis=1, width=4)
        >>> sum_ = MergePoint("add", "sum", (SitePart("a", here), SitePart("b", here)))
        >>> [c.sites for c in couple(["a", "b", "c"], [sum_])]
        [('a', 'b')]
    """
    root = {name: name for name in sites}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    kept = []
    for merge_point in merge_points:
        kept.append(merge_point)
        first, *others = (find(part.site) for part in merge_point.parts)
        for other in others:
            root[find(other)] = find(first)
    groups: dict[str, list[str]] = {}
    for name in sites:
        groups.setdefault(find(name), []).append(name)
    joined: dict[str, list[MergePoint]] = {}
    for merge_point in kept:
        joined.setdefault(find(merge_point.parts[0].site), []).append(merge_point)
    return tuple(
        Coupling(f"coupling {i}", tuple(groups[key]), tuple(joined[key]))
        for i, key in enumerate((key for key in groups if key in joined), start=1)
    )
