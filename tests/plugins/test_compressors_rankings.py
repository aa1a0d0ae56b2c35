"""Rankings against independent references, and what any order costs against least squares."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import qr

from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.ranking import build_ranking
from frivkit.errors import PluginError
from frivkit.graph.layout import NO_GROUP
from frivkit.runtime.labels import UNDEFINED
from frivkit.tasks.classify import SameLabels
from frivkit.units.elimination import RIDGE, Term, eliminate, eliminate_together, errors_along
from frivkit.units.masks import random_order
from frivkit_compressors import rankings
from frivkit_compressors.rankings import prunable

UNITS = 12
SHARES = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]


def rows(units: int, seed: int, count: int = 300) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, units)) @ generator.normal(size=(units, units))
    centred = mixed * generator.uniform(0.3, 3, size=units)
    return centred - centred.mean(axis=0)


def term(x: np.ndarray, groups: list[int], weights: np.ndarray | None = None, weight: float = 1.0):
    return Term(x.T @ x / len(x), weights, np.array(groups), weight)


def layer_group(
    *terms: Term, units: int = UNITS, written: np.ndarray | None = None, name: str = "fc"
):
    groups = np.arange(10, 10 + units)
    norms = np.zeros(units) if written is None else written
    return LayerGroup(("s",), (name,), groups, {"s": groups}, terms, norms, RIDGE)


def left_over(x: np.ndarray, made: np.ndarray, stays: np.ndarray, ridge: float) -> float:
    """Return least of squared error and penalty: ridge regression on rows, one more per unit."""
    floor = np.sqrt(ridge * (x**2).mean(axis=0).mean() * len(x))
    more = np.vstack([x, floor * np.eye(x.shape[1])])[:, stays]
    target = np.vstack([made, np.zeros((x.shape[1], made.shape[1]))])
    fitted = more @ np.linalg.lstsq(more, target, rcond=None)[0]
    return float(((fitted - target) ** 2).sum() / len(x))


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_errors_along_an_order_are_those_of_least_squares(seed, ridge):
    """Two readers, groups of several units, groups that one does not read, units that stay."""
    generator = np.random.default_rng(seed)
    consumer = generator.normal(size=(7, 4))
    groups = [[0, 1, 2, 2, NO_GROUP, 3, 1], [3, 0, NO_GROUP, 5, 3]]
    data, weights = [rows(7, seed), rows(5, seed + 9)], [0.5, 2.0]
    makes = [data[0] @ consumer, data[1]]
    terms = [term(data[0], groups[0], consumer, 0.5), term(data[1], groups[1], None, 2.0)]
    order = generator.permutation([0, 1, 2, 3, 5])
    expected = []
    for count in range(1, len(order) + 1):
        total = 0.0
        for x, made, of, weight in zip(data, makes, groups, weights, strict=True):
            stays = ~np.isin(of, order[:count])
            all_in = left_over(x, made, np.ones(len(of), bool), ridge)
            total += weight * (left_over(x, made, stays, ridge) - all_in)
        expected.append(total)
    found = errors_along(terms, order, ridge)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * max(expected))
    assert (np.diff(found) >= 0).all()


def test_groups_that_are_not_in_an_order_stay():
    x = rows(5, 0)
    short = errors_along([term(x, [0, 1, 2, 3, 4])], np.array([3, 1]))
    held = errors_along([term(x, [NO_GROUP, 1, NO_GROUP, 3, NO_GROUP])], np.array([3, 1]))
    np.testing.assert_allclose(short, held)
    longer = errors_along([term(x, [0, 1, 2, 3, 4])], np.array([3, 1, 0]))
    np.testing.assert_allclose(longer[:2], short)


def test_nothing_that_varies_costs_nothing():
    still = Term(np.zeros((3, 3)), None, np.arange(3))
    assert errors_along([still], np.array([2, 0, 1])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_errors_along_the_order_of_an_elimination_are_its_own(seed):
    x, y = rows(9, seed), rows(9, seed + 5)
    weights = np.random.default_rng(seed).normal(size=(9, 3))
    alone = eliminate(x.T @ x / len(x), weights, 1e-4)
    single = [term(x, list(range(9)), weights)]
    np.testing.assert_allclose(errors_along(single, alone.order, 1e-4), alone.errors, rtol=1e-6)
    two = [term(x, list(range(9)), weights, 0.3), term(y, list(range(9))[::-1])]
    done = eliminate_together(two, 1e-4)
    np.testing.assert_allclose(errors_along(two, done.order, 1e-4), done.errors, rtol=1e-6)


def test_backward_takes_the_cheapest_step_each_time():
    x, weights = rows(6, 2), np.random.default_rng(1).normal(size=(6, 3))
    given = layer_group(term(x, list(range(6)), weights), units=6)
    order, gone = rankings.backward(given, None).tolist(), []
    for unit in order:
        rest = [other for other in range(6) if other not in gone]
        cost = {
            other: errors_along(given.terms, np.array([*gone, other]), RIDGE)[-1] for other in rest
        }
        assert unit == min(cost, key=cost.get)
        gone.append(unit)


@pytest.mark.parametrize("seed", range(4))
def test_cholesky_keeps_what_pivoted_qr_picks(seed):
    x = rows(9, seed)
    picked = qr(x, pivoting=True, mode="r")[1]
    order = rankings.cholesky(layer_group(term(x, list(range(9))), units=9), None)
    assert order[::-1].tolist() == picked.tolist()


def test_cholesky_lets_copies_leave_before_all_else():
    x = rows(4, 0)
    x = np.hstack([x, 0.5 * x])  # each again, smaller
    order = rankings.cholesky(layer_group(term(x, list(range(8))), units=8), None)
    assert set(order[:4].tolist()) == {4, 5, 6, 7}


def test_variance_counts_each_reader_alike():
    x, y = rows(7, 0), 100 * rows(7, 1)
    order = rankings.variance(
        layer_group(term(x, list(range(7))), term(y, list(range(7)), None, 9.0), units=7), None
    )
    both = x.var(axis=0) / x.var(axis=0).sum() + y.var(axis=0) / y.var(axis=0).sum()
    assert order.tolist() == np.argsort(both).tolist()


def test_norm_puts_the_least_weights_first_and_equals_as_they_stand():
    weights = np.random.default_rng(0).normal(size=(5, 7))
    weights[:, 6] = -weights[:, 2]
    given = layer_group(units=7, written=(weights**2).sum(axis=0))
    expected = np.argsort(np.linalg.norm(weights, axis=0), kind="stable")
    assert rankings.norm(given, None).tolist() == expected.tolist()


def test_random_depends_on_seed_and_layer_alone():
    def order(seed: int, *more: Term, name: str = "fc", written: float = 0.0) -> list[int]:
        given = layer_group(*more, units=20, name=name, written=np.full(20, written))
        return rankings.random(given, SimpleNamespace(seed=seed)).tolist()

    assert order(1) == order(1, term(rows(20, 0), list(range(20))), written=3.0)
    assert sorted(order(1)) == list(range(20))
    assert order(1) != order(2)
    assert order(1) != order(1, name="conv")


@pytest.mark.parametrize("seed", range(20))
def test_prunable_is_the_order_of_most_levels_with_labels_unchanged(seed):
    """Each label bears the loss of some units, and none that of unit 0 or 2 without the other.

    Some labels are undefined from the start; these count as changed.
    """
    generator = np.random.default_rng(seed)
    needs = generator.random((10, 2, UNITS)) < 0.3
    bears = generator.integers(1, 6, size=(10, 2))
    baseline = generator.integers(0, 3, size=(10, 2))
    baseline[generator.random((10, 2)) < 0.1] = UNDEFINED

    def labels_without(gone: np.ndarray) -> np.ndarray:
        lost = needs[:, :, gone].sum(axis=2)
        found = np.where(
            lost > bears, np.where(lost > bears + 2, UNDEFINED, baseline + 5), baseline
        )
        return found + 7 if np.isin([0, 2], gone).sum() == 1 else found

    best, chosen = (-1, -1.0), None
    for repeat in range(3):
        order = random_order(seed, "fc", repeat, UNITS)
        kept = []
        for share in SHARES:
            labels = labels_without(order[: round(share * UNITS)])
            pairs = zip(labels.ravel(), baseline.ravel(), strict=True)
            kept.append(sum(a == b != UNDEFINED for a, b in pairs) / baseline.size)
        levels = 0
        while levels < len(kept) and kept[levels] >= 0.8:
            levels += 1
        if (levels, float(np.mean(kept))) > best:
            best, chosen = (levels, float(np.mean(kept))), order

    def unchanged(masks, selector):
        assert selector == "map"
        assert all(set(mask.keep) == {"s"} for mask in masks)
        labels = [labels_without(np.flatnonzero(~mask.keep["s"])) for mask in masks]
        shares = np.stack([SameLabels().agreement(baseline, each) for each in labels])
        return SimpleNamespace(shares=shares)

    study = SimpleNamespace(seed=seed, unchanged=unchanged, units=lambda name: name)
    assert prunable(layer_group(), study).tolist() == chosen.tolist()


def test_a_layer_of_one_unit_has_one_order():
    study = SimpleNamespace(
        seed=0,
        unchanged=lambda masks, _: SimpleNamespace(shares=np.ones((len(masks), 4))),
        units=lambda name: name,
    )
    assert prunable(layer_group(units=1), study).tolist() == [0]


@pytest.mark.parametrize("places", [[0, 2], [0, 2, 0], [0, 1, 3], [0, 1, 2, 2], [-1, 0, 1], []])
def test_an_order_that_does_not_give_each_once_is_refused(places):
    with pytest.raises(PluginError, match="of 3 units of fc; it must give each once"):
        build_ranking(layer_group(units=3), np.array(places, np.int64))


def test_what_nothing_reads_leaves_first_and_free():
    found = build_ranking(
        layer_group(term(rows(3, 0), [0, 2, NO_GROUP]), units=3), np.array([2, 0, 1])
    )
    assert found.order.tolist() == [11, 12, 10]
    assert found.errors[0] == 0
    assert found.errors[1] > 0
