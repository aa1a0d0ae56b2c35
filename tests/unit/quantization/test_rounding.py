"""Rounding of weights and ranges of activations, against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.quantization.ranges import BINS, LEVELS, Histogram
from frivkit.quantization.rounding import round_weights


def changes(weights, steps, whole, gram):
    """Return the squared change of each output, summed over the inputs of the moments."""
    difference = whole * steps[:, None] - weights
    return np.einsum("on,nm,om->o", difference, gram, difference)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 200), st.sampled_from([7, 127])
)
def test_no_output_is_worse_than_with_the_nearest_numbers(seed, columns, rows, limit):
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((columns, columns))
    x = generator.standard_normal((rows, columns)) @ mixed
    weights = generator.standard_normal((5, columns))
    steps = np.abs(weights).max(axis=1) / limit
    whole = round_weights(weights, steps, x.T @ x, limit)
    nearest = np.rint(weights / steps[:, None])
    assert np.abs(whole).max() <= limit
    assert (whole == np.rint(whole)).all()
    found, before = (changes(weights, steps, each, x.T @ x) for each in (whole, nearest))
    assert (found <= before * (1 + 1e-9) + 1e-12).all()


def test_rounding_is_nearly_the_best_of_all():
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(30):
        x = generator.standard_normal((40, 6)) @ generator.standard_normal((6, 6))
        weights, steps = generator.standard_normal((1, 6)), np.array([0.5])
        gram = x.T @ x
        near = np.floor(weights / steps) + list(itertools.product([-1, 0, 1, 2], repeat=6))
        apart = near * steps - weights
        best = np.einsum("an,nm,am->a", apart, gram, apart, optimize=True).min()
        nearest = changes(weights, steps, np.rint(weights / steps[:, None]), gram)[0]
        found = changes(weights, steps, round_weights(weights, steps, gram, 127), gram)[0]
        shares.append((best / nearest, found / nearest))
    best, found = np.mean(shares, axis=0)
    assert best < 0.6  # there is something to gain
    assert found < (1 + 2 * best) / 3  # and a good part of it is gained


def test_inputs_that_are_always_zero_leave_the_nearest_numbers():
    weights = np.array([[0.4, 0.6, -3.0]])
    assert round_weights(weights, np.ones(1), np.zeros((3, 3)), 2).tolist() == [[0, 1, -2]]
    gram = np.diag([1.0, 0.0, 1.0])
    assert round_weights(weights, np.ones(1), gram, 127).tolist() == [[0, 1, -3]]


NUMBERS = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.integers(1, 60))
def test_histograms_do_not_depend_on_batches(numbers, size):
    array = np.array(numbers, np.float32)
    whole, parts = Histogram(), Histogram()
    whole.add(array)
    for start in range(0, len(array), size):
        parts.add(array[start : start + size])
    assert parts.counts.tolist() == whole.counts.tolist()
    assert (parts.low, parts.high, parts.limit) == (whole.low, whole.high, whole.limit)
    assert whole.counts.sum() == len(array)
    assert whole.range("minmax") == (min(0.0, array.min()), max(0.0, array.max()))
    width = 2 * whole.limit / BINS
    for value in array[np.abs(array) > 0]:
        place = int(np.floor(value / width)) + BINS // 2
        assert whole.counts[place] > 0


def squared_error(x, low, high):
    step = (high - low) / (LEVELS - 1)
    return np.square(np.rint(np.clip(x, low, high) / step) * step - x).sum()


@pytest.mark.parametrize("drawn", ["normal", "laplace", "relu", "outlier"])
def test_ranges_of_the_least_squared_error_have_less_of_it(drawn):
    generator = np.random.default_rng(0)
    x = generator.laplace(size=20000) if drawn == "laplace" else generator.standard_normal(20000)
    x = np.maximum(x, 0) if drawn == "relu" else x
    if drawn == "outlier":
        x[0] = 40
    histogram = Histogram()
    histogram.add(x.astype(np.float32))
    errors = {
        method: squared_error(x, *histogram.range(method))
        for method in ("minmax", "percentile", "mse")
    }
    assert errors["mse"] <= 1.01 * min(errors.values())
    if drawn == "relu":
        assert histogram.range("mse")[0] == 0
    low, high = histogram.range("percentile")
    assert 0.9998 < ((x >= low) & (x <= high)).mean() <= 1
    if drawn == "outlier":
        assert high < 6


def test_numbers_that_are_not_finite_have_no_range():
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(np.array([1, np.nan], np.float32))
    zero = Histogram()
    zero.add(np.zeros((2, 3), np.float32))
    zero.add(np.empty((0, 3), np.float32))
    assert [zero.range(method) for method in ("minmax", "percentile", "mse")] == [(0, 0)] * 3
