"""Rankings against independent references, and what any order costs against least squares."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import qr

from frivkit.compression.bundles import Bundle
from frivkit.compression.ranking import ranked
from frivkit.elimination import Term, eliminate_together, errors_along
from frivkit.errors import PluginError
from frivkit.graph.marks import STAYS
from frivkit_lowrank import rankings
from frivkit_lowrank.prunable import CHANGED, LEVELS, ORDERS, prunable


def rows(units: int, count: int = 300, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, units)) @ generator.normal(size=(units, units))
    return mixed * generator.uniform(0.3, 3, size=units)


def bundle(*terms: Term, units: int, written: np.ndarray | None = None, name: str = "fc") -> Bundle:
    groups = np.arange(10, 10 + units)
    norms = np.zeros(units) if written is None else written
    return Bundle(("s",), (name,), groups, {"s": groups}, terms, norms, 1e-6)


def brute(terms: list[Term], order: np.ndarray, ridge: float) -> list[float]:
    """Give the errors by solving a ridge regression from scratch after each group."""
    found = []
    for count in range(1, len(order) + 1):
        total = 0.0
        for term in terms:
            stays = ~np.isin(term.groups, order[:count])
            regular = term.covariance + ridge * term.covariance.diagonal().mean() * np.eye(
                len(stays)
            )
            made = term.covariance @ (np.eye(len(stays)) if term.readers is None else term.readers)
            all_in = np.einsum("ij,ij->", made, np.linalg.solve(regular, made))
            inner = regular[np.ix_(stays, stays)]
            left = np.einsum("ij,ij->", made[stays], np.linalg.solve(inner, made[stays]))
            total += term.weight * (all_in - (left if stays.any() else 0.0))
        found.append(total)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_errors_along_an_order_are_those_of_least_squares(seed):
    generator = np.random.default_rng(seed)
    groups = [np.array([0, 1, 2, 2, STAYS, 3]), np.array([3, 0, STAYS, 1])]
    terms = [
        Term(np.cov(rows(6, seed=seed).T), generator.normal(size=(6, 4)), groups[0], 0.5),
        Term(np.cov(rows(4, seed=seed + 9).T), None, groups[1], 2.0),
    ]
    order = generator.permutation(4)
    expected = brute(terms, order, 1e-3)
    np.testing.assert_allclose(errors_along(terms, order, 1e-3), expected, rtol=1e-6)


def test_errors_along_the_order_of_an_elimination_are_its_own():
    term = Term(np.cov(rows(8).T), np.random.default_rng(1).normal(size=(8, 3)), np.arange(8))
    done = eliminate_together([term], 1e-4)
    np.testing.assert_allclose(errors_along([term], done.order, 1e-4), done.errors, rtol=1e-6)


def test_backward_is_no_worse_than_any_other_at_the_first_step():
    term = Term(np.cov(rows(8).T), np.random.default_rng(1).normal(size=(8, 3)), np.arange(8))
    first = rankings.backward(bundle(term, units=8), None)[:1]
    costs = [errors_along([term], np.array([unit]), 1e-6)[0] for unit in range(8)]
    assert first == np.argmin(costs)


def test_cholesky_keeps_what_pivoted_qr_picks():
    x = rows(9)
    x -= x.mean(axis=0)
    term = Term(np.cov(x.T, bias=True), None, np.arange(9))
    picked = qr(x, pivoting=True, mode="r")[1]
    assert rankings.cholesky(bundle(term, units=9), None)[::-1].tolist() == picked.tolist()


def test_variance_and_norm_put_the_smallest_first():
    x, written = rows(7), np.array([3.0, 1, 2, 7, 0, 5, 4])
    term = Term(np.cov(x.T), None, np.arange(7))
    given = bundle(term, units=7, written=written)
    assert rankings.variance(given, None).tolist() == np.argsort(x.var(axis=0)).tolist()
    assert rankings.norm(given, None).tolist() == np.argsort(written).tolist()


def test_random_depends_on_seed_and_layer_alone():
    def order(seed: int, name: str) -> list[int]:
        return rankings.random(bundle(units=20, name=name), SimpleNamespace(seed=seed)).tolist()

    assert order(1, "fc") == order(1, "fc")
    assert sorted(order(1, "fc")) == list(range(20))
    assert order(1, "fc") != order(2, "fc")
    assert order(1, "fc") != order(1, "conv")


def test_prunable_takes_the_order_that_labels_withstand_longest():
    """Labels change when more than five of the units 0 to 9 are gone."""
    examples, asked = 10, []

    def ablate(masks, selector):
        asked.append(len(masks))
        gone = [(~mask.keep["s"][:10]).sum() for mask in masks]
        return np.array([np.full((examples, 1), int(count > 5)) for count in gone], np.int32)

    study = SimpleNamespace(
        seed=0,
        labels=lambda: np.zeros((examples, 1), np.int32),
        ablate=ablate,
        units=lambda name: name,
    )
    given = bundle(units=30)
    best = prunable(given, study)
    assert sorted(best) == list(range(30))
    assert asked == [ORDERS * (LEVELS - 1)]
    counts = np.rint(np.linspace(0, 1, LEVELS)[1:] * 30).astype(int)

    def held(order: np.ndarray) -> int:
        same = [float((order[:count] < 10).sum() <= 5) for count in counts]
        return int(np.logical_and.accumulate(np.array(same) >= 1 - CHANGED).sum())

    from frivkit.masks import random_order

    orders = [random_order(0, "fc", repeat, 30) for repeat in range(ORDERS)]
    assert held(best) == max(map(held, orders))


def test_an_order_that_leaves_one_out_is_refused():
    with pytest.raises(PluginError, match="2 of 3 units of fc"):
        ranked(bundle(units=3), np.array([0, 2, 0]))


def test_what_nothing_reads_leaves_first_and_free():
    term = Term(np.eye(3), None, np.array([0, 2, STAYS]))
    found = ranked(bundle(term, units=3), np.array([2, 0, 1]))
    assert found.order.tolist() == [11, 12, 10]
    assert found.errors[0] == 0
