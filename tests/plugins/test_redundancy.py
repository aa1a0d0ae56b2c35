"""Redundancy against layers worked out by hand, scikit-learn's PCA and numpy's SVD."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy import stats
from sklearn.decomposition import PCA

from frivkit.cache import Cache
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis, Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.units.moments import Moments
from frivkit_redundancy.jackknife import interval
from frivkit_redundancy.spectrum import Spectrum
from frivkit_redundancy.wide import wide_spectrum
from tests.draws import generator
from tests.handmade import written
from tests.nets import conv, exported, head

SEED = generator(5)


def net(path: Path, hidden: NDArray, bias: NDArray | None = None) -> Path:
    """Write ``relu(x @ hidden + bias) @ output``, with positive output weights."""
    inputs, units = hidden.shape
    bias = np.zeros(units) if bias is None else bias
    proto = written(
        f"""g (float[N, {inputs}] x) => (float[N, 2] y) {{
          s = MatMul (x, w)
          b = Add (s, c)
          u = Relu (b)
          y = MatMul (u, v)
        }}""",
        w=hidden.astype(np.float32),
        c=bias.astype(np.float32),
        v=np.abs(np.random.default_rng(0).normal(size=(units, 2))).astype(np.float32),
    )
    onnx.save(proto, path)
    return path


def analysed(
    model: Path, x: NDArray, *, cache: Cache | None = None, request: dict | None = None, **options
) -> Analysis:
    data = model.with_suffix(".npz")
    np.savez(data, x=np.asarray(x, dtype=np.float32))
    given = {key: str(value) for key, value in options.items()}
    rest = dict(request or {})
    execution = Execution(threads=1, memory=rest.pop("memory", 2 << 30))
    full = Request(model, data=f"npz:{data}", execution=execution, **rest)
    return analyze(full, ["redundancy"], given, cache=cache)


def layer(model: Path, x: NDArray, **more) -> Measurement:
    """Measure the one layer of a net, whose value is also the network's."""
    network, found = analysed(model, x, **more).measurements
    assert (network.scope, found.scope) == ("network", "layer")
    assert network.value == found.value
    return found


def positive(rows: int, units: int, seed: int = 0) -> NDArray:
    return np.random.default_rng(seed).uniform(0.5, 4.5, size=(rows, units))


# The paper's constructions: a unit u, and beside it u again or an independent v.
def test_repeated_unit_is_redundant_and_an_independent_one_is_not(tmp_path: Path) -> None:
    x = positive(64, 2)
    same = layer(net(tmp_path / "s.onnx", np.array([[1.0, 1.0], [0.0, 0.0]])), x)
    other = layer(net(tmp_path / "o.onnx", np.eye(2)), x)
    assert (same.value, same.detail["rank"]) == (0.5, 1)
    assert (other.value, other.detail["rank"]) == (0.0, 2)
    assert same.detail["explained"] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("exact", [False, True])
def test_units_of_one_direction_need_one_component(tmp_path: Path, exact: bool) -> None:
    found = layer(net(tmp_path / "n.onnx", np.outer([1, 2, 1], positive(1, 8)[0])),
                  positive(50, 3), exact=exact)  # fmt: skip
    assert found.value == 1 - 1 / 8
    assert found.detail["rank"] == 1


def test_orthogonal_units_are_dropped_up_to_the_tolerance(tmp_path: Path) -> None:
    x = np.vstack([np.eye(20), np.zeros((20, 20))])  # equal variances and covariances
    model = net(tmp_path / "n.onnx", np.eye(20))
    values = np.linalg.eigvalsh(np.cov(x.T, ddof=0))[::-1]
    by_hand = int((np.cumsum(values) / values.sum() >= 0.95).argmax()) + 1
    assert layer(model, x).value == pytest.approx(1 - by_hand / 20)
    signs = np.array([[a, b, c] for a in (1, 3) for b in (1, 3) for c in (1, 3)])
    three = net(tmp_path / "t.onnx", np.eye(3))  # uncorrelated, with variance 1 each
    ranks = [layer(three, signs, tolerance=t).detail["rank"] for t in (0.05, 0.34, 0.67)]
    assert ranks == [3, 2, 1]


def test_sums_that_meet_the_tolerance_exactly_count_as_met(tmp_path: Path) -> None:
    signs = np.array([[a, b] for a in (1.0, 3.0) for b in (0.1, 0.3)])  # variances 1 and 0.01
    model = net(tmp_path / "n.onnx", np.eye(2))
    assert layer(model, signs, tolerance=0.01 / 1.01).detail["rank"] == 1
    assert layer(model, signs, tolerance=0.0098).detail["rank"] == 2


@pytest.mark.parametrize(("places", "protocol"), [("map", "paper"), ("location", "paper")])
def test_value_is_that_of_sklearn_on_the_whole_matrix(
    tmp_path: Path, places: str, protocol: str
) -> None:
    path = tmp_path / "m.onnx"
    proto = exported(torch_cnn(), (3, 6, 6))
    onnx.save(proto, path)
    x = np.random.default_rng(3).normal(size=(200, 3, 6, 6))
    found = analysed(path, x, request={"units": places, "protocol": protocol}).measurements[1]
    maps = relu_conv(proto, x)
    rows = np.moveaxis(maps, 1, -1).reshape(-1, 8) if places == "map" else maps.reshape(200, -1)
    pca = PCA(svd_solver="full").fit(rows)
    shares = np.cumsum(pca.explained_variance_ratio_)
    assert found.detail["rank"] == int((shares >= 0.95).argmax()) + 1
    assert found.value == 1 - found.detail["rank"] / rows.shape[1]
    assert found.detail["rows"] == len(rows)
    known = found.detail["explained"][: len(shares)]
    assert known == pytest.approx(shares[: len(known)].tolist(), abs=1e-5)


def torch_cnn():
    from torch import nn

    return nn.Sequential(conv(3, 8), nn.ReLU(), head(8))


def relu_conv(proto: onnx.ModelProto, x: NDArray) -> NDArray:
    """Compute the first layer in numpy."""
    weight, bias = (
        next(numpy_helper.to_array(w) for w in proto.graph.initializer if w.name == name)
        for name in ("0.weight", "0.bias")
    )
    padded = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("nchwij,kcij->nkhw", windows, weight) + bias[:, None, None], 0)


@pytest.mark.parametrize(
    ("values", "dropped", "rank"),
    [
        ([8.0, 1.5, 0.5], 2, 2),  # 0.05 is not more than 0.05, 0.2 is
        ([8.0, 1.9, 0.1], 2, 2),
        ([10.0, 0.0, 0.0], 3, 1),
        ([1.0, 1.0, 1.0], 1, 3),
        ([0.0, 0.0, 0.0], 1, 0),  # the published code divides 0 by 0 and stops at once
        ([1.0], 1, 1),
    ],
)
def test_counts_of_text_and_published_code_worked_out_by_hand(
    values: list[float], dropped: int, rank: int
) -> None:
    spectrum = Spectrum(np.array(values), sum(values), len(values))
    assert spectrum.reference_dropped(0.05) == dropped
    assert spectrum.rank(0.05) == rank


def test_published_code_as_written_counts_the_same() -> None:
    for seed in range(50):
        generator = np.random.default_rng(seed)
        units = int(generator.integers(1, 30))
        rows = generator.normal(size=(100, units)) * generator.exponential(size=units) ** 3
        ascending = np.linalg.eigvalsh(np.cov(rows.T).reshape(units, units))
        total, k, accumulated = ascending.sum(), 0, 0.0
        while accumulated <= 0.05:
            accumulated += ascending[k] / total
            k += 1
        assert Spectrum.of(Moments.of(rows)).reference_dropped(0.05) == k


def test_reference_protocol_draws_its_quota_from_all_full_batches_but_one(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(exported(torch_cnn(), (3, 6, 6)), path)
    x = np.random.default_rng(3).normal(size=(330, 3, 6, 6))
    request = {"protocol": "reference"}
    few = analysed(path, x, request=request, batch=100, samples=500).measurements[1]
    assert few.detail["rows"] == 2 * 250
    everything = analysed(path, x, request=request, batch=100).measurements[1]
    assert everything.detail["rows"] == 2 * 100 * 36  # fewer than 25,000 places a batch
    assert len(everything.detail["values"]) == 3
    assert len(set(everything.detail["values"])) == 1  # all drew all
    assert everything.value == pytest.approx(np.mean(everything.detail["values"]))
    text = analysed(path, x[:200]).measurements[1]  # one more than can be dropped
    assert everything.value == pytest.approx(text.value + 1 / 8)
    with pytest.raises(DataError, match="full batches of 100"):
        analysed(path, x[:199], request=request, batch=100)


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batch_changes_nothing(tmp_path: Path, batch: int) -> None:
    x = np.random.default_rng(3).normal(size=(30, 3, 6, 6))
    onnx.save(exported(torch_cnn(), (3, 6, 6)), tmp_path / "free.onnx")
    onnx.save(exported(torch_cnn(), (3, 6, 6), batch=batch), tmp_path / "fixed.onnx")
    for request, options in (({}, {}), ({"protocol": "reference"}, {"batch": 9})):
        free, fixed = (
            analysed(tmp_path / f"{name}.onnx", x, request=request, **options).measurements[1]
            for name in ("free", "fixed")
        )
        assert fixed.value == free.value
        assert fixed.detail["rows"] == free.detail["rows"]
        assert fixed.detail["explained"] == pytest.approx(free.detail["explained"], abs=1e-5)


@pytest.mark.parametrize("protocol", ["paper", "reference"])
def test_dead_layer_says_that_nothing_varies(tmp_path: Path, protocol: str) -> None:
    model = net(tmp_path / "n.onnx", np.zeros((3, 4)), np.array([0.1, -1.0, 0.3, 7.7]))
    found = layer(model, positive(300, 3), request={"protocol": protocol})
    assert found.value == (1.0 if protocol == "paper" else 0.25)
    assert found.detail["constant_units"] == 4
    assert "no unit varies" in found.detail["note"]
    if protocol == "paper":
        assert found.detail["rank"] == 0


def test_constant_unit_is_redundant_and_counted(tmp_path: Path) -> None:
    hidden = np.eye(3)
    hidden[:, 1] = 0
    found = layer(net(tmp_path / "n.onnx", hidden, np.full(3, 0.1)), positive(100, 3))
    assert found.detail["constant_units"] == 1
    assert found.value == pytest.approx(1 / 3)
    assert "note" not in found.detail


def test_one_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has one; give more"):
        layer(net(tmp_path / "n.onnx", np.eye(3)), positive(1, 3))


def test_fewer_rows_than_units_give_a_number_that_says_so(tmp_path: Path) -> None:
    model = net(tmp_path / "n.onnx", np.abs(SEED.normal(size=(6, 30))))
    found = layer(model, positive(4, 6))
    assert found.detail["fewer_rows_than_units"] is True
    assert found.value >= 1 - 3 / 30
    assert "at most 3 components" in found.detail["note"]
    assert layer(model, positive(31, 6)).detail["fewer_rows_than_units"] is False


@pytest.mark.parametrize("request_", [{}, {"protocol": "reference"}, {"memory": 100}],
                         ids=["paper", "reference", "wide"])  # fmt: skip
def test_infinite_activation_is_one_line_that_names_the_layer(
    tmp_path: Path, request_: dict
) -> None:
    x = positive(300, 3)
    x[7, 2] = 3e38
    model = net(tmp_path / "n.onnx", 10 * np.eye(3))
    with pytest.raises(ModelError, match="layer s gives activations") as refused:
        layer(model, x, request=request_)
    assert "\n" not in str(refused.value)


def test_squares_too_large_for_float32_are_summed_when_asked(tmp_path: Path) -> None:
    x = 1e25 * positive(50, 3)
    model = net(tmp_path / "n.onnx", np.eye(3))
    with pytest.raises(ModelError, match="exact=true"):
        layer(model, x)
    assert layer(model, x, exact=True).value == layer(model, x / 1e25).value


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": 1}, "tolerance"),
        ({"samples": 0}, "samples"),
        ({"samplings": 0}, "samplings"),
        ({"batch": 0}, "batch"),
        ({"tolerence": 0.1}, "tolerance"),
    ],
)
def test_senseless_options_are_refused_by_name(
    tmp_path: Path, options: dict[str, float], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        layer(net(tmp_path / "n.onnx", np.eye(3)), positive(9, 3), **options)


def mixed(path: Path, units: int = 24) -> Path:
    """Write a layer whose units share six directions."""
    return net(path, np.random.default_rng(8).normal(size=(6, units)), np.full(units, 0.5))


def test_interval_holds_the_value_and_narrows_with_examples(tmp_path: Path) -> None:
    model = mixed(tmp_path / "n.onnx", 60)
    generator = np.random.default_rng(2)
    widths = []
    for count in (40, 20_000):
        found = layer(model, generator.normal(size=(count, 6)))
        low, high = found.interval
        assert 0 <= low <= found.value <= high <= 1
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_two_groups_tell_no_interval(tmp_path: Path) -> None:
    assert layer(mixed(tmp_path / "n.onnx"), np.eye(6)[:2]).interval is None


def test_copied_units_are_found_redundant(tmp_path: Path) -> None:
    hidden = np.random.default_rng(8).normal(size=(6, 12))
    x = np.random.default_rng(9).normal(size=(400, 6))
    once = layer(net(tmp_path / "a.onnx", hidden), x)
    twice = layer(net(tmp_path / "b.onnx", np.hstack([hidden, hidden])), x)
    assert twice.detail["rank"] == once.detail["rank"]
    assert twice.value == 1 - once.detail["rank"] / 24
    assert twice.detail["explained"][:12] == pytest.approx(once.detail["explained"], abs=1e-6)


def test_order_of_units_and_examples_does_not_matter(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    hidden, x = generator.normal(size=(6, 24)), generator.normal(size=(500, 6))
    plain = layer(net(tmp_path / "a.onnx", hidden), x)
    units = layer(net(tmp_path / "b.onnx", hidden[:, generator.permutation(24)]), x)
    rows = layer(net(tmp_path / "c.onnx", hidden), x[generator.permutation(500)])
    for other in (units, rows):
        assert other.value == plain.value
        assert other.detail["explained"] == pytest.approx(plain.detail["explained"], abs=1e-6)
    assert units.interval == pytest.approx(plain.interval)


def test_second_run_reads_moments_from_the_cache(tmp_path: Path) -> None:
    model, x = mixed(tmp_path / "n.onnx"), np.random.default_rng(4).normal(size=(300, 6))
    cache = Cache(tmp_path / "cache")
    first = analysed(model, x, cache=cache)
    second = analysed(model, x, cache=cache, tolerance=0.05)
    assert "moments" not in first.study.reused
    assert second.study.reused["moments"] == 1
    assert second.measurements == first.measurements
    looser = analysed(model, x, cache=cache, tolerance=0.3)
    assert looser.study.reused["moments"] == 1  # the tolerance is no part of them
    assert looser.measurements[1].detail["rank"] < first.measurements[1].detail["rank"]
    exact = analysed(model, x, cache=cache, exact=True)
    assert "moments" not in exact.study.reused


def test_layers_that_do_not_fit_together_take_more_passes_and_no_other_value(
    tmp_path: Path,
) -> None:
    proto = exported(two_layers(), (6,))
    onnx.save(proto, tmp_path / "n.onnx")
    x = np.random.default_rng(4).normal(size=(300, 6))
    roomy = analysed(tmp_path / "n.onnx", x)
    room = 8 * 20**2 * (10 + 4)  # one layer of twenty units at a time
    tight = analysed(tmp_path / "n.onnx", x, request={"memory": room})
    assert [m.value for m in tight.measurements] == [m.value for m in roomy.measurements]
    assert [m.detail.get("method") for m in tight.measurements] == [None, "gram", "gram"]
    assert tight.measurements[0].interval is not None


def two_layers():
    from torch import nn

    return nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 2)
    )


def spectrum_of(rows: NDArray) -> NDArray:
    """Return the variances along the principal components."""
    return np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2 / len(rows)


def in_batches(rows: NDArray, size: int = 7):
    return lambda: (rows[i : i + size] for i in range(0, len(rows), size))


@pytest.mark.parametrize("memory", [10**7, 70_000])  # one slice of units, or several
def test_few_rows_give_the_whole_spectrum_of_a_wide_layer(memory: int) -> None:
    rows = np.random.default_rng(0).normal(3.0, 1.0, size=(30, 800)).astype(np.float32)
    found = wide_spectrum(in_batches(rows), memory, 0.05, np.random.default_rng(1))
    assert (found.method, found.rows) == ("examples", 30)
    truth = spectrum_of(rows.astype(np.float64))
    np.testing.assert_allclose(found.spectrum.values, truth, atol=1e-10 * truth[0])
    assert found.spectrum.total == pytest.approx(truth.sum(), rel=1e-12)


@pytest.mark.parametrize("decay", [0.3, 0.7, 1.5])
def test_range_finder_finds_the_leading_spectrum(decay: float) -> None:
    generator = np.random.default_rng(0)
    scales = np.arange(1, 301) ** -decay
    turn = np.linalg.qr(generator.normal(size=(300, 300)))[0]
    rows = (generator.normal(size=(900, 300)) * scales) @ turn + 5.0
    found = wide_spectrum(in_batches(rows, 100), 4_000_000, 0.05, np.random.default_rng(1))
    assert found.method == "randomised"
    truth = spectrum_of(rows)
    rank = int((np.cumsum(truth) >= 0.95 * truth.sum()).argmax()) + 1
    assert found.spectrum.rank(0.05) == rank
    np.testing.assert_allclose(found.spectrum.values[: rank // 2], truth[: rank // 2], rtol=1e-3)
    assert (found.spectrum.values <= truth[: len(found.spectrum.values)] * (1 + 1e-9)).all()


def test_range_finder_gives_up_when_memory_holds_too_few_directions() -> None:
    rows = np.random.default_rng(0).normal(size=(900, 300))  # all directions alike
    assert wide_spectrum(in_batches(rows), 10**6, 0.05, np.random.default_rng(1)) is None


def test_constant_units_of_a_wide_layer_are_counted() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32)
    rows[:, :7] = np.float32(0.1)
    found = wide_spectrum(in_batches(rows), 10**6, 0.05, np.random.default_rng(1))
    assert found.constant == 7


@pytest.mark.parametrize(
    ("count", "memory", "method"), [(40, 100_000, "examples"), (600, 400_000, "randomised")]
)
def test_wide_layer_has_the_value_of_its_gram(
    tmp_path: Path, count: int, memory: int, method: str
) -> None:
    model = net(tmp_path / "n.onnx", np.random.default_rng(8).normal(size=(6, 200)))
    x = np.random.default_rng(9).normal(size=(count, 6))
    by_gram = layer(model, x)
    wide = layer(model, x, request={"memory": memory})
    assert (by_gram.detail["method"], wide.detail["method"]) == ("gram", method)
    assert wide.value == by_gram.value
    assert wide.interval is None
    assert wide.detail["explained"][:10] == pytest.approx(by_gram.detail["explained"][:10])


def test_wide_layer_beyond_memory_is_refused_in_one_line(tmp_path: Path) -> None:
    model = net(tmp_path / "n.onnx", np.eye(150))
    with pytest.raises(ModelError, match=r"layer s has 150 units.*--memory") as refused:
        layer(model, positive(600, 150), request={"memory": 20_000})
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="reference protocol"):
        layer(model, positive(600, 150), request={"memory": 20_000, "protocol": "reference"})


def test_layer_of_a_hundred_thousand_units_stays_within_memory(tmp_path: Path) -> None:
    import tracemalloc

    rows = np.random.default_rng(0).normal(size=(64, 100_000)).astype(np.float32)
    tracemalloc.start()
    found = wide_spectrum(in_batches(rows, 8), 1 << 26, 0.05, np.random.default_rng(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.method == "examples"
    assert peak < 1 << 26
    truth = np.linalg.eigvalsh(np.cov(rows.astype(np.float64), ddof=0))  # of rows, not of units
    assert found.spectrum.units == 100_000
    assert len(found.spectrum.values) == 64
    assert found.spectrum.values[0] == pytest.approx(truth[-1] * 1e5 / 64, rel=0.2)


def test_jackknife_of_a_mean_is_students_interval() -> None:
    groups = np.array([0.52, 0.47, 0.55, 0.44, 0.50])
    without = (groups.sum() - groups) / 4
    low, high = interval(groups.mean(), without.tolist())
    student = stats.t.interval(0.95, 4, groups.mean(), stats.sem(groups))
    assert (low, high) == pytest.approx(student, abs=1e-4)
    assert interval(0.5, [0.1, 0.9]) is None
    assert interval(0.9, [0.1, 0.9, 0.5]) == (0.0, 1.0)
