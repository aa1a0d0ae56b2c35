"""The paper's definitions against references that follow its text, in exact fractions."""

from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from frivkit.units.statistics import (
    CHANGED,
    FLOAT32_ROUNDING,
    KEPT,
    UNEXPLAINED,
    ablated_units,
    crossings,
    curve_level,
    explained_shares,
    rank_at,
    reference_dropped,
)

GRID = 40  # shares of labels are multiples of 1/40, of which 0.8 is one
SHARES = st.integers(0, GRID).map(lambda k: Fraction(k, GRID))
EIGENVALUES = st.lists(st.integers(0, 10**6), min_size=1, max_size=12).map(
    lambda values: sorted(values, reverse=True)
)
TOLERANCES = st.integers(1, 999).map(lambda k: Fraction(k, 1000))


def crossing_by_hand(levels, curve, threshold):
    """Return the level and the index before it, in exact fractions."""
    for r, ((x, high), (y, low)) in enumerate(pairwise(zip(levels, curve, strict=True))):
        if high >= threshold > low:
            return x + (high - threshold) / (high - low) * (y - x), r
    return levels[-1], -1


def rank_by_hand(eigenvalues, tolerance):
    return next(
        k
        for k in range(len(eigenvalues) + 1)
        if sum(eigenvalues[:k]) >= (1 - tolerance) * sum(eigenvalues)
    )


def dropped_by_hand(eigenvalues, tolerance):
    """Return the count of the published code: a loop from the smallest eigenvalue up."""
    smallest = sorted(eigenvalues)
    k, accumulated = 0, Fraction(0)
    while accumulated <= tolerance:
        accumulated += Fraction(smallest[k], sum(smallest))
        k += 1
    return k


def floats(values):
    return np.array([float(value) for value in values])


@given(st.data(), st.integers(2, 9), SHARES)
def test_crossings_are_those_of_exact_fractions(data, length, threshold):
    steps = data.draw(st.lists(st.integers(1, 8), min_size=length, max_size=length))
    levels = [Fraction(step, 8) for step in accumulate(steps)]
    curve = st.lists(SHARES, min_size=length, max_size=length)
    curves = data.draw(st.lists(curve, min_size=1, max_size=4))
    x, r = crossings(
        floats(levels), np.stack([floats(c) for c in curves], axis=1), float(threshold)
    )
    by_hand = [crossing_by_hand(levels, c, threshold) for c in curves]
    assert r.tolist() == [index for _, index in by_hand]
    assert x == pytest.approx(floats(level for level, _ in by_hand), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_a_curve_interpolated_at_its_crossing_is_at_the_threshold(shares, threshold):
    levels, curve = np.linspace(0, 1, len(shares)), np.array(shares)
    (x,), (r,) = crossings(levels, curve[:, None], threshold)
    if r < 0:
        assert x == 1
        fell = (curve[:-1] >= threshold) & (curve[1:] < threshold - 1e-12)
        assert not fell.any()
    else:
        assert levels[r] <= x <= levels[r + 1]
        assert np.interp(x, levels, curve) == pytest.approx(threshold, abs=1e-9)


@pytest.mark.parametrize(
    ("curve", "level", "before"),
    [
        ([1.0, 1.0, 0.9], 1.0, -1),  # never falls below
        ([0.5, 0.4, 0.1], 1.0, -1),  # begins below
        ([0.5, 0.9, 0.7], 0.75, 1),  # rises to the threshold first
        ([1.0, 0.8, 0.8], 1.0, -1),  # at the threshold is not below it
        ([1.0, 0.8 - 1e-13, 0.6], 0.5, 1),  # missed by rounding
        ([1.0, 0.6, 0.9], 0.25, 0),  # the first of the crossings
        ([0.9, np.nan, 0.0], np.nan, 0),
    ],
)
def test_cases_of_a_crossing(curve, level, before):
    x, r = crossings(np.array([0, 0.5, 1.0]), np.array(curve)[:, None], KEPT)
    assert r.tolist() == [before]
    assert x == pytest.approx([level], nan_ok=True)


def test_rounding_is_what_the_caller_allows():
    curve = np.array([[1.0], [0.8 - 1e-13], [0.6]])
    (x,), (r,) = crossings(np.array([0, 0.5, 1.0]), curve, KEPT, rounding=0.0)
    assert r == 0
    assert x == pytest.approx(0.5)


@given(EIGENVALUES, TOLERANCES)
def test_rank_is_that_of_exact_fractions(eigenvalues, tolerance):
    total = sum(eigenvalues)
    near = [Fraction(part, total or 1) - (1 - tolerance) for part in accumulate(eigenvalues)]
    assume(all(gap == 0 or abs(gap) > 1e-9 for gap in near))
    rank = rank_at(np.array(eigenvalues, float), float(tolerance), float(total))
    assert rank == rank_by_hand(eigenvalues, tolerance)


@given(EIGENVALUES, TOLERANCES)
def test_dropped_components_are_those_of_the_published_loop(eigenvalues, tolerance):
    total = sum(eigenvalues)
    assume(total > 0)
    near = [Fraction(part, total) - tolerance for part in accumulate(sorted(eigenvalues))]
    assume(all(abs(gap) > 1e-9 for gap in near))
    values = np.array(eigenvalues, float)
    assert reference_dropped(values, float(tolerance), total) == dropped_by_hand(
        eigenvalues, tolerance
    )


@given(EIGENVALUES, TOLERANCES)
def test_the_reference_drops_one_component_more_than_the_text_unless_at_the_tolerance(
    eigenvalues, tolerance
):
    total = sum(eigenvalues)
    assume(total > 0)
    near = [Fraction(part, total) - tolerance for part in accumulate(sorted(eigenvalues))]
    assume(all(abs(gap) > 1e-9 for gap in near))
    values = np.array(eigenvalues, float)
    rank = rank_at(values, float(tolerance), total)
    assert reference_dropped(values, float(tolerance), total) == len(values) - rank + 1


@pytest.mark.parametrize("true_rank", [1, 3, 6])
def test_rank_of_data_with_as_many_directions(true_rank):
    generator = np.random.default_rng(true_rank)
    rows = generator.normal(size=(200, true_rank)) @ generator.normal(size=(true_rank, 9))
    values = np.maximum(np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1], 0)
    assert rank_at(values, 1e-9, float(values.sum())) == true_rank


def test_without_variance_the_rank_is_0_and_the_reference_drops_one():
    nothing = np.zeros(4)
    assert rank_at(nothing, UNEXPLAINED, 0.0) == 0
    assert reference_dropped(nothing, UNEXPLAINED, 0.0) == 1
    assert explained_shares(nothing, 0.0).tolist() == [1, 1, 1, 1]


def test_a_leading_part_that_explains_too_little_has_no_rank():
    assert rank_at(np.array([5.0, 3.0]), 0.05, 10.0) is None
    assert rank_at(np.array([5.0, 4.6]), 0.05, 10.0) == 2


def test_a_sum_of_float32_may_miss_the_share_by_its_rounding():
    values = np.array([9.499995, 0.500005])
    assert rank_at(values, 0.05, 10.0) == 2
    assert rank_at(values, 0.05, 10.0, FLOAT32_ROUNDING) == 1


@given(st.integers(0, 60), st.integers(1, 200))
def test_ablated_units_are_the_nearest_or_those_that_fit(sixtieths, units):
    level = sixtieths / 60
    exact = level * units
    nearest = min(range(units + 1), key=lambda k: (abs(k - exact), -k))
    whole = max(k for k in range(units + 1) if k <= exact)
    assert ablated_units(level, units, "paper") == nearest
    assert ablated_units(level, units, "reference") == whole
    assert curve_level(level, units, "paper") == nearest / units
    assert curve_level(level, units, "reference") == level


def test_the_thresholds_of_the_paper():
    assert (CHANGED, KEPT, UNEXPLAINED) == (0.2, 0.8, 0.05)
