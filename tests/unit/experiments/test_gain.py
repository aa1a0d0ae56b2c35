"""The gain: the published code's numbers from the published curves, and what must hold of any."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.errors import DataError, UsageError
from frivkit.experiments.gain import UNITS, WidthCurve, gain, gain_as_measured
from tests.papercurves import PANELS, TARGETS, WIDTHS, grown, shares

PLOTS = TARGETS["plots"]
NAN = math.nan
# The least and the largest gain printed in each plot of the published notebooks: prunable,
# redundant, not prunable, not redundant.  NaN where none is printed.
PRINTED = {
    "imagenet": ((3.15, 3.86), (1.79, 2.20), (1.76, 1.87), (1.93, 2.07)),
    "imagenet_bs": ((2.31, 3.1455), (2.20, NAN), (1.87, NAN), (1.90, NAN)),
    "resnet18_layer": ((3.06, 4.08), (1.92, 2.37), (1.77, 1.93), (1.40, 2.02)),
    "inception_layerwise": ((3.41, 3.90), (1.77, 1.98), (1.18, 1.89), (2.01, 2.07)),
    "inceptionlayer_layerwise": ((1.01, 3.61), (0.99, 1.79), (0.96, 1.84), (1.00, 2.07)),
    "cifar_rand": ((1.97, 2.69), (2.21, 2.59), (1.86, 2.00), (1.63, 1.77)),
    "cifar_reg": ((2.70, 2.93), (2.17, 2.39), (1.83, 1.86), (1.64, 1.78)),
    "cifar_init": ((2.2908, 2.8102), (2.25, 2.42), (1.85, 1.98), (1.60, 1.71)),
    "cifar_init_unif": ((2.3571, 2.8099), (2.20, 2.43), (1.87, 1.97), (1.61, 1.70)),
    "cifar_init_conv2": ((2.1105, 2.6842), (2.08, 3.53), (1.59, 1.99), (0.89, 1.75)),
    "cifar_k": ((2.59, 2.96), (2.37, 2.55), (1.83, 1.93), (1.57, 1.82)),
    "resnet56_layer": ((2.48, 3.20), (2.39, 2.62), (1.47, 1.91), (1.36, 1.88)),
    "mlp_summary": ((2.03, 2.14), (2.08, 2.45), (1.76, 2.03), (1.05, 1.87)),
    "mlp10_init": ((2.01, 2.14), (2.09, 2.26), (1.76, 1.99), (1.05, 1.37)),
    "mlp10_opt": ((1.99, 2.07), (2.12, 2.20), (1.73, 2.26), (1.11, 1.32)),
    "mlp10_ndata": ((2.01, 2.19), (2.12, 2.19), (1.59, 2.08), (1.05, 1.32)),
    "mlp10k_init": ((2.03, 2.07), (2.08, 3.23), (2.01, 2.76), (1.79, 1.91)),
    "mlp10k_opt": ((1.92, 2.02), (1.96, 2.65), (1.89, 2.43), (1.77, 2.06)),
    "mlp10k_ndata": ((1.92, 2.03), (1.80, 2.65), (NAN, 2.43), (1.89, 2.11)),
}
# Curves that were read from behind a legend, another curve or in a light colour.
HARD_TO_READ = {
    ("resnet18_layer", "prunable"): 0.23,
    ("mlp_summary", "not prunable"): 0.11,
    ("mlp10_init", "not prunable"): 0.13,
    ("cifar_k", "redundant"): 0.12,
    ("cifar_k", "not redundant"): 0.05,
    ("mlp10_opt", "not redundant"): 0.06,
    ("mlp10k_ndata", "redundant"): 0.05,
    ("cifar_init_conv2", "not redundant"): 0.09,
}


def curves(plot: str) -> list[WidthCurve]:
    return [
        WidthCurve(
            PANELS[plot.partition("/")[0]],
            series,
            WIDTHS,
            tuple(shares(plot, i)),
            fixed=not grown(plot, i),
        )
        for i, series in enumerate(PLOTS[plot]["labels"])
    ]


@pytest.mark.parametrize("plot", PLOTS)
def test_published_curves_give_the_gains_recomputed_from_them(plot):
    found = curves(plot)
    wanted = PLOTS[plot]
    reference = [gain(curve, "reference").value for curve in found]
    np.testing.assert_allclose(reference, wanted["g"], rtol=1e-3)
    np.testing.assert_allclose([gain(curve).value for curve in found], wanted["g4"], rtol=1e-3)


@pytest.mark.parametrize("panel", UNITS)
@pytest.mark.parametrize("plot", PRINTED)
def test_published_curves_give_the_gains_that_the_plot_prints(plot, panel):
    kind = "prun" if panel.endswith("prunable") else "red"
    found = curves(f"{kind}/{plot}")
    if panel.startswith("not"):
        found = [curve.complement() for curve in found]
    assert {curve.panel for curve in found} == {panel}
    values = [gain(curve, "reference").value for curve in found]
    near = HARD_TO_READ.get((plot, panel), 0.035)
    printed = PRINTED[plot][UNITS.index(panel)]
    for value, wanted in zip((np.nanmin(values), np.nanmax(values)), printed, strict=True):
        assert math.isnan(wanted) or value == pytest.approx(wanted, abs=near)


def test_every_published_plot_has_its_printed_gains():
    assert {plot.partition("/")[2] for plot in PLOTS} == set(PRINTED)


def slowly(curve: WidthCurve, protocol: str) -> float:
    """Return the gain by the book: units counted one width after the other."""
    counts = [w * sum(v) / len(v) if v else None for w, v in zip(curve.widths, curve.values)]  # noqa: B905
    if protocol == "reference" and "redundant" in curve.panel:
        while counts and counts[0] is None:
            counts.pop(0)
        counts = counts[1:]
    ratios = [b / a for a, b in pairwise(counts) if a is not None and b is not None]
    return sum(ratios) / len(ratios) if ratios else NAN


trial = st.floats(0.01, 1)
points = st.lists(st.lists(trial, max_size=4).map(tuple), min_size=5, max_size=5).map(tuple)


@given(points, st.sampled_from(UNITS), st.sampled_from(("paper", "reference")))
def test_gain_is_what_counting_units_gives(values, panel, protocol):
    curve = WidthCurve(panel, "any", WIDTHS, values)
    found = gain(curve, protocol)
    assert found.value == pytest.approx(slowly(curve, protocol), rel=1e-9, nan_ok=True)
    if found.interval:
        assert 0 <= found.interval[0] <= found.interval[1]


@given(points, st.floats(0.1, 1))
def test_gain_does_not_depend_on_the_scale_of_the_shares_or_the_widths(values, scale):
    curve = WidthCurve("prunable", "any", WIDTHS, values)
    scaled = tuple(tuple(scale * value for value in trials) for trials in values)
    widths = tuple(16 * width for width in WIDTHS)
    wanted = gain(curve).value
    found = gain(WidthCurve("prunable", "any", widths, scaled)).value
    assert found == pytest.approx(wanted, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("protocol", ["paper", "reference"])
@pytest.mark.parametrize("panel", UNITS)
def test_constant_share_has_gain_two_and_a_fixed_number_gain_one(panel, protocol):
    values = ((0.3, 0.3),) * 5
    growing = gain(WidthCurve(panel, "any", WIDTHS, values), protocol)
    assert growing.value == 2
    assert growing.interval is None  # trials that are all alike do not say how others differ
    assert gain(WidthCurve(panel, "any", WIDTHS, values, fixed=True), protocol).value == 1


def test_only_widths_a_factor_of_two_apart_count():
    curve = WidthCurve("prunable", "any", (1, 2, 3, 6), ((0.1,), (0.2,), (0.9,), (0.45,)))
    assert gain(curve).factors == (4, 1)
    assert math.isnan(gain(WidthCurve("prunable", "any", (1, 3), ((0.1,), (0.2,)))).value)


@pytest.mark.parametrize("panel", UNITS)
def test_widths_of_other_curves_of_a_panel_do_not_change_a_gain(panel):
    own = WidthCurve(panel, "any", (0.5, 1, 2), ((0.2,), (0.3,), (0.3,)))
    beside_wider = WidthCurve(panel, "any", (0.25, 0.5, 1, 2), ((), *own.values))
    dropped = 1 if panel.endswith("redundant") else 0
    for protocol, first in (("paper", 0), ("reference", dropped)):
        wanted = pytest.approx(gain(own, protocol).value)
        assert gain(beside_wider, protocol).value == wanted
        assert wanted == np.mean((3, 2)[first:])


class TestInterval:
    def test_single_trial_has_none(self):
        assert gain(WidthCurve("prunable", "any", (1, 2), ((0.2,), (0.3, 0.4)))).interval is None

    def test_width_that_does_not_count_needs_no_second_trial(self):
        curve = WidthCurve("prunable", "any", (1, 2, 7), ((0.2, 0.3), (0.3, 0.4), (0.5,)))
        assert gain(curve).interval is not None

    def test_same_seed_gives_the_same_ends_and_another_does_not(self):
        generator = np.random.default_rng(3)
        values = tuple(tuple(generator.uniform(0.1, 0.9, 5).tolist()) for _ in WIDTHS)
        curve = WidthCurve("prunable", "any", WIDTHS, values)
        assert gain(curve, seed=1) == gain(curve, seed=1)
        assert gain(curve, seed=1).interval != gain(curve, seed=2).interval

    @pytest.mark.parametrize(("trials", "least"), [(3, 0.87), (8, 0.91)])
    def test_true_gain_is_inside_about_as_often_as_it_says(self, trials, least):
        generator = np.random.default_rng(trials)
        truth = np.array([0.3, 0.36, 0.44, 0.52, 0.6])
        wanted = float(np.mean(2 * truth[1:] / truth[:-1]))
        inside = 0
        for _ in range(400):
            drawn = truth[:, None] * (1 + 0.05 * generator.standard_normal((5, trials)))
            curve = WidthCurve("redundant", "any", WIDTHS, tuple(map(tuple, drawn.tolist())))
            low, high = gain(curve).interval
            inside += low <= wanted <= high
        assert least <= inside / 400 < 1

    def test_units_from_none_at_all_leave_it_open_above(self):
        curve = WidthCurve("prunable", "any", (1, 2), ((0, 0, 0.3), (0.5, 0.5, 0.5)))
        low, high = gain(curve).interval
        assert low > 2
        assert high == math.inf


def test_units_that_come_from_none_have_an_infinite_gain_and_none_at_all_no_gain():
    assert gain(WidthCurve("prunable", "any", (1, 2), ((0.0,), (0.1,)))).value == math.inf
    none = gain(WidthCurve("prunable", "any", (1, 2, 4), ((0.0,), (0.0,), (0.0,))))
    assert math.isnan(none.value)
    assert none.interval is None


def test_curve_tells_means_deviations_and_sizes():
    curve = WidthCurve("prunable", "any", (1, 2), ((0.1, 0.3), ()))
    assert curve.means == (pytest.approx(0.2), pytest.approx(NAN, nan_ok=True))
    assert curve.deviations == (pytest.approx(0.1), pytest.approx(NAN, nan_ok=True))
    assert curve.sizes == (1, 2)
    assert WidthCurve("prunable", "any", (1, 2), ((), ()), fixed=True).sizes == (1, 1)


@pytest.mark.parametrize(
    ("widths", "values", "words"),
    [
        ((1, 2), ((0.1,),), "2 widths and values at 1"),
        ((2, 1), ((0.1,), (0.2,)), "give each once, in order"),
        ((1, 1), ((0.1,), (0.2,)), "give each once, in order"),
        ((-1,), ((0.1,),), "give each once, in order"),
        ((1,), ((1.1,),), "holds the value 1.1; a value is a number from 0 to 1"),
        ((1,), ((NAN,),), "holds the value nan"),
    ],
)
def test_curve_that_cannot_be_is_refused(widths, values, words):
    with pytest.raises(DataError, match=words):
        WidthCurve("prunable", "any", widths, values)


def test_what_counts_no_units_has_no_gain_and_no_complement():
    accuracy = WidthCurve("test accuracy", "any", (1, 2), ((0.5,), (0.6,)))
    with pytest.raises(UsageError, match="'test accuracy' counts no units"):
        gain(accuracy)
    with pytest.raises(UsageError, match="no complement"):
        accuracy.complement()
    with pytest.raises(UsageError, match="no protocol is named 'both'"):
        gain(WidthCurve("prunable", "any", (1, 2), ((0.5,), (0.6,))), "both")


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    st.floats(0.3, 8),
)
def test_measured_gain_is_the_gain_where_steps_are_doublings(shares, first):
    widths = tuple(first * 2**i for i in range(len(shares)))
    curve = WidthCurve("redundant", "a", widths, tuple((share,) for share in shares))
    measured = gain_as_measured(curve, [(share, share) for share in shares])
    assert measured.value == pytest.approx(gain(curve).value)
    assert measured.factors == pytest.approx(gain(curve).factors)
    assert measured.interval is None


@given(st.lists(st.floats(0.1, 3), min_size=1, max_size=6), st.floats(0.5, 3))
def test_measured_gain_of_a_power_law_is_its_factor_at_any_widths(octaves, exponent):
    widths = tuple(float(w) for w in 2 ** np.cumsum([0, *octaves]))
    shares = [0.9 * (w / widths[-1]) ** (exponent - 1) for w in widths]
    top = max(shares)
    curve = WidthCurve("prunable", "a", widths, tuple((0.9 * s / top,) for s in shares))
    assert gain_as_measured(curve, [None] * len(widths)).value == pytest.approx(2**exponent)


def test_measured_gain_has_the_interval_of_its_ratio():
    """The ratio of two independent normal values, each known to 5 %: 95 % lie within about 7 %."""
    curve = WidthCurve("redundant", "a", (1, 2), ((0.5,), (0.5,)))
    found = gain_as_measured(curve, [(0.475, 0.525)] * 2)
    low, high = found.interval
    assert low == pytest.approx(2 - 0.14, abs=0.02)
    assert high == pytest.approx(2 + 0.145, abs=0.02)
    assert gain_as_measured(curve, [(0.475, 0.525), None]).interval is None


def test_measured_gain_takes_trials_where_there_are_some():
    curve = WidthCurve("redundant", "a", (1, 2), ((0.4, 0.5, 0.45), (0.6, 0.7, 0.62)))
    assert gain_as_measured(curve, [None, None]).interval == gain(curve).interval


def test_equal_trials_are_known_no_better_than_each_was_measured():
    once, twice = (WidthCurve("redundant", "a", (1, 2), ((0.5,) * n, (0.6,) * n)) for n in (1, 2))
    known = [(0.45, 0.55), (0.56, 0.64)]
    assert gain_as_measured(twice, [None, None]).interval is None
    found = gain_as_measured(twice, known).interval
    assert found == pytest.approx(gain_as_measured(once, known).interval)
    apart = WidthCurve("redundant", "a", (1, 2), ((0.3, 0.7), (0.4, 0.8)))
    low, high = gain(apart).interval
    assert gain_as_measured(apart, known).interval == (low, high)
    assert low < found[0] < found[1] < high


def test_measured_gain_leaves_out_widths_that_are_near_each_other():
    """Between widths 3 and 4 an error of a share would count two and a half times."""
    shares = ((0.2,), (0.3,), (0.9,), (0.4,))
    found = gain_as_measured(WidthCurve("redundant", "a", (1, 2, 3, 4), shares), [None] * 4)
    assert found.factors == pytest.approx((3, 8 / 3))
    near = WidthCurve("redundant", "a", (1, 1.1, 1.2), ((0.2,), (0.3,), (0.24,)))
    found = gain_as_measured(near, [None] * 3)
    assert found.value == pytest.approx((1.2 * 0.24 / 0.2) ** (1 / math.log2(1.2)))
