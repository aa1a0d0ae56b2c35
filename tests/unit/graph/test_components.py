"""Connected components, compared with scipy's."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as components_of_scipy

from frivkit.graph.components import connected_components


def by_scipy(count, left, right):
    edges = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    labels = components_of_scipy(edges, directed=False)[1]
    order = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()))}
    return [order[label] for label in labels.tolist()]


@pytest.mark.parametrize("seed", range(20))
def test_components_are_those_of_scipy_in_the_order_of_first_vertices(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 400))
    left, right = generator.integers(0, count, (2, int(generator.integers(0, 2 * count))))
    half = len(left) // 2
    edges = [(left[:half], right[:half]), (left[half:], right[half:])]
    assert connected_components(count, edges).tolist() == by_scipy(count, left, right)


def test_a_long_path_in_any_order_is_one_component():
    path = np.random.default_rng(0).permutation(5000)
    assert connected_components(5000, [(path[:-1], path[1:])]).max() == 0


def test_vertices_without_edges_are_components_of_their_own():
    assert connected_components(3, []).tolist() == [0, 1, 2]
    assert connected_components(0, []).tolist() == []
