"""Moments against numpy on the whole matrix: merging, order, shifts and precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frivkit.units.moments import Moments, merged

FINITE = st.floats(-1e3, 1e3, width=32)


def matrices(least=1):
    shapes = st.tuples(st.integers(least, 12), st.integers(1, 5))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=FINITE))


def same_bits(a, b):
    return a.count == b.count and all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for name in ("shift", "total", "gram")
    )


@given(matrices())
def test_moments_are_those_of_numpy(rows):
    found = Moments.of(rows)
    assert found.count == len(rows)
    assert found.units == rows.shape[1]
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-9)
    expected = np.cov(rows.T, ddof=0).reshape(found.units, found.units)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-7)
    np.testing.assert_allclose(found.variance, rows.var(axis=0), atol=1e-7)


@given(matrices(), st.data())
def test_any_grouping_of_rows_merges_to_the_whole(rows, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=4)) - {len(rows)})
    shifted = data.draw(st.booleans())  # all about one shift, or each part about its own mean
    shift = rows[0] if shifted else None
    found = merged(Moments.of(part, shift) for part in np.split(rows, cuts))
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-9)
    expected = np.cov(rows.T, ddof=0).reshape(found.units, found.units)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-7)


@given(matrices(least=4))
def test_merging_in_one_order_gives_the_same_bits(rows):
    parts = [Moments.of(part, rows[0]) for part in np.array_split(rows, 4)]
    assert same_bits(merged(parts), merged(list(parts)))
    left = merged([merged(parts[:2]), parts[2], parts[3]])
    assert same_bits(merged(parts), left)  # as a batch joins its group


@given(matrices(), st.floats(-100, 100))
def test_another_shift_changes_no_statistic(rows, step):
    found = Moments.of(rows)
    moved = found.about(found.shift + step)
    np.testing.assert_allclose(moved.mean, found.mean, atol=1e-9)
    np.testing.assert_allclose(moved.covariance, found.covariance, atol=1e-6)


@given(matrices())
def test_covariance_is_symmetric_to_the_bit_and_has_no_negative_variance(rows):
    covariance = Moments.of(rows, rows[0] + 1e3).covariance
    assert (covariance == covariance.T).all()
    assert (covariance.diagonal() >= 0).all()
    np.testing.assert_array_equal(Moments.of(rows).variance, Moments.of(rows).covariance.diagonal())


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 50))
def test_constant_unit_has_exactly_no_variance(value, rows):
    found = Moments.of(np.full((rows, 2), np.float32(value)))
    assert found.variance.tolist() == [0.0, 0.0]


def test_mean_costs_no_precision_when_the_shift_is_near_it():
    rows = np.random.default_rng(0).normal(size=(500, 3))
    far = Moments.of(rows + 1e6)
    np.testing.assert_allclose(far.covariance, Moments.of(rows).covariance, atol=1e-9)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e200])
def test_what_is_not_finite_is_told_and_stays_told(wrong):
    rows = np.ones((4, 2))
    assert Moments.of(rows).finite
    rows[1, 0] = wrong
    assert not Moments.of(rows, np.zeros(2)).finite
    assert not Moments.of(rows).finite
    assert not (Moments.of(np.ones((4, 2))) + Moments.of(rows)).finite
