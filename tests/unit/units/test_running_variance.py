"""Variances added batch by batch equal those of all rows at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.units.moments import Moments, RunningVariance


def running(rows, cuts=()):
    sums = RunningVariance()
    for part in np.split(rows, cuts):
        if len(part):
            shifted = sums.add(part)
            assert shifted == pytest.approx(part - sums.shift, nan_ok=True)
    return sums


@given(st.integers(0, 10**6), st.lists(st.integers(0, 50), max_size=4), st.floats(-1e6, 1e6))
def test_mean_and_variance_are_numpys(seed, cuts, offset):
    rows = np.random.default_rng(seed).normal(offset, 1.0, (50, 3))
    sums = running(rows, sorted(cuts))
    assert sums.count == 50
    assert sums.mean == pytest.approx(rows.mean(axis=0))
    assert sums.variance == pytest.approx(rows.var(axis=0), rel=1e-6)


def test_variance_is_that_of_the_moments():
    rows = np.random.default_rng(1).normal(5, 2, (40, 6)).astype(np.float32)
    assert running(rows, [7, 20]).variance == pytest.approx(Moments.of(rows).variance)


def test_a_unit_that_never_changes_has_no_variance_at_all():
    rows = np.full((9, 2), np.float32(0.1))
    rows[:, 1] = np.arange(9)
    variance = running(rows, [4]).variance
    assert variance[0] == 0
    assert variance[1] == pytest.approx(np.arange(9).var())


def test_what_is_not_finite_stays_so():
    with np.errstate(invalid="ignore"):
        variance = running(np.array([[np.nan, 1.0], [2.0, 3.0]])).variance
    assert np.isnan(variance[0])
    assert variance[1] == 1
