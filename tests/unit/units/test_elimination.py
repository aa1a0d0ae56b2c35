"""Backward elimination and stand-ins against exhaustive search and numpy's own least squares."""

from itertools import combinations

import numpy as np
import pytest

from frivkit.graph.layout import NO_GROUP
from frivkit.units.elimination import (
    PANEL,
    Term,
    eliminate,
    eliminate_together,
    largest_removable,
    reconstruct,
)
from tests.draws import generator

GENERATOR = generator(11)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let each test draw the same, whichever run before it."""
    GENERATOR.bit_generator.state = np.random.default_rng(11).bit_generator.state


def mixed(units: int, rank: int, rows: int = 200, noise: float = 0.1) -> np.ndarray:
    low = GENERATOR.normal(size=(rows, rank)) @ GENERATOR.normal(size=(rank, units))
    return low + noise * GENERATOR.normal(size=(rows, units)) + 5 * GENERATOR.normal(size=units)


def unexplained(rows: np.ndarray, keep: np.ndarray, outputs: np.ndarray) -> float:
    """Return the variance of outputs that a least-squares fit with an intercept leaves."""
    inputs = np.hstack([rows[:, keep], np.ones((len(rows), 1))])
    fit, *_ = np.linalg.lstsq(inputs, outputs, rcond=None)
    return float(((outputs - inputs @ fit) ** 2).sum() / len(rows))


def covariance(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows.T, bias=True)


@pytest.mark.parametrize("outputs", [None, 3])
def test_each_step_takes_the_unit_whose_loss_costs_least(outputs):
    rows = mixed(8, 4)
    consumers = None if outputs is None else GENERATOR.normal(size=(8, outputs))
    read = rows if consumers is None else rows @ consumers
    found = eliminate(covariance(rows), consumers, ridge=1e-12)
    assert sorted(found.order.tolist()) == list(range(8))
    left = np.ones(8, bool)
    for unit, error in zip(found.order, found.errors, strict=True):
        costs = {}
        for other in np.flatnonzero(left):
            left[other] = False
            costs[int(other)] = unexplained(rows, left, read)
            left[other] = True
        assert costs[int(unit)] == pytest.approx(min(costs.values()), rel=1e-6, abs=1e-9)
        assert error == pytest.approx(costs[int(unit)], rel=1e-6, abs=1e-9)
        left[unit] = False
    assert found.errors[-1] == pytest.approx(read.var(axis=0).sum(), rel=1e-6)


def test_units_that_others_make_leave_first_and_cost_nothing():
    base = GENERATOR.normal(size=(300, 3)) * [1, 2, 3]
    rows = np.hstack([base, base[:, :1], base @ [[1.0], [1], [0]], np.full((300, 1), 7.0)])
    found = eliminate(covariance(rows))
    assert 5 in found.order[:3]  # the constant
    assert found.errors[2] < 1e-4 * rows.var(axis=0).sum() < found.errors[3]
    keep = largest_removable(rows.mean(axis=0), covariance(rows), found, 0.0)
    assert keep.sum() == 3
    stands = reconstruct(rows.mean(axis=0), covariance(rows), keep)
    np.testing.assert_allclose(rows @ stands.matrix.T + stands.bias, rows, atol=1e-3)
    assert stands.bias[5] == pytest.approx(7)


def test_the_greedy_choice_is_near_the_best_subset():
    rows = mixed(9, 5, noise=0.5)
    found = eliminate(covariance(rows), ridge=1e-12)
    for size in (2, 4, 6):
        left = np.ones(9, bool)
        left[found.order[: 9 - size]] = False
        best = min(
            unexplained(rows, np.isin(np.arange(9), subset), rows)
            for subset in combinations(range(9), size)
        )
        assert best <= unexplained(rows, left, rows) * (1 + 1e-9) <= 1.5 * best


def test_wide_layers_lose_no_unit_that_is_needed():
    rows = mixed(400, 40, rows=3000, noise=0.0)
    rows[:, 1] = rows[:, 0]  # a pair, each of which is cheap and both of which are not
    rows[:, 0:2] += 100 * GENERATOR.normal(size=(3000, 1))
    found = eliminate(covariance(rows))
    keep = largest_removable(rows.mean(axis=0), covariance(rows), found, 0.0)
    assert keep.sum() == 41
    assert keep[:2].sum() >= 1


def test_stand_ins_are_those_of_least_squares():
    rows = mixed(10, 6)
    keep = np.arange(10) % 3 > 0
    stands = reconstruct(rows.mean(axis=0), covariance(rows), keep, ridge=1e-12)
    np.testing.assert_array_equal(stands.matrix[keep], np.eye(10)[keep])
    assert not stands.matrix[:, ~keep].any()
    assert stands.unexplained.sum() == pytest.approx(unexplained(rows, keep, rows), rel=1e-6)
    found = rows @ stands.matrix.T + stands.bias
    rest = ((rows - found) ** 2).mean(axis=0)
    np.testing.assert_allclose(stands.unexplained, rest, atol=1e-8 * rest.max())


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.05, 0.5])
def test_what_is_removed_stays_within_the_tolerance_and_one_more_would_not(tolerance):
    rows = mixed(12, 6, noise=0.3)
    moments = rows.mean(axis=0), covariance(rows)
    found = eliminate(moments[1])
    keep = largest_removable(*moments, found, tolerance)
    bound = (tolerance + 1e-6) * moments[1].trace()
    assert unexplained(rows, keep, rows) <= bound
    keep[found.order[np.count_nonzero(~keep)]] = False
    assert unexplained(rows, keep, rows) > bound


def test_a_layer_that_never_changes_can_lose_all_units():
    zero = np.zeros((4, 4))
    found = eliminate(zero)
    assert sorted(found.order.tolist()) == [0, 1, 2, 3]
    assert found.errors.tolist() == [0.0] * 4
    assert not largest_removable(np.ones(4), zero, found, 0.05).any()
    stands = reconstruct(np.ones(4), zero, np.zeros(4, bool))
    assert not stands.matrix.any()
    assert stands.bias.tolist() == [1.0] * 4


def removed_one_by_one(terms: list[Term], ridge: float) -> tuple[list[int], list[float]]:
    """Return order and errors, by a rank-one change of whole matrices for every unit."""
    inverses, fits, groups = [], [], []
    for term in terms:
        size = len(term.covariance)
        floor = ridge * term.covariance.trace() / size
        inverses.append(np.linalg.inv(term.covariance + floor * np.eye(size)))
        fits.append(inverses[-1] @ term.covariance @ term.consumer)
        groups.append(term.groups.copy())
    order, errors, left = [], [], set(np.concatenate(groups).tolist()) - {NO_GROUP}
    while left:
        costs = {
            group: sum(
                term.weight
                * ((fit[of == group] ** 2).sum(axis=1) / inverse.diagonal()[of == group]).sum()
                for term, inverse, fit, of in zip(terms, inverses, fits, groups, strict=True)
            )
            for group in left
        }
        group = min(costs, key=costs.__getitem__)
        order.append(group)
        errors.append(costs[group] + (errors[-1] if errors else 0.0))
        left.remove(group)
        for inverse, fit, of in zip(inverses, fits, groups, strict=True):
            for unit in np.flatnonzero(of == group):
                column = inverse[:, unit] / inverse[unit, unit]
                fit[...] -= np.outer(column, fit[unit])
                inverse[...] -= np.outer(column, inverse[unit])
                inverse[unit, unit] = 1.0
            of[of == group] = NO_GROUP
    return order, errors


def test_panels_remove_units_in_the_order_of_single_removals():
    units = 3 * PANEL
    pairs = np.arange(units) // 2
    pairs[-5:] = NO_GROUP
    terms = [
        Term(
            covariance(mixed(units, units // 3, rows=4 * units)),
            GENERATOR.normal(size=(units, outputs)),
            groups,
            weight,
        )
        for outputs, groups, weight in ((4, pairs, 1.0), (7, pairs[::-1].copy(), 0.3))
    ]
    found = eliminate_together(terms, 1e-4)
    order, errors = removed_one_by_one(terms, 1e-4)
    assert found.order.tolist() == order
    np.testing.assert_allclose(found.errors, errors, rtol=1e-8)
