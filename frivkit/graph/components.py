"""Connected components of an undirected graph whose vertices are numbered."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def connected_components(
    count: int, edges: Iterable[Sequence[NDArray[np.intp]]]
) -> NDArray[np.intp]:
    """Return the component of each vertex.

    Args:
        count: The number of vertices, at least 0.
        edges: Pairs of arrays of vertices, both of shape (edges,); entry *i* of one is connected
            with entry *i* of the other.

    Returns:
        NDArray[np.intp] from 0 in the order of the components' first vertices, shape (count,).

    Example:
        >>> connected_components(5, [(np.array([3, 4]), np.array([1, 3]))]).tolist()
        [0, 1, 2, 1, 1]
    """
    pairs = list(edges)
    empty = np.zeros(0, np.intp)
    left = np.concatenate([empty, *(pair[0] for pair in pairs)])
    right = np.concatenate([empty, *(pair[1] for pair in pairs)])
    roots = np.arange(count)  # of each vertex a vertex of its component, in the end the first one
    while True:
        lower = np.minimum(roots[left], roots[right])
        merged = roots.copy()
        for ends in (left, right, roots[left], roots[right]):
            np.minimum.at(merged, ends, lower)
        merged = merged[merged]
        if (merged == roots).all():
            return np.unique(roots, return_inverse=True)[1].astype(np.intp)
        roots = merged
