"""A layered drawing of an acyclic graph: where its nodes and the bends of its edges lie.

The steps are those of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical
system structures", IEEE Transactions on Systems, Man, and Cybernetics 11 (2), 1981: ranks by the
longest path, an order within each rank by barycentres, then positions.  Positions minimise the
squared distances between ends of edges, one rank after the other, by isotonic regression.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from frivkit.report.lanes import Edge, in_lanes

SWEEPS = 12
"""How often ranks are ordered, and placed, from top to bottom and back."""
FIRM = 1e6
"""Weight of a node against that of a bend, where one of them must make room."""


@dataclass(frozen=True, slots=True)
class LayeredDrawing:
    """Ranks and horizontal positions.

    Attributes:
        ranks: The indices of the points in each rank, from left to right.  Points below the number
            of nodes are nodes, the others bends of edges.
        rank: The rank of each point.
        x: The horizontal position of the middle of each point, from 0 at the left edge.
        width: The width of the whole drawing.
        ways: For each edge the points that it passes, one in each rank, its ends included.
    """

    ranks: tuple[tuple[int, ...], ...]
    rank: tuple[int, ...]
    x: tuple[float, ...]
    width: float
    ways: tuple[tuple[int, ...], ...]


def layered(
    count: int, edges: Sequence[Edge], width: float, gap: float, most: int | None = None
) -> LayeredDrawing:
    """Return a drawing of a graph whose nodes are in topological order.

    Args:
        count: The number of nodes.
        edges: The edges, each from a node to a later one.
        width: The width of a node.
        gap: The space between two points of a rank; a bend is as wide as that.
        most: The nodes of a rank at most, where branches beyond that lie in lanes below each other;
            None lets ranks be as wide as they are.

    Example:
        >>> found = layered(4, [(0, 1), (1, 2), (0, 2), (2, 3)], width=10, gap=2)
        >>> [len(rank) for rank in found.ranks], found.ways[2]
        ([1, 2, 1, 1], (0, 4, 2))
    """
    rank, moved = longest_paths(count, edges), set[int]()
    if most is not None:
        rank, moved = in_lanes(rank, edges, most)
    ways, sides = _with_bends(rank, edges, moved)
    above: list[list[int]] = [[] for _ in rank]
    below: list[list[int]] = [[] for _ in rank]
    for upper, lower in dict.fromkeys(pair for way in ways for pair in pairwise(way)):
        below[upper].append(lower)
        above[lower].append(upper)
    ranks = _ordered(_by_rank(rank), above, below)
    fixed = _beside_lanes(ranks, moved, sides, width, gap)
    sizes = [width] * count + [gap] * (len(rank) - count)
    x = _placed(ranks, (above, below), sizes, gap, fixed)
    right = max((at + size / 2 for at, size in zip(x, sizes, strict=True)), default=0.0)
    return LayeredDrawing(tuple(map(tuple, ranks)), tuple(rank), tuple(x), right, tuple(ways))


def _with_bends(
    rank: list[int], edges: Sequence[Edge], moved: set[int]
) -> tuple[list[tuple[int, ...]], dict[int, str]]:
    """Return the points that edges pass, and add the ranks of bends to those of the nodes.

    Edges into lanes share the bends of their source, edges out of lanes those of their target.

    Returns:
        The points of each edge, and by bend that is shared ``"source"`` or ``"target"``.
    """
    shared: dict[tuple[str, int, int], int] = {}
    ways = []
    for i, (source, target) in enumerate(edges):
        of = (
            ("source", source)
            if target in moved
            else ("target", target)
            if source in moved
            else ("edge", i)
        )
        bends = []
        for at in range(rank[source] + 1, rank[target]):
            bend = shared.setdefault((*of, at), len(rank))
            if bend == len(rank):
                rank.append(at)
            bends.append(bend)
        ways.append((source, *bends, target))
    return ways, {bend: side for (side, _, _), bend in shared.items() if side != "edge"}


def _beside_lanes(
    ranks: list[list[int]], moved: set[int], sides: dict[int, str], width: float, gap: float
) -> dict[int, float]:
    """Sort the ranks of lanes, and return where their points lie: boxes above each other."""
    most = max((sum(point in moved for point in rank) for rank in ranks), default=0)
    ends = {"target": -width / 2 - 1.5 * gap, "source": most * (width + gap) - (width - gap) / 2}
    order = ["target", "node", "source", "edge"]
    fixed: dict[int, float] = {}
    for rank in ranks:
        if moved.intersection(rank):
            kind = {p: "node" if p in moved else sides.get(p, "edge") for p in rank}
            rank.sort(key=lambda point: order.index(kind[point]))
            nodes = [point for point in rank if kind[point] == "node"]
            fixed |= {point: i * (width + gap) for i, point in enumerate(nodes)}
            fixed |= {point: ends[kind[point]] for point in rank if kind[point] in ends}
    return fixed


def longest_paths(count: int, edges: Sequence[Edge]) -> list[int]:
    """Return the rank of each node: below what leads to it, sources just above what they feed.

    Example:
        >>> longest_paths(3, [(0, 1), (1, 2), (0, 2)])
        [0, 1, 2]
    """
    rank = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        rank[target] = max(rank[target], rank[source] + 1)
    targets = {target for _, target in edges}
    for node in range(count):
        below = [rank[target] for source, target in edges if source == node]
        if node not in targets and below:
            rank[node] = min(below) - 1
    return rank


def _by_rank(rank: Sequence[int]) -> list[list[int]]:
    ranks: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for point, at in enumerate(rank):
        ranks[at].append(point)
    return ranks


def _ordered(
    ranks: list[list[int]], above: list[list[int]], below: list[list[int]]
) -> list[list[int]]:
    """Return the ranks in the order with the fewest crossings among those that were tried."""
    best, fewest = [list(rank) for rank in ranks], _crossings(ranks, below)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for at in range(len(ranks)) if down else reversed(range(len(ranks))):
            neighbours, side = (above, at - 1) if down else (below, at + 1)
            if 0 <= side < len(ranks):
                place = {point: i for i, point in enumerate(ranks[side])}
                ranks[at] = _by_barycentre(ranks[at], neighbours, place)
        found = _crossings(ranks, below)
        if found < fewest:
            best, fewest = [list(rank) for rank in ranks], found
        if fewest == 0:
            break
    return best


def _by_barycentre(
    rank: list[int], neighbours: list[list[int]], place: dict[int, int]
) -> list[int]:
    """Return a rank sorted by the mean place of neighbours; without any, a point stays put."""
    key = {
        point: sum(place[other] for other in neighbours[point]) / len(neighbours[point])
        if neighbours[point]
        else float(i)
        for i, point in enumerate(rank)
    }
    return sorted(rank, key=lambda point: key[point])


def _crossings(ranks: list[list[int]], below: list[list[int]]) -> int:
    """Return the number of pairs of edges that cross."""
    total = 0
    for upper, lower in pairwise(ranks):
        place = {point: i for i, point in enumerate(lower)}
        seen: list[int] = []  # rising
        for point in upper:
            ends = sorted(place[other] for other in below[point])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _placed(
    ranks: list[list[int]],
    beside: tuple[list[list[int]], list[list[int]]],
    sizes: Sequence[float],
    gap: float,
    fixed: dict[int, float],
) -> list[float]:
    """Return the middles of all points, the leftmost edge of the drawing at 0.

    Args:
        ranks: The points of each rank, from left to right.
        beside: The neighbours of each point in the rank above, and in the rank below.
        sizes: The width of each point.
        gap: The space between two.
        fixed: Where some are wanted, whatever their neighbours.
    """
    x = [0.0] * len(sizes)
    weight = [FIRM if size > gap else 1.0 for size in sizes]
    for rank in ranks:
        left = 0.0
        for point in rank:
            x[point] = left + sizes[point] / 2
            left += sizes[point] + gap
    for sweep in range(SWEEPS):
        neighbours = beside[sweep % 2]
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            wanted = [
                fixed[point] if point in fixed else _wanted(point, neighbours[point], x, weight)
                for point in rank
            ]
            gaps = [(sizes[a] + sizes[b]) / 2 + gap for a, b in pairwise(rank)]
            found = spaced(wanted, gaps, [weight[point] for point in rank])
            for point, at in zip(rank, found, strict=True):
                x[point] = at
    first = min((x[p] - sizes[p] / 2 for p in range(len(x))), default=0.0)
    return [each - first for each in x]


def _wanted(
    point: int, neighbours: Sequence[int], x: Sequence[float], weight: Sequence[float]
) -> float:
    """Return where a point would lie best: between its neighbours, nodes or else bends."""
    if not neighbours:
        return x[point]
    alike = [other for other in neighbours if weight[other] == weight[point]] or neighbours
    return sum(x[other] for other in alike) / len(alike)


def spaced(wanted: Sequence[float], gaps: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the positions nearest to those wanted, in their order and with these gaps at least.

    Args:
        wanted: The positions.
        gaps: The least distance between each position and the next.
        weights: How much the squared distance of each counts.

    Example:
        >>> spaced([0.0, 0.0], [2.0], [1.0, 1.0])
        [-1.0, 1.0]
    """
    shift = list(accumulate(gaps, initial=0.0))[: len(wanted)]
    blocks: list[list[float]] = []  # mean, weight and length of runs that touch
    for position, offset, weight in zip(wanted, shift, weights, strict=True):
        blocks.append([position - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, long = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += long
    means = [mean for mean, _, length in blocks for _ in range(int(length))]
    return [mean + offset for mean, offset in zip(means, shift, strict=True)]
