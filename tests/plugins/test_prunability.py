"""Prunability against curves worked out by hand, and against a reference in plain numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from frivkit.errors import UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Request, analyze
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.units.masks import random_order
from frivkit_ablation import curve
from frivkit_ablation.curve import AblationCurve, compact, interval


def write_net(path: Path, hidden: NDArray, output: NDArray, bias: Sequence[float]) -> Path:
    """Write ``relu(x @ hidden) @ output + bias``."""
    weights = {"hidden.weight": hidden, "output.weight": output, "output.bias": np.array(bias)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "hidden.weight"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["u"]),
            helper.make_node("Gemm", ["u", "output.weight", "output.bias"], ["logits"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", hidden.shape[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", output.shape[1]])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def measured(model: Path, x: NDArray, protocol: str = "paper", **options: str) -> Measurement:
    """Measure the one hidden layer of a net on ``x``."""
    data = model.with_suffix(".npz")
    np.savez(data, x=x.astype(np.float32))
    request = Request(model, data=f"npz:{data}", protocol=protocol)
    found = analyze(request, ["prunability"], options).measurements
    assert [m.scope for m in found] == ["network", "layer"]
    assert found[0].value == found[1].value  # one layer is the whole network
    assert found[1].layer == "hidden"
    return found[1]


# The paper's constructions ("Relating Prunable and Redundant Units"): a thin net with one unit u
# whose three logits (0, s, 2s - 5) at s = u in (0, 5) say class 1, below class 0, above class 2.
THETA = np.array([[0.0, 1.0, 2.0]])
BIAS = [0.0, 0.0, -5.0]
X = np.random.default_rng(0).uniform(0.5, 4.5, size=(64, 2))
SAME = np.array([[1.0, 1.0], [0.0, 0.0]])  # [u, u]
OTHER = np.eye(2)  # [u, v], v independent of u
FIRST_TO_GO = [int(random_order(0, "hidden", repeat, 2)[0]) for repeat in range(3)]


def test_thin_net_of_the_constructions_loses_every_label_with_its_unit(tmp_path: Path) -> None:
    net = write_net(tmp_path / "n.onnx", np.array([[1.0], [0.0]]), THETA, BIAS)
    found = measured(net, X)
    assert found.detail["levels"] == [0.0, 1.0]
    assert found.detail["unchanged"] == [[1.0, 0.0]] * 3
    assert found.value == pytest.approx(0.2)  # 0.2 of one unit


@pytest.mark.parametrize("hidden", [SAME, OTHER], ids=["[u,u]", "[u,v]"])
def test_zero_outgoing_weights_make_half_of_the_layer_prunable(
    tmp_path: Path, hidden: NDArray
) -> None:
    net = write_net(tmp_path / "n.onnx", hidden, np.vstack([THETA, 0 * THETA]), BIAS)
    found = measured(net, X)
    # Whoever ablates the unit of weight zero first loses nothing until the other one goes.
    by_hand = {1: ([1.0, 1.0, 0.0], 0.5 + 0.5 * 0.2), 0: ([1.0, 0.0, 0.0], 0.5 * 0.2)}
    assert found.detail["unchanged"] == [by_hand[first][0] for first in FIRST_TO_GO]
    assert found.detail["values"] == pytest.approx([by_hand[first][1] for first in FIRST_TO_GO])
    assert set(FIRST_TO_GO) == {0, 1}
    assert found.value == pytest.approx(0.6)  # 1.2 of two units: one more than the thin net


def test_balanced_weights_make_no_unit_prunable_however_redundant(tmp_path: Path) -> None:
    b = 20 * THETA
    net = write_net(tmp_path / "n.onnx", SAME, np.vstack([THETA + b, THETA - b]) / 2, BIAS)
    found = measured(net, X)
    assert found.detail["unchanged"] == [[1.0, 0.0, 0.0]] * 3
    assert found.value == pytest.approx(0.5 * 0.2)  # 0.2 of two units, as in the thin net


def one_hot_net(path: Path, units: int) -> Path:
    """Write a net in which losing unit j changes exactly the labels of the examples e_j."""
    return write_net(path, np.eye(units), np.array([[1.0, 0.0]] * units), [0.0, 0.5])


def test_paper_protocol_counts_what_is_really_ablated(tmp_path: Path) -> None:
    found = measured(one_hot_net(tmp_path / "n.onnx", 5), np.eye(5)[np.arange(100) % 5])
    assert found.units == "location"
    assert found.examples == 100
    assert found.detail["levels"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for unchanged in found.detail["unchanged"]:
        assert unchanged == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert found.value == pytest.approx(0.2)


def test_reference_protocol_rounds_down_and_keeps_nominal_levels(tmp_path: Path) -> None:
    x = np.eye(5)[np.arange(896) % 5]
    found = measured(one_hot_net(tmp_path / "n.onnx", 5), x, "reference")
    assert found.units == "map"
    assert found.examples == 768  # seven batches of 128, one left out
    assert found.detail["levels"] == [float(level) for level in np.linspace(0, 1, 7)]
    counts = np.array([154, 154, 154, 153, 153])  # of e_0 .. e_4 among the first 768
    values = []
    for repeat, unchanged in enumerate(found.detail["unchanged"]):
        lost = np.concatenate([[0], counts[random_order(0, "hidden", repeat, 5)].cumsum()]) / 768
        by_hand = 1 - lost[[0, 0, 1, 2, 3, 4, 5]]  # int(level * 5)
        assert unchanged == pytest.approx(by_hand.tolist())
        r = 1 if by_hand[2] < 0.8 else 2
        x = r / 6 + (0.8 - by_hand[r]) / (by_hand[r + 1] - by_hand[r]) / 6
        values.append(x)
    assert found.detail["values"] == pytest.approx(values)
    assert found.value == pytest.approx(max(values))
    assert found.detail["chosen_repeat"] == int(np.argmax(values))


@pytest.mark.parametrize("protocol", ["paper", "reference"])
def test_curve_that_never_crosses_makes_every_unit_prunable(tmp_path: Path, protocol: str) -> None:
    net = write_net(tmp_path / "n.onnx", np.eye(4), np.zeros((4, 2)), [0.0, 1.0])
    found = measured(net, np.random.default_rng(1).normal(size=(300, 4)), protocol)
    assert found.value == 1.0
    assert found.interval == (1.0, 1.0)
    assert found.detail["crossed"] is False


def test_reference_protocol_says_when_it_must_shrink_its_batch(tmp_path: Path) -> None:
    net = one_hot_net(tmp_path / "n.onnx", 5)
    np.savez(tmp_path / "d.npz", x=np.eye(5, dtype=np.float32)[np.arange(100) % 5])
    request = Request(net, data=f"npz:{tmp_path / 'd.npz'}", protocol="reference")
    analysis = analyze(request)
    assert analysis.measurements[0].examples == 50
    assert any("batches of 50" in warning for warning in analysis.study.warnings)


def random_net(path: Path, units: int, seed: int = 3) -> tuple[Path, NDArray]:
    generator = np.random.default_rng(seed)
    net = write_net(
        path, generator.normal(size=(8, units)), generator.normal(size=(units, 4)), [0.0] * 4
    )
    return net, generator.normal(size=(500, 8)).astype(np.float32)


def unchanged_in_numpy(path: Path, x: NDArray, order: NDArray, count: int) -> float:
    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(path).graph.initializer}
    u = np.maximum(x @ weights["hidden.weight"], 0)
    baseline = (u @ weights["output.weight"]).argmax(axis=1)
    u[:, order[:count]] = 0
    return float(((u @ weights["output.weight"]).argmax(axis=1) == baseline).mean())


def test_curve_equals_a_numpy_network(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 24)
    found = measured(net, x)
    for repeat, unchanged in enumerate(found.detail["unchanged"]):
        order = random_order(0, "hidden", repeat, 24)
        by_numpy = [
            unchanged_in_numpy(net, x, order, round(level * 24)) for level in found.detail["levels"]
        ]
        assert unchanged == pytest.approx(by_numpy)


def test_refined_levels_lie_next_to_the_crossing(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 240)
    coarse = measured(net, x, refine="0")
    fine = measured(net, x, refine="3")
    added = set(fine.detail["levels"]) - set(coarse.detail["levels"])
    assert 3 <= len(added) <= 9
    nearest = min(abs(level - fine.value) for level in added)
    assert nearest <= 1 / 6 / 8 + 1 / 240
    assert fine.value == pytest.approx(coarse.value, abs=1 / 6)


def test_bisection_ends_within_one_unit_of_the_crossing(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 64)
    found = measured(net, x, bisect="true")
    order = random_order(0, "hidden", found.detail["chosen_repeat"], 64)
    below = int(found.value * 64)
    assert unchanged_in_numpy(net, x, order, below) >= 0.8
    assert unchanged_in_numpy(net, x, order, below + 1) < 0.8
    tried = [level for level in found.detail["unchanged"][0] if level is not None]
    assert len(tried) <= 2 + 6  # 0, 1 and one halving for each power of two


def test_interval_covers_the_value_on_more_data(tmp_path: Path) -> None:
    net, _ = random_net(tmp_path / "n.onnx", 48)
    generator = np.random.default_rng(11)
    truth = measured(net, generator.normal(size=(20_000, 8)), repeats="1").value
    met = 0
    for _ in range(20):
        found = measured(net, generator.normal(size=(200, 8)), repeats="1")
        assert found.interval[0] <= found.value <= found.interval[1]
        met += found.interval[0] <= truth <= found.interval[1]
    assert met >= 15  # 95 % intervals: fewer than 15 of 20 has a chance below 0.1 %


def test_order_of_examples_does_not_matter(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 24)
    assert measured(net, x).detail == measured(net, x[::-1]).detail


def test_another_seed_draws_other_units(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 24)
    np.savez(tmp_path / "d.npz", x=x)
    a, b, again = (
        analyze(Request(net, data=f"npz:{tmp_path / 'd.npz'}", execution=Execution(seed=seed)))
        .measurements[1]
        .detail
        for seed in (0, 1, 0)
    )
    assert a == again
    assert a["unchanged"] != b["unchanged"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tolerance": "1.5"}, "tolerance"),
        ({"repeats": "0"}, "repeats"),
        ({"levels": "1"}, "levels"),
        ({"levels": "99999999"}, "levels"),
        ({"tolerence": "0.1"}, "tolerance"),
    ],
)
def test_senseless_options_are_refused_by_name(
    tmp_path: Path, options: dict[str, str], named: str
) -> None:
    net, x = random_net(tmp_path / "n.onnx", 4)
    with pytest.raises(UsageError, match=named):
        measured(net, x, **options)


def test_bisection_under_the_reference_protocol_is_refused(tmp_path: Path) -> None:
    net, x = random_net(tmp_path / "n.onnx", 4)
    with pytest.raises(UsageError, match="grid"):
        measured(net, x, "reference", bisect="true")


def test_curves_of_booleans_have_the_interval_of_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    levels = np.linspace(0, 1, 11)
    flags = [(generator.random((11, 500)) > levels[:, np.newaxis]).astype(float) for _ in range(2)]
    plain = [AblationCurve(levels, each) for each in flags]
    small = [AblationCurve(levels, [compact(row) for row in each]) for each in flags]
    assert [sum(row.nbytes for row in each.flags) for each in small] == [11 * 500] * 2
    for one, other in zip(plain, small, strict=True):
        assert one.unchanged.tolist() == other.unchanged.tolist()
    found = [interval(curves, 0.5, 100, np.random.default_rng(1)) for curves in (plain, small)]
    assert found[0] == found[1]
    monkeypatch.setattr(curve, "DRAWN", 2000)  # resamples are drawn part by part
    assert interval(small, 0.5, 100, np.random.default_rng(1)) == pytest.approx(found[0])


def test_curve_is_the_same_when_few_masks_fit_into_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = random_net(tmp_path / "net.onnx", 8)
    whole = measured(model, x)
    calls = []
    unchanged = Study.unchanged

    def counted(study: Study, changes: Sequence[object], *more: object, **named: object) -> object:
        calls.append(len(changes))
        return unchanged(study, changes, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Study, "unchanged", counted)
    monkeypatch.setattr(Study, "changes_at_once", 2)
    found = measured(model, x)
    assert max(calls) == 2
    assert (found.value, found.interval, found.detail) == (
        whole.value,
        whole.interval,
        whole.detail,
    )
