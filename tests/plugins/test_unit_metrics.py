"""Metrics of units against values worked out by hand, numpy, scipy and laws.

The networks' kernels are identities, so that the activations of the one layer are the data.
"""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr

from frivkit.errors import FrivkitError, ModelError, UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.units.moments import Moments
from frivkit_unit_metrics.correlation import absolute_correlation, per_unit
from frivkit_unit_metrics.dead import zero
from frivkit_unit_metrics.layers import varying
from tests.handmade import written

METRICS = ("correlation", "similarity", "selectivity", "dead-units")
BY_MOMENTS = ("correlation", "similarity", "dead-units")
PER_UNIT = {
    "correlation": ("value", "largest"),
    "similarity": ("count",),
    "selectivity": ("value", "favourite"),
    "dead-units": ("value", "mean", "sd"),
}


def dense(units: int, *, rectified: bool = True) -> onnx.ModelProto:
    out = np.column_stack([np.linspace(1, 2, units), np.linspace(2, 1, units)]).astype(np.float32)
    act = "Relu (a)" if rectified else "Tanh (a)"
    text = f"g (float[N, {units}] x) => (float[N, 2] y) {{ a = MatMul (x, wa) u = {act} "
    text += "y = MatMul (u, wb) }"
    return written(text, wa=np.eye(units, dtype=np.float32), wb=out)


def convolutional(units: int) -> onnx.ModelProto:
    text = f"g (float[N, {units}, 3, 3] x) => (float[N, 2] y) {{ a = Conv (x, wa) u = Relu (a) "
    text += "p = GlobalAveragePool (u) f = Flatten (p) y = MatMul (f, wb) }"
    kernel = np.eye(units, dtype=np.float32)[:, :, np.newaxis, np.newaxis]
    return written(text, wa=kernel, wb=(units, 2))


def two_layers() -> onnx.ModelProto:
    return written(
        """g (float[N, 3] x) => (float[N, 2] y) {
          a = MatMul (x, wa)
          u = Relu (a)
          b = MatMul (u, wb)
          v = Relu (b)
          y = MatMul (v, wc)
        }""",
        wa=np.eye(3, dtype=np.float32), wb=-np.eye(3, dtype=np.float32),
        wc=np.ones((3, 2), np.float32),
    )  # fmt: skip


def measured(
    folder: Path,
    model: onnx.ModelProto,
    x: NDArray[Any],
    y: Sequence[int] | NDArray[Any] | None = None,
    metrics: Sequence[str] = METRICS,
    *,
    request: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, list[Measurement]]:
    """Measure a model on ``x``; give the measurements of each metric."""
    onnx.save(model, folder / "n.onnx")
    labels = {} if y is None else {"y": np.asarray(y)}
    np.savez(folder / "d.npz", x=np.asarray(x, np.float32), **labels)
    requested = Request(folder / "n.onnx", data=f"npz:{folder / 'd.npz'}", **(request or {}))
    found = analyze(requested, metrics, **more).measurements
    json.dumps([m.detail for m in found], allow_nan=False)
    return {name: [m for m in found if m.metric == name] for name in metrics}


def layer(folder: Path, metric: str, x: NDArray[Any], **more: Any) -> Measurement:
    """Measure the one layer of a dense net whose activations are ``x``."""
    network, alone = measured(folder, dense(x.shape[1]), x, metrics=[metric], **more)[metric]
    assert (network.scope, alone.scope) == ("network", "layer")
    assert network.value == alone.value  # one layer is the whole network
    assert alone.units == "map"
    return alone


# Four examples of four units: a and b are uncorrelated, c is their product, d never changes.
A, B = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
BY_HAND = np.column_stack([A, B, A * B, np.full(4, 2.0)])
R = 0.125 / (0.5 * 0.1875**0.5)  # of c with a or b: covariance 1/8, variances 1/4 and 3/16


def test_correlation_by_hand(tmp_path: Path) -> None:
    found = layer(tmp_path, "correlation", BY_HAND)
    assert found.value == pytest.approx(2 * R / 3)
    assert found.detail["pairs"] == 3
    assert found.detail["constant_units"] == 1
    assert found.detail["dropped_by_the_code"] == 0
    histogram = np.array(found.detail["histogram"])
    assert len(histogram) == 50
    assert histogram[[0, int(R * 50)]].tolist() == [1, 2]
    assert histogram.sum() == 3
    quantiles = dict(zip(found.detail["quantile_levels"], found.detail["quantiles"], strict=True))
    assert quantiles[0.0] == pytest.approx(0, abs=1e-6)
    assert quantiles[0.5] == pytest.approx(R)


def test_similarity_by_hand(tmp_path: Path) -> None:
    found = layer(tmp_path, "similarity", BY_HAND)
    assert found.detail["per_unit"]["count"] == [1, 1, 2, 0]
    assert found.detail["count_mean"] == 1.0
    assert found.detail["count_sd"] == pytest.approx(0.5**0.5)
    assert found.value == pytest.approx(1 / 3)


def test_similarity_takes_another_threshold(tmp_path: Path) -> None:
    found = layer(tmp_path, "similarity", BY_HAND, options={"threshold": "0.6"})
    assert found.detail["per_unit"]["count"] == [0, 0, 0, 0]
    assert found.value == 0.0


@pytest.mark.parametrize("exact", ["false", "true"])
def test_copies_up_to_sign_and_scale_reach_even_the_threshold_one(
    tmp_path: Path, exact: str
) -> None:
    u = np.random.default_rng(0).uniform(1, 2, 300)
    x = np.column_stack([u, 3 * u, 7 - 3 * u])
    options = {"threshold": "1", "exact": exact}
    assert layer(tmp_path, "similarity", x, options=options).value == 1.0


@pytest.mark.parametrize("threshold", ["0", "1.1"])
def test_threshold_that_means_nothing_is_refused(tmp_path: Path, threshold: str) -> None:
    with pytest.raises(UsageError, match="threshold is"):
        layer(tmp_path, "similarity", BY_HAND, options={"threshold": threshold})


def test_dead_units_by_hand(tmp_path: Path) -> None:
    x = np.column_stack([A, -A - 1, 0 * A, np.full(4, 2.0)])  # the second dies in the ReLU
    found = layer(tmp_path, "dead-units", x)
    assert found.value == 0.5
    columns = found.detail["per_unit"]
    assert columns["value"] == [0, 1, 1, 0]
    assert columns["mean"] == [0.5, 0, 0, 2]
    assert columns["sd"] == [0.5, 0, 0, 0]
    assert (found.detail["zero_units"], found.detail["constant_units"]) == (2, 3)
    assert found.detail["constant_share"] == 0.75


def test_unit_that_fires_once_is_not_dead(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(1, 2, (2000, 3))
    x[:, 1] = 0
    x[1700, 1] = 1e-3
    assert layer(tmp_path, "dead-units", x).detail["constant_units"] == 0


CLASSES = [0, 1, 0, 1, 0, 1, 0, 1]
RESPONSES = np.array(
    [
        [3, 1, 3, 1, 2, 2, 2, 2],  # means 2.5 and 1.5; 3 and 1 in the first half, 2 and 2 later
        [0, 2, 0, 2, 0, 2, 0, 2],  # responds to class 1 alone
        [5, 5, 5, 5, 5, 5, 5, 5],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
).T


def test_selectivity_by_hand(tmp_path: Path) -> None:
    found = layer(tmp_path, "selectivity", RESPONSES, y=CLASSES)
    assert found.detail["per_unit"]["value"] == [0.25, 1.0, 0.0, None]
    assert found.detail["per_unit"]["favourite"] == [0, 1, 0, None]
    assert found.detail["undefined_units"] == 1
    assert found.value == pytest.approx(1.25 / 3)
    assert found.detail["low_share"] == pytest.approx(1 / 3)
    assert found.detail["first_half"] == pytest.approx(0.5)
    assert found.detail["second_half"] == pytest.approx(1 / 3)
    assert found.detail["generalisation"] == pytest.approx(0.25 / 3)
    assert found.detail["generalisation_units"] == 3


def test_favourites_are_the_datas_own_class_numbers(tmp_path: Path) -> None:
    found = layer(tmp_path, "selectivity", RESPONSES, y=[3 + 4 * c for c in CLASSES])
    assert found.detail["per_unit"]["favourite"] == [3, 7, 3, None]
    assert found.detail["classes"] == 2


def test_second_half_keeps_the_class_of_the_first(tmp_path: Path) -> None:
    unit = np.array([3, 1, 3, 1, 0, 2, 0, 2.0])  # from class 0 to class 1
    found = layer(tmp_path, "selectivity", unit[:, np.newaxis] + np.zeros(2), y=CLASSES)
    assert found.detail["first_half"] == pytest.approx(0.5)
    assert found.detail["second_half"] == pytest.approx(-1.0)
    assert found.detail["generalisation"] == pytest.approx(2.25)


def test_class_that_the_second_half_lacks_leaves_generalisation_undefined(tmp_path: Path) -> None:
    found = layer(tmp_path, "selectivity", RESPONSES[:, :2], y=[0] * 4 + [1] * 4)
    assert found.detail["generalisation"] is None
    assert found.detail["generalisation_units"] == 0
    assert found.value is not None


def test_negative_means_leave_selectivity_undefined(tmp_path: Path) -> None:
    x = np.array([[1.0, 2.0], [-1.0, 1.0], [1.0, 2.0], [-1.0, 1.0]])
    model = dense(2, rectified=False)
    found = measured(tmp_path, model, x, [0, 1, 0, 1], ["selectivity"])["selectivity"][1]
    assert found.detail["per_unit"]["value"][0] is None
    m, r = np.tanh([2.0, 1.0])
    assert found.value == pytest.approx((m - r) / (m + r), rel=1e-6)


def test_all_meters_meet_numpy_and_scipy_on_feature_maps(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    x = generator.gamma(1.0, size=(203, 5, 3, 3)).astype(np.float32)
    x[:, 1] = 0.7 * x[:, 0] + 0.3 * x[:, 2]
    x[:, 4] = 0
    y = generator.integers(0, 4, 203)
    x += y[:, np.newaxis, np.newaxis, np.newaxis] * np.array([0, 0, 0.3, 1, 0]).reshape(5, 1, 1)
    x = x.astype(np.float32)
    found = measured(tmp_path, convolutional(5), x, y)
    units = x.transpose(1, 0, 2, 3).reshape(5, -1).astype(np.float64)

    r = {
        pair: abs(pearsonr(units[pair[0]], units[pair[1]])[0]) for pair in combinations(range(4), 2)
    }
    correlation = found["correlation"][1]
    assert correlation.value == pytest.approx(np.mean(list(r.values())), abs=1e-5)
    assert correlation.detail["rows"] == 203 * 9
    counts = [sum(value >= 0.5 for pair, value in r.items() if unit in pair) for unit in range(5)]
    assert sum(counts) > 0
    assert found["similarity"][1].detail["per_unit"]["count"] == counts
    assert found["similarity"][1].value == pytest.approx(np.mean(counts) / 4)

    of_row = np.repeat(y, 9)
    by_numpy = []
    for unit in units[:4]:
        best = max(range(4), key=lambda c, unit=unit: unit[of_row == c].mean())
        m, rest = unit[of_row == best].mean(), unit[of_row != best].mean()
        by_numpy.append((m - rest) / (m + rest))
    selectivity = found["selectivity"][1]
    assert selectivity.detail["per_unit"]["value"][:4] == pytest.approx(by_numpy, rel=1e-5)
    assert selectivity.detail["per_unit"]["value"][4] is None
    assert selectivity.value == pytest.approx(np.mean(by_numpy), rel=1e-5)
    dead = found["dead-units"][1].detail["per_unit"]
    assert dead["value"] == [0, 0, 0, 0, 1]
    assert dead["mean"] == pytest.approx(units.mean(axis=1), rel=1e-5)
    assert dead["sd"] == pytest.approx(units.std(axis=1), rel=1e-5)
    everyone = np.abs(np.corrcoef(units[:4])) - np.eye(4)
    columns = correlation.detail["per_unit"]
    assert columns["value"][:4] == pytest.approx(everyone.sum(axis=1) / 3, abs=1e-5)
    assert columns["largest"][:4] == pytest.approx(everyone.max(axis=1), abs=1e-5)
    assert columns["most_like"] == [*everyone.argmax(axis=1), None]
    assert columns["value"][4] is columns["largest"][4] is None


SAMPLE = np.random.default_rng(2).gamma(1.0, size=(150, 6))
SAMPLE[:, 3] = 0
SAMPLE[:, 4] += SAMPLE[:, 0]
SAMPLE_CLASSES = np.random.default_rng(3).integers(0, 3, 150)
SAMPLE[:, 1] += SAMPLE_CLASSES


def test_order_of_examples_does_not_matter(tmp_path: Path) -> None:
    order = np.random.default_rng(4).permutation(150)
    before = measured(tmp_path, dense(6), SAMPLE, SAMPLE_CLASSES)
    after = measured(tmp_path, dense(6), SAMPLE[order], SAMPLE_CLASSES[order])
    for name in METRICS:
        assert after[name][1].value == pytest.approx(before[name][1].value, rel=1e-5)


def test_size_of_batches_does_not_matter(tmp_path: Path) -> None:
    before = measured(tmp_path, dense(6), SAMPLE, SAMPLE_CLASSES)
    model = dense(6)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7  # no divisor of a half
    after = measured(tmp_path, model, SAMPLE, SAMPLE_CLASSES)
    for name in METRICS:
        assert after[name][1].value == pytest.approx(before[name][1].value, rel=1e-5)
    halves = [m["selectivity"][1].detail["generalisation"] for m in (before, after)]
    assert halves[0] == pytest.approx(halves[1], rel=1e-5)


def test_permuting_units_permutes_what_is_said_of_each(tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(6)
    before = measured(tmp_path, dense(6), SAMPLE, SAMPLE_CLASSES)
    after = measured(tmp_path, dense(6), SAMPLE[:, order], SAMPLE_CLASSES)
    for name in METRICS:
        assert after[name][1].value == pytest.approx(before[name][1].value, rel=1e-5)
        for key in PER_UNIT[name]:
            was, now = (
                np.array(m[name][1].detail["per_unit"][key], float) for m in (before, after)
            )
            np.testing.assert_allclose(now, was[order], rtol=1e-5)  # null is NaN here
    assert order[np.argmax(after["dead-units"][1].detail["per_unit"]["value"])] == 3
    was, now = (m["correlation"][1].detail["per_unit"]["most_like"] for m in (before, after))
    assert [None if unit is None else order[unit] for unit in now] == [was[i] for i in order]


def test_duplicated_unit_is_one_more_pair_at_one_and_similar_to_its_twin(tmp_path: Path) -> None:
    before = measured(tmp_path, dense(6), SAMPLE, SAMPLE_CLASSES)
    twin = np.column_stack([SAMPLE, SAMPLE[:, 5]])
    after = measured(tmp_path, dense(7), twin, SAMPLE_CLASSES)
    correlation = after["correlation"][1].detail
    assert correlation["dropped_by_the_code"] == 1
    assert correlation["histogram"][-1] == before["correlation"][1].detail["histogram"][-1] + 1
    assert correlation["mean_by_the_code"] < after["correlation"][1].value
    counts = before["similarity"][1].detail["per_unit"]["count"]
    assert after["similarity"][1].detail["per_unit"]["count"] == [
        *counts[:5],
        counts[5] + 1,
        counts[5] + 1,
    ]
    selectivity = after["selectivity"][1].detail["per_unit"]["value"]
    assert selectivity == pytest.approx([*selectivity[:6], selectivity[5]])
    assert after["correlation"][1].detail["per_unit"]["most_like"][5:] == [6, 5]
    assert after["dead-units"][1].value == pytest.approx(1 / 7)


def test_constant_data_leave_pairs_undefined_and_units_unselective(tmp_path: Path) -> None:
    x = np.full((40, 3), 0.1)
    found = {name: rows[1] for name, rows in measured(tmp_path, dense(3), x, [0, 1] * 20).items()}
    assert found["correlation"].value is None
    assert found["correlation"].detail["pairs"] == 0
    assert found["correlation"].detail["quantiles"] == []
    assert found["similarity"].value is None
    assert found["similarity"].detail["count_mean"] == 0.0
    assert found["selectivity"].value == pytest.approx(0, abs=1e-9)
    assert found["dead-units"].value == 0.0
    assert found["dead-units"].detail["constant_share"] == 1.0


def test_network_value_is_the_mean_over_layers_that_have_one(tmp_path: Path) -> None:
    x = np.random.default_rng(6).uniform(0.1, 1, (50, 3))  # the second layer is dead
    found = measured(tmp_path, two_layers(), x, [0, 1] * 25)
    for name in ("correlation", "similarity", "selectivity"):
        network, first, second = found[name]
        assert second.value is None
        assert network.value == first.value
        assert network.detail == {"layers": [first.value, None], "undefined_layers": 1}
        assert second.detail["note"]
    network, first, second = found["dead-units"]
    assert [network.value, first.value, second.value] == [0.5, 0.0, 1.0]


def test_network_value_of_undefined_layers_is_undefined(tmp_path: Path) -> None:
    found = measured(tmp_path, dense(3), -np.ones((10, 3)), [0, 1] * 5)
    for name in ("correlation", "similarity", "selectivity"):
        assert found[name][0].value is None
        assert found[name][0].detail["note"] == "no layer has a value"
    assert found["dead-units"][0].value == 1.0


def test_network_value_is_left_out_when_some_layers_are_not_under_study(tmp_path: Path) -> None:
    x = np.random.default_rng(6).uniform(0.1, 1, (50, 3))
    request = {"layers": ("a",)}
    found = measured(tmp_path, two_layers(), x, [0, 1] * 25, request=request)
    for name in METRICS:
        assert [m.layer for m in found[name]] == ["a"]


def refusal(folder: Path, metric: str, x: NDArray[Any], **more: Any) -> str:
    with pytest.raises(FrivkitError) as caught:
        measured(folder, dense(x.shape[1]), x, metrics=[metric], **more)
    assert "\n" not in str(caught.value)
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize("metric", METRICS)
def test_one_example_is_refused(tmp_path: Path, metric: str) -> None:
    said = refusal(tmp_path, metric, np.ones((1, 3)), y=[0])
    assert said.startswith(f"DataError: {metric} compares ")


@pytest.mark.parametrize("metric", METRICS)
def test_infinite_activations_are_refused(tmp_path: Path, metric: str) -> None:
    x = np.ones((40, 2), np.float32)
    x[30] = 3e38
    model = dense(2)
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((2, 2), 9, np.float32), "wa")
    )
    with pytest.raises(ModelError, match=r"layer a gives activations that are not finite"):
        measured(tmp_path, model, x, [0, 1] * 20, [metric])


def test_selectivity_without_labels_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "selectivity", BY_HAND)
    assert said.startswith("DataError: selectivity compares classes and data npz:")
    assert "holds no labels" in said


def test_selectivity_of_one_class_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "selectivity", BY_HAND, y=[7] * 4)
    assert said.startswith("DataError: selectivity compares classes")
    assert "class 7 alone" in said


@pytest.mark.parametrize("low", ["0", "1.5"])
def test_low_that_means_nothing_is_refused(tmp_path: Path, low: str) -> None:
    with pytest.raises(UsageError, match="low is"):
        layer(tmp_path, "selectivity", RESPONSES, y=CLASSES, options={"low": low})


@pytest.mark.parametrize("metric", ["correlation", "similarity"])
def test_layers_too_wide_for_memory_are_refused(tmp_path: Path, metric: str) -> None:
    x = np.random.default_rng(0).uniform(size=(4, 64))
    said = refusal(tmp_path, metric, x, request={"execution": Execution(memory=2**16)})
    assert said.startswith("ModelError: layer a has 64 units")


@pytest.mark.parametrize(
    ("metric", "defined"), [("correlation", 5), ("selectivity", 5), ("dead-units", 6)]
)
def test_value_of_a_layer_is_the_mean_of_its_units_values(
    tmp_path: Path, metric: str, defined: int
) -> None:
    found = layer(tmp_path, metric, SAMPLE, y=SAMPLE_CLASSES)
    known = [value for value in found.detail["per_unit"]["value"] if value is not None]
    assert len(known) == defined
    assert found.value == pytest.approx(np.mean(known), rel=1e-12)


def test_unit_unlike_all_others_still_has_a_nearest_one() -> None:
    between = np.eye(3)
    assert per_unit(between, np.full(3, True)) == {
        "value": [0.0, 0.0, 0.0],
        "largest": [0.0, 0.0, 0.0],
        "most_like": [1, 0, 0],
    }


def test_selectivity_too_large_for_memory_is_refused_before_any_pass(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(40, 64))
    passes = Passes()
    execution = Execution(memory=2**17, progress=passes)
    more = {"y": np.arange(40), "request": {"execution": execution}}
    said = refusal(tmp_path, "selectivity", x, **more)
    assert said.startswith("ModelError: layer a has 64 units, whose sums over 40 classes take ")
    assert "--memory" in said
    assert "activations" not in passes.begun


def test_selectivity_in_little_memory_takes_more_passes_and_says_the_same(tmp_path: Path) -> None:
    x = np.random.default_rng(6).uniform(0.1, 1, (300, 3)) - 0.3
    y = np.arange(300) % 50
    ample, scarce = Passes(), Passes()
    before = measured(
        tmp_path,
        two_layers(),
        x,
        y,
        ["selectivity"],
        request={"execution": Execution(progress=ample)},
    )
    memory = 2 * 8 * 50 * 3 * 6  # holds what one layer of two takes
    request = {"execution": Execution(memory=memory, progress=scarce)}
    after = measured(tmp_path, two_layers(), x, y, ["selectivity"], request=request)
    assert (ample.begun.count("activations"), scarce.begun.count("activations")) == (1, 2)
    assert after == before


class Passes:
    """Counts the passes over the data by what they are for."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def start(self, what: str, steps: int) -> None:
        self.begun.append(what)

    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        pass


@pytest.mark.parametrize("exact", ["false", "true"])
def test_moments_are_summed_once_for_all_meters_without_a_cache(tmp_path: Path, exact: str) -> None:
    passes = Passes()
    metrics = [*BY_MOMENTS, "redundancy"]
    options = {"exact": exact}
    measured(
        tmp_path,
        dense(6),
        SAMPLE,
        None,
        metrics,
        options=options,
        request={"execution": Execution(progress=passes)},
    )
    assert passes.begun.count("moments") == 1
    assert passes.begun.count("activations") == 0


def test_unit_constant_in_double_precision_does_not_vary() -> None:
    rows = np.column_stack([np.full(1000, 0.1), np.arange(1000.0), np.zeros(1000)])
    about = np.float32(rows.mean(axis=0)).astype(np.float64)
    moments = Moments.of(rows, about)
    assert moments.gram[0, 0] > 0  # 0.1 is no float32
    assert varying(moments).tolist() == [False, True, False]
    assert zero(moments).tolist() == [False, False, True]


def test_correlation_survives_a_mean_far_above_the_spread() -> None:
    generator = np.random.default_rng(7)
    rows = 1e6 + generator.normal(size=(500, 3)) @ np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1.0]])
    found = absolute_correlation(Moments.of(rows))
    assert found == pytest.approx(np.abs(np.corrcoef(rows.T)), abs=1e-6)


def test_locations_are_units_on_demand(tmp_path: Path) -> None:
    x = np.random.default_rng(8).uniform(0.1, 1, (30, 2, 3, 3))
    found = measured(tmp_path, convolutional(2), x, [0, 1] * 15, request={"units": "location"})
    for name in METRICS:
        assert found[name][1].units == "location"
        assert found[name][1].detail["units"] == 18
        assert found[name][1].detail["rows"] == 30
    assert found["correlation"][1].detail["pairs"] == 18 * 17 // 2
    by_numpy = np.abs(np.corrcoef(x.reshape(30, 18).T))[np.triu_indices(18, 1)].mean()
    assert found["correlation"][1].value == pytest.approx(by_numpy, abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_a_wrong_metric_option_is_refused(tmp_path: Path, metric: str) -> None:
    said = refusal(tmp_path, metric, BY_HAND, y=[0, 1, 0, 1], options={"nothing": "1"})
    assert said.startswith("UsageError: ")


def test_dead_units_are_found_where_no_gram_matrix_fits(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    x[:, :5] = 0.0
    found = {
        memory: layer(tmp_path, "dead-units", x, request={"execution": Execution(memory=memory)})
        for memory in (1 << 20, 8 * 64**2)
    }
    (wide, narrow) = (each.detail for each in found.values())
    assert wide["zero_units"] == narrow["zero_units"] == 5
    np.testing.assert_allclose(wide["per_unit"]["sd"], narrow["per_unit"]["sd"], rtol=1e-5)
    np.testing.assert_allclose(wide["per_unit"]["mean"], narrow["per_unit"]["mean"], atol=1e-6)
    with pytest.raises(ModelError, match="second moments take"):
        layer(tmp_path, "correlation", x, request={"execution": Execution(memory=8 * 64**2)})
