"""Lanes of a layered drawing: parallel branches one below the other where a rank has too many.

Ranks next to each other that are too wide are taken together, so that a branch of several layers
stays one piece: the first few branches lie side by side, the next few below them, and so on.
What leads into lower lanes passes the upper ones at the right, and what comes out of upper lanes
passes the lower ones at the left.
"""

from collections.abc import Sequence

Edge = tuple[int, int]
"""The indices of the nodes that an edge comes from and leads to."""


def in_lanes(rank: Sequence[int], edges: Sequence[Edge], most: int) -> tuple[list[int], set[int]]:
    """Return ranks with lanes, and the nodes that lie in lanes.

    Args:
        rank: The rank of each node.
        edges: The edges.
        most: The nodes of a rank at most; a lane has one fewer, since connections pass it.

    Example:
        >>> in_lanes([0, 1, 1, 1, 1, 2], [(0, i) for i in range(1, 5)], most=3)
        ([0, 1, 1, 2, 2, 3], {1, 2, 3, 4})
    """
    members: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for node, at in enumerate(rank):
        members[at].append(node)
    found, moved, shift, at = list(rank), set[int](), 0, 0
    while at < len(members):
        end = at
        while end < len(members) and len(members[end]) > most:
            end += 1
        lanes: list[list[int]] = []
        if end > at:
            nodes = [node for wide in members[at:end] for node in wide]
            lanes = _lanes(_branches(nodes, edges), rank, most)
            if not _is_narrow(lanes, rank, most):  # branches that meet: each rank by itself
                end = at + 1
                lanes = _lanes([[node] for node in members[at]], rank, most)
            moved |= {node for lane in lanes for node in lane}
        depth = max(end - at, 1)
        for i, lane in enumerate(lanes or [members[at]]):
            for node in lane:
                found[node] += shift + i * depth
        shift += depth * max(len(lanes) - 1, 0)
        at += depth
    return found, moved


def _branches(nodes: Sequence[int], edges: Sequence[Edge]) -> list[list[int]]:
    """Return nodes in the sets that edges among them connect."""
    of = {node: {node} for node in nodes}
    for a, b in edges:
        if a in of and b in of and of[a] is not of[b]:
            of[a] |= of[b]
            of.update(dict.fromkeys(of[b], of[a]))
    return [sorted(branch) for branch in {id(branch): branch for branch in of.values()}.values()]


def _lanes(branches: Sequence[Sequence[int]], rank: Sequence[int], most: int) -> list[list[int]]:
    """Return branches gathered in their order, in as few groups as fit, about equally large."""
    widest = max(_sizes([node for branch in branches for node in branch], rank).values())
    room = -(-widest // -(-widest // max(most - 1, 1)))
    lanes: list[list[int]] = []
    for branch in branches:
        if lanes and max(_sizes([*lanes[-1], *branch], rank).values()) <= room:
            lanes[-1] += branch
        else:
            lanes.append([*branch])
    return lanes


def _is_narrow(lanes: Sequence[Sequence[int]], rank: Sequence[int], most: int) -> bool:
    return all(max(_sizes(lane, rank).values()) <= most for lane in lanes)


def _sizes(nodes: Sequence[int], rank: Sequence[int]) -> dict[int, int]:
    """Return the number of nodes in each rank."""
    sizes: dict[int, int] = {}
    for node in nodes:
        sizes[rank[node]] = sizes.get(rank[node], 0) + 1
    return sizes
