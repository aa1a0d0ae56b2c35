"""Layered drawings: ranks respect edges, order avoids crossings, positions keep their distance."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from frivkit.report.layered import layered, spaced

WIDTH, GAP = 100.0, 10.0


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 12))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    drawn = draw(st.sets(pairs.filter(lambda p: p[0] < p[1]) if count > 1 else st.nothing()))
    return count, sorted(drawn)


@settings(max_examples=90)
@given(graphs(), st.sampled_from([None, 1, 2, 3]))
def test_drawing_keeps_what_it_promises(graph, most):
    count, edges = graph
    found = layered(count, edges, WIDTH, GAP, most)
    if most is not None:
        assert max(sum(point < count for point in rank) for rank in found.ranks) <= most
    for (source, target), way in zip(edges, found.ways, strict=True):
        assert (way[0], way[-1]) == (source, target)
        assert [found.rank[p] for p in way] == list(
            range(found.rank[source], found.rank[target] + 1)
        )
    assert sorted(p for rank in found.ranks for p in rank) == list(range(len(found.rank)))
    size = [WIDTH if p < count else GAP for p in range(len(found.rank))]
    for rank in found.ranks:
        for a, b in pairwise(rank):
            assert found.x[b] - found.x[a] >= (size[a] + size[b]) / 2 + GAP - 1e-6
    assert min(found.x[p] - size[p] / 2 for p in range(len(size))) == pytest.approx(0, abs=1e-6)
    assert max(found.x[p] + size[p] / 2 for p in range(len(size))) == pytest.approx(found.width)


def test_chain_stays_straight_beside_its_residual_connections():
    edges = [(i, i + 1) for i in range(9)] + [(i, i + 2) for i in range(0, 8, 2)]
    found = layered(10, edges, WIDTH, GAP)
    assert len({round(x, 2) for x in found.x[:10]}) == 1


def test_branches_are_ordered_so_that_none_cross():
    # Two branches whose ends are listed the other way round.
    edges = [(0, 1), (0, 2), (2, 3), (1, 4), (3, 5), (4, 5)]
    found = layered(6, edges, WIDTH, GAP)
    assert (found.x[1] < found.x[2]) == (found.x[4] < found.x[3])


@settings(max_examples=30)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.floats(0, 30))
def test_spacing_is_the_nearest_there_is(wanted, gap):
    gaps, weights = [gap] * (len(wanted) - 1), [1.0 + i for i in range(len(wanted))]
    found = np.array(spaced(wanted, gaps, weights))
    assert (np.diff(found) >= gap - 1e-9).all()

    def cost(x):
        return float((np.array(weights) * (x - np.array(wanted)) ** 2).sum())

    limits = [
        {"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - gap} for i in range(len(gaps))
    ]
    other = minimize(cost, np.arange(len(wanted)) * (gap + 1.0), constraints=limits, method="SLSQP")
    assert cost(found) <= cost(other.x) + 1e-3


def test_parallel_branches_lie_in_lanes_one_below_the_other():
    # A fork into seven branches of two layers each, which join.
    edges = [(0, 1 + i) for i in range(7)] + [(1 + i, 8 + i) for i in range(7)]
    edges += [(8 + i, 15) for i in range(7)]
    found = layered(16, edges, WIDTH, GAP, most=4)
    assert [sum(point < 15 for point in rank) for rank in found.ranks] == [1, 3, 3, 3, 3, 1, 1, 0]
    for i in range(7):  # a branch is one piece, and straight
        assert found.rank[8 + i] == found.rank[1 + i] + 1
        assert found.x[8 + i] == pytest.approx(found.x[1 + i])
    assert found.x[4] == found.x[7] == pytest.approx(found.x[1])
    # What leads to the lower lanes is one line, beside the boxes of the upper ones.
    bends = {point for way in found.ways for point in way if point > 15}
    assert len(bends) == len({(found.rank[point], found.x[point]) for point in bends}) == 8
    assert found.width < 4 * (WIDTH + GAP) + 6 * GAP
