"""The map of a network: its layers and how they are connected, as an SVG with links.

A network is deep and narrow, and a page is not: the drawing is folded into columns, as text is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

from frivkit.report import svg
from frivkit.report.format import short
from frivkit.report.lanes import Edge
from frivkit.report.layered import LayeredDrawing, layered, longest_paths

WIDTH, HEIGHT = 148.0, 52.0
"""The size of a box, in pixels."""
ACROSS, DOWN = 16.0, 20.0
"""The space between boxes of one rank, and between ranks."""
ABREAST = 5
"""Boxes of one rank at most; parallel branches beyond that lie in lanes below each other."""
GUTTER = 36.0
"""The space between columns, in which connections go up again."""
PAGE = 872.0
"""The width that columns fill."""
SHORTEST = 6
"""Ranks of a column at least."""
LANE = 6.0
"""The distance between connections that go up beside each other."""
PAD = 10.0
"""The space around the text of a box."""
NAME = 19
"""Characters of a name in a box."""
MOST_NODES = 60
"""Nodes beyond which those without units are left out."""
MOST_BENDS = 1500
"""Bends of connections beyond which those are left out that also lead through others."""


@dataclass(frozen=True, slots=True)
class ShareBar:
    """A bar in a box: what part of a layer each of several kinds is.

    Attributes:
        parts: The class and the share of each part, from the left; together at most 1.
    """

    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Face:
    """What a box shows.

    Attributes:
        name: Its first line.
        line: Its second line.
        kind: Its class, by which it is coloured.
        bars: Its bars, two at most.
        tag: The number of its coupling, empty if it has none.
        target: The ``id`` of the element that it leads to, empty if it leads nowhere.
        spoken: All of this in words, for screen readers and the pointer.
    """

    name: str
    line: str = ""
    kind: str = "plain"
    bars: tuple[ShareBar, ...] = ()
    tag: str = ""
    target: str = ""
    spoken: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A connection between two boxes.

    Attributes:
        ends: Their indices.
        merges: Whether it also leads past the weights, as in a residual connection.
    """

    ends: Edge
    merges: bool


def ways_between_units(graph: Mapping[str, Any]) -> tuple[list[int], list[Way]]:
    """Return the nodes of a graph of layers that are drawn, and the connections between them.

    Of large graphs, weighted nodes that are not analysed are left out, and what leads to them is
    connected with what they lead to.

    Args:
        graph: The key ``layer_graph`` of a document.

    Example:
        >>> nodes = [{"kind": kind} for kind in ("input", "skipped", *["layer"] * 60)]
        >>> edges = [{"from": i, "to": i + 1, "merges": False} for i in range(61)]
        >>> ways_between_units({"nodes": nodes, "edges": edges})[1][0].ends
        (0, 2)
    """
    nodes = graph["nodes"]
    merges = {(edge["from"], edge["to"]): bool(edge["merges"]) for edge in graph["edges"]}
    kept = list(range(len(nodes)))
    if len(nodes) > MOST_NODES:
        for hidden in [i for i in kept if nodes[i]["kind"] == "skipped"]:
            before = [a for a, b in merges if b == hidden]
            after = [b for a, b in merges if a == hidden]
            if before and after:
                merges |= {(a, b): merges.get((a, b), False) for a in before for b in after}
                merges = {ends: each for ends, each in merges.items() if hidden not in ends}
                kept.remove(hidden)
    return kept, [Way(ends, each) for ends, each in sorted(merges.items())]


def without_shortcuts(ways: Sequence[Way]) -> list[Way]:
    """Return connections without those that also lead through others, if they are too many to draw.

    In a densely connected network each layer is connected with all later ones of its block.

    Example:
        >>> chain = [Way((i, i + 1), False) for i in range(99)]
        >>> dense = chain + [Way((i, j), False) for i in range(99) for j in range(i + 2, 99)]
        >>> without_shortcuts(chain) == without_shortcuts(dense) == chain
        True
    """
    count = max((way.ends[1] for way in ways), default=-1) + 1
    rank = longest_paths(count, [way.ends for way in ways])
    bends = sum(rank[way.ends[1]] - rank[way.ends[0]] - 1 for way in ways)
    if bends <= MOST_BENDS:
        return list(ways)
    after: list[list[int]] = [[] for _ in range(count)]
    for way in ways:
        after[way.ends[0]].append(way.ends[1])
    reached = [0] * count  # bits of the nodes that each leads to
    for node in reversed(range(count)):
        for other in after[node]:
            reached[node] |= 1 << other | reached[other]
    return [
        way
        for way in ways
        if not any(reached[other] >> way.ends[1] & 1 for other in after[way.ends[0]])
    ]


def layer_map(faces: Mapping[int, Face], ways: Sequence[Way], label: str) -> str:
    """Return the map as SVG of a fixed size.

    Args:
        faces: The boxes by their indices, in the order of the network.
        ways: The connections.
        label: A description for screen readers.
    """
    place = {node: i for i, node in enumerate(faces)}
    edges = [(place[way.ends[0]], place[way.ends[1]]) for way in ways]
    drawing = layered(len(faces), edges, WIDTH, ACROSS, ABREAST)
    columns = _Columns.of(drawing)
    plot = Element(
        "svg",
        {
            "class": "map",
            "role": "group",
            "aria-label": label,
            "width": f"{columns.width:.0f}",
            "height": f"{columns.height:.0f}",
            "viewBox": f"0 0 {columns.width:.0f} {columns.height:.0f}",
        },
    )
    marker = svg.add(svg.add(plot, "defs"), "marker", id="arrow", viewBox="0 0 6 6", orient="auto")
    for key, value in {"refX": 5, "refY": 3, "markerWidth": 6, "markerHeight": 6}.items():
        marker.set(key, str(value))
    svg.add(marker, "path", "arrow", d="M0 0L6 3L0 6z")
    for way, points in zip(ways, drawing.ways, strict=True):
        css = "way merges" if way.merges else "way"
        path = svg.add(plot, "path", css, d=columns.path(points))
        path.set("marker-end", "url(#arrow)")
    for i, face in enumerate(faces.values()):
        _draw_box(plot, face, columns.corner(i), i)
    return svg.to_text(plot)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where points lie when the drawing is folded.

    Attributes:
        drawing: The drawing in one column.
        first: The first rank of each column, and at the end the number of ranks.
    """

    drawing: LayeredDrawing
    first: tuple[int, ...]

    @classmethod
    def of(cls, drawing: LayeredDrawing) -> "_Columns":
        """Fold a drawing where few connections are, into columns of about equal height."""
        pitch = drawing.width + GUTTER
        ranks = len(drawing.ranks)
        count = max(1, min(int((PAGE + GUTTER) // pitch), -(-ranks // SHORTEST)))
        first = [0]
        for column in range(1, count):
            even = round(ranks * column / count)
            near = [at for at in range(even - 1, even + 2) if first[-1] < at < ranks]
            first.append(min(near, key=lambda at: (len(drawing.ranks[at]), abs(at - even))))
        return cls(drawing, (*first, ranks))

    @property
    def _pitch(self) -> float:
        return self.drawing.width + GUTTER

    @property
    def _lanes(self) -> float:
        """The space above and below columns, in which connections turn; none for one column."""
        most = max((len(self.drawing.ranks[at]) for at in self.first[1:-1]), default=0)
        return 14.0 + LANE * most if most else 2.0

    @property
    def width(self) -> float:
        """The width of the drawing."""
        return self._pitch * (len(self.first) - 1) - GUTTER + 2

    @property
    def height(self) -> float:
        """The height of the drawing."""
        longest = max(b - a for a, b in pairwise(self.first)) if self.drawing.ranks else 0
        return longest * (HEIGHT + DOWN) - DOWN + 2 * self._lanes

    def _column(self, point: int) -> int:
        rank = self.drawing.rank[point]
        return max(i for i, first in enumerate(self.first[:-1]) if first <= rank)

    def _top(self, point: int) -> svg.Point:
        """Return the middle of the upper edge of a point."""
        column = self._column(point)
        row = self.drawing.rank[point] - self.first[column]
        x = self.drawing.x[point] + column * self._pitch
        return x + 1, row * (HEIGHT + DOWN) + self._lanes

    def corner(self, node: int) -> svg.Point:
        """Return the upper left corner of a box."""
        x, y = self._top(node)
        return x - WIDTH / 2, y

    def path(self, points: Sequence[int]) -> str:
        """Return a connection through points as the path of SVG."""
        x, y = self._top(points[0])
        steps = [f"M{x:.0f} {y + HEIGHT:.0f}"]
        for upper, lower in pairwise(points):
            (a, b), (c, d) = self._top(upper), self._top(lower)
            b += HEIGHT
            if self._column(upper) != self._column(lower):
                steps.append(self._fold(lower, (a, b), (c, d)))
            elif abs(a - c) < 0.5:
                steps.append(f"V{d:.0f}")
            else:
                middle = (b + d) / 2
                steps.append(f"C{a:.0f} {middle:.0f} {c:.0f} {middle:.0f} {c:.0f} {d:.0f}")
            if lower != points[-1]:
                steps.append(f"v{HEIGHT:.0f}")
        return "".join(steps)

    def _fold(self, lower: int, begin: svg.Point, end: svg.Point) -> str:
        """Return the way from the foot of a column to the head of the next."""
        lane = LANE * self.drawing.ranks[self.drawing.rank[lower]].index(lower)
        foot, head = self.height - 4 - lane, 4 + lane
        up = self._column(lower) * self._pitch - GUTTER / 2 + lane
        corners = [begin, (begin[0], foot), (up, foot), (up, head), (end[0], head), end]
        return "".join(f"L{x:.0f} {y:.0f}" for x, y in corners[1:])


def _draw_box(plot: Element, face: Face, corner: svg.Point, number: int) -> None:
    """Draw a box, as a link if it leads somewhere."""
    x, y = corner
    group = svg.add(plot, "a" if face.target else "g", f"box {face.kind}", id=f"map-{number}")
    if face.target:
        group.set("href", f"#{face.target}")
    if face.tag:
        group.set("data-coupling", face.tag)
    group.set("transform", f"translate({x:.0f} {y:.0f})")
    svg.add(group, "rect", title=face.spoken, width=f"{WIDTH:g}", height=f"{HEIGHT:g}", rx="5")
    room = WIDTH - 2 * PAD
    clip = svg.add(group, "svg", x=f"{PAD:g}", y="0", width=f"{room:g}", height="20")
    _text(clip, short(face.name, NAME), (0, 16), "name")
    _text(group, face.line, (PAD, 32), "line")
    if face.tag:
        _text(group, face.tag, (WIDTH - PAD, 32), "tag", "end")
    high = 4 if len(face.bars) > 1 else 6
    for i, bar in enumerate(face.bars):
        upright = {"y": f"{38 + 6 * i}", "height": f"{high}"}
        svg.add(group, "rect", "track", x=f"{PAD:g}", width=f"{room:g}", **upright)
        left = PAD
        for css, share in bar.parts:
            svg.add(group, "rect", css, x=f"{left:.1f}", width=f"{share * room:.1f}", **upright)
            left += share * room


def _text(group: Element, words: str, at: svg.Point, css: str, anchor: str = "start") -> None:
    element = svg.add(group, "text", css, x=f"{at[0]:g}", y=f"{at[1]:g}")
    element.set("text-anchor", anchor)
    element.text = words
