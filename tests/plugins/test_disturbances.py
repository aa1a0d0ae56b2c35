"""Targeted prunability, noise, edits of weights and frivolity, on nets worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from frivkit.errors import DataError, ModelError, UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import LabelOptions
from frivkit.units.masks import random_order
from frivkit.units.perturbations import Noise, WeightKnockout, WeightNoise, example_digests
from tests.draws import generator
from tests.plugins.test_prunability import write_net

GENERATOR = generator(2)
X = GENERATOR.normal(size=(60, 6)).astype(np.float32)
HIDDEN = GENERATOR.normal(size=(6, 10)).astype(np.float32)
OUTPUT = GENERATOR.normal(size=(10, 4)).astype(np.float32)
BIAS = [0.1, 0.0, -0.1, 0.2]
LEVELS = [0, 0.5, 1]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let each test draw the same, whichever run before it."""
    GENERATOR.bit_generator.state = np.random.default_rng(2).bit_generator.state


def measured(
    folder: Path,
    metric: str,
    hidden: np.ndarray = HIDDEN,
    output: np.ndarray = OUTPUT,
    x: np.ndarray = X,
    *,
    protocol: str = "paper",
    memory: int = 2 << 30,
    units: str | None = None,
    **options: str,
) -> Measurement:
    model = write_net(folder / "net.onnx", hidden, output, BIAS[: output.shape[1]])
    data = folder / "x.npz"
    np.savez(data, x=x.astype(np.float32))
    execution = Execution(memory=memory, labels=LabelOptions(task="classify"))
    request = Request(
        model, data=f"npz:{data}", protocol=protocol, units=units, execution=execution
    )
    found = analyze(request, [metric], options).measurements
    assert [m.scope for m in found] == ["network", "layer"]
    assert found[0].value == found[1].value  # one layer is the whole network
    assert all(m.metric == metric for m in found)
    return found[1]


def hidden_units(hidden: np.ndarray = HIDDEN) -> np.ndarray:
    return np.maximum(X @ hidden, 0)


def labels(units: np.ndarray, output: np.ndarray = OUTPUT) -> np.ndarray:
    return (units @ output + np.array(BIAS[: output.shape[1]], np.float32)).argmax(axis=1)


INTACT = labels(hidden_units())
NOISY = {"repeats": "3", "levels": "3", "refine": "0"}


def test_activation_noise_is_the_curve_of_numpy(tmp_path):
    found = measured(tmp_path, "activation-noise", **NOISY)
    units, told = hidden_units(), example_digests({"x": X})
    spread = units.std(axis=1, keepdims=True)
    for repeat, curve in enumerate(found.detail["unchanged"]):
        drawn = Noise({"u": "hidden"}, 1.0, 0, repeat).draw("u", (10,), told)
        wanted = [np.mean(labels(units + x * spread * drawn) == INTACT) for x in LEVELS]
        assert curve == pytest.approx(wanted)
    assert found.detail["levels"] == LEVELS
    assert found.value == max(found.detail["values"])
    assert found.units is None
    assert found.interval[0] <= found.value <= found.interval[1]


@pytest.mark.parametrize(
    ("metric", "kind"), [("weight-noise", WeightNoise), ("weight-knockout", WeightKnockout)]
)
def test_edits_of_weights_are_the_curve_of_numpy(metric, kind, tmp_path):
    found = measured(tmp_path, metric, **NOISY)
    for repeat, curve in enumerate(found.detail["unchanged"]):
        edits = [kind({"u": "hidden"}, x, 0, repeat) for x in LEVELS]
        weights = [edit.edited("u", "hidden.weight", HIDDEN) for edit in edits]
        wanted = [np.mean(labels(hidden_units(weight)) == INTACT) for weight in weights]
        assert curve == pytest.approx(wanted)
    assert found.detail["unchanged"][0][0] == 1


def test_noise_that_labels_withstand_has_the_largest_level_as_its_value(tmp_path):
    sure = np.eye(4, dtype=np.float32)[[0] * 10] * 100 + np.float32(0)
    found = measured(tmp_path, "activation-noise", output=sure, x=np.abs(X) + 9, most="0.25")
    assert found.value == 0.25
    assert found.detail["crossed"] is False
    assert found.detail["levels"][-1] == 0.25


@pytest.mark.parametrize("metric", ["weight-noise", "weight-knockout", "frivolity"])
def test_what_the_published_code_does_not_do_is_refused_under_its_protocol(metric, tmp_path):
    with pytest.raises(UsageError, match="--protocol paper"):
        measured(tmp_path, metric, protocol="reference")


def test_reference_protocol_takes_full_batches_and_no_refinement(tmp_path):
    found = measured(tmp_path, "activation-noise", protocol="reference", batch="16")
    assert found.examples == 32  # 60 make three batches, of which the code leaves one out
    assert found.detail["levels"] == pytest.approx([i / 6 for i in range(7)])


@pytest.mark.parametrize("most", ["0", "-1"])
def test_a_largest_level_must_be_above_zero(most, tmp_path):
    with pytest.raises(UsageError, match="above 0"):
        measured(tmp_path, "weight-noise", most=most)


def resembling(units: np.ndarray, target: int) -> list[int]:
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.abs(np.corrcoef(units.T)[target])
    r[target] = np.inf
    return sorted(
        range(len(r)),
        key=lambda unit: (
            -r[unit] if np.isfinite(r[unit]) else (-np.inf if unit == target else 1),
            unit,
        ),
    )


@pytest.mark.parametrize("memory", [2 << 30, 4000])  # a Gram of ten units, or none
def test_targeted_ablation_follows_correlation(memory, tmp_path):
    found = measured(tmp_path, "targeted-prunability", memory=memory, **NOISY)
    units = hidden_units()
    targets = [int(random_order(0, "hidden", repeat, 10)[0]) for repeat in range(3)]
    assert found.detail["targets"] == targets
    for target, curve in zip(targets, found.detail["unchanged"], strict=True):
        order = resembling(units, target)
        wanted = []
        for count in (0, 5, 10):
            ablated = units.copy()
            ablated[:, order[:count]] = 0
            wanted.append(np.mean(labels(ablated) == INTACT))
        assert curve == pytest.approx(wanted)


def test_a_copy_goes_with_its_original_and_a_dead_unit_last(tmp_path):
    hidden = HIDDEN.copy()
    hidden[:, 5] = 2 * hidden[:, 4]
    hidden[:, 7] = 0
    units = hidden_units(hidden)
    assert resembling(units, 4)[:2] == [4, 5]
    assert resembling(units, 4)[-1] == 7
    found = measured(tmp_path, "targeted-prunability", hidden=hidden, **NOISY)
    for target, curve in zip(found.detail["targets"], found.detail["unchanged"], strict=True):
        ablated = units.copy()
        ablated[:, resembling(units, target)[:5]] = 0
        assert curve[1] == pytest.approx(np.mean(labels(ablated) == labels(units)))


@pytest.mark.parametrize("metric", ["targeted-prunability", "frivolity"])
def test_one_example_is_refused(metric, tmp_path):
    with pytest.raises(DataError, match="one"):
        measured(tmp_path, metric, x=X[:1])


@pytest.mark.parametrize("memory", [2 << 30, 4000])
def test_infinite_activations_are_refused_where_correlation_is_asked(memory, tmp_path):
    hidden, output = np.full((6, 10), 1e10), np.ones((10, 4))
    x = np.abs(X)
    x[3] = 1e30  # finite, and infinite in the layer; its label is still the first
    with pytest.raises(ModelError, match="not finite"):
        measured(tmp_path, "targeted-prunability", hidden, output, x, memory=memory)


def test_frivolity_folds_copies_before_it_prunes(tmp_path):
    copies = np.repeat(HIDDEN[:, :3], 4, axis=1)  # 12 units of which 3 differ
    output = GENERATOR.normal(size=(12, 4)).astype(np.float32)
    found = measured(tmp_path, "frivolity", hidden=copies, output=output, unexplained="0.001")
    detail = found.detail
    assert detail["redundant"] == 9
    assert detail["agreement_folded"] == 1.0
    assert detail["redundant"] + detail["dropped"] + detail["left"] == 12
    assert detail["levels"][0] == pytest.approx(9 / 12)
    assert found.value >= 9 / 12 > detail["prunable_alone"]
    table = detail["per_unit"]
    assert {len(column) for column in table.values()} == {12}
    assert sum(table["redundant"]) == 9
    kept = [unit for unit in range(12) if not table["redundant"][unit]]
    assert sorted(unit // 4 for unit in kept) == [0, 1, 2]  # one of each four
    assert sorted(table["elimination_rank"]) == list(range(12))
    assert all(share < 1e-3 for share in table["unexplained"] if share is not None)


def test_frivolity_is_the_curve_of_numpy(tmp_path):
    found = measured(tmp_path, "frivolity", unexplained="0.05", **NOISY)
    units, detail = hidden_units().astype(np.float64), found.detail
    away = np.array(detail["per_unit"]["redundant"])
    assert 0 < away.sum() == detail["redundant"]
    fit, *_ = np.linalg.lstsq(
        np.hstack([units[:, ~away], np.ones((60, 1))]), units[:, away], rcond=None
    )
    for repeat, curve in enumerate(detail["unchanged"]):
        order = random_order(0, "hidden", repeat, 10)
        order = order[~away[order]]
        wanted = []
        for level in LEVELS:
            rest = units.copy()
            rest[:, order[: int(level * len(order) + 0.5)]] = 0
            rest[:, away] = np.hstack([rest[:, ~away], np.ones((60, 1))]) @ fit
            wanted.append(np.mean(labels(rest) == INTACT))
        assert curve == pytest.approx(wanted, abs=1 / 60)  # a near tie may fall either way
    overlap = detail["overlap"]
    assert overlap["both"] <= min(overlap["redundant"], overlap["prunable"])
    chance = overlap["redundant"] * overlap["prunable"] / 10
    assert overlap["by_chance"] == pytest.approx(chance)


def test_frivolity_folds_less_where_labels_would_not_bear_it(tmp_path):
    # One unit hardly varies beside the other, and the labels hang on it alone.
    hidden = np.array([[1000.0, 1.0], [0.0, 1.0]])
    x = np.abs(np.random.default_rng(0).normal(size=(100, 2)))
    x[:, 0] = np.random.default_rng(1).uniform(1, 2, size=100)
    output = np.array([[0.0, -0.0015], [0.0, 1.0]])
    found = measured(tmp_path, "frivolity", hidden=hidden, output=output, x=x)
    assert found.detail["unexplained"] < 0.05
    assert found.detail["redundant"] == 0
    assert found.detail["agreement_folded"] == 1.0


def test_frivolity_of_a_dead_layer_is_all_of_it(tmp_path):
    found = measured(tmp_path, "frivolity", hidden=np.zeros((6, 10)))
    assert found.value == 1.0
    assert found.detail["redundant"] == 9  # the bias has to stand somewhere
    assert found.detail["agreement_folded"] == 1.0


def test_frivolity_by_location_is_refused(tmp_path):
    with pytest.raises(UsageError, match="feature maps"):
        measured(tmp_path, "frivolity", units="location")
