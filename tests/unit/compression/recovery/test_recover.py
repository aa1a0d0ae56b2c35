"""Recovery: what gradients restore, what they leave, and when they end."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.frontier import frontier
from frivkit.compression.method import Method
from frivkit.compression.plan import Plan, apply_plan, keep_all, keep_weights
from frivkit.compression.recovery import training
from frivkit.compression.recovery.examples import ShuffledExamples
from frivkit.compression.recovery.recover import Recoverer, affordable_batch
from frivkit.compression.recovery.settings import RecoverySettings
from frivkit.errors import FrivkitError, ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution
from frivkit.verification.agreement import Agreement
from tests.nets import examples, network, opened
from tests.planning import allocator, calibrated
from tests.surgery import check, run
from tests.unit.compression.test_compress import write_data, write_layers
from tests.unit.compression.test_shared_fit import SQUARE, TIED, TRANSPOSED

LONG = RecoverySettings(minutes=60.0)
X = np.random.default_rng(7).normal(size=(200, 6)).astype(np.float32)


@pytest.fixture
def doubled(tmp_path) -> tuple[Calibration, Plan, ir.Model]:
    """Return a net whose hidden units are there twice, and a copy with each once, not refitted.

    The copy misses a part of what each unit should add, and other weights behind it restore all.
    """
    random = np.random.default_rng(0)
    first, second = random.normal(size=(6, 8)), random.normal(size=(8, 3))
    share = random.uniform(0.1, 0.9, (8, 1))
    twice = np.hstack([first, first]), np.vstack([second * share, second * (1 - share)])
    found = calibrated(
        opened(_proto(tmp_path, *twice), tmp_path / "m.onnx"), write_data(tmp_path / "x.npz", 6)
    )
    plan = Plan(keep_all(found), 0.0)
    plan.keep["h0"][8:] = False
    plan = replace(plan, fits=keep_weights(found, plan))
    return found, plan, apply_plan(found, plan)


def _proto(folder, *layers):
    return onnx.load(write_layers(folder / "layers.onnx", *layers))


def apart(found: Calibration, model: ir.Model) -> float:
    """Return the squared error on other examples, as a share of the variance."""
    (wanted,), (given,) = run(found.model.ir, {"x": X}), run(model, {"x": X})
    return float(((wanted - given) ** 2).mean() / wanted.var())


def tensors(model: ir.Model) -> dict[str, np.ndarray]:
    return {name: v.const_value.numpy() for name, v in model.graph.initializers.items()}


def same(one: ir.Model, other: ir.Model) -> bool:
    mine, its = tensors(one), tensors(other)
    return mine.keys() == its.keys() and all(np.array_equal(mine[n], its[n]) for n in mine)


def test_gradients_restore_what_can_be_restored(doubled, monkeypatch):
    monkeypatch.setattr(training, "RATE", 3e-2)
    monkeypatch.setattr(training, "PERIODS", 25)
    found, plan, given = doubled
    before = tensors(given)
    model, recovery = Recoverer(found, LONG).recovered(plan, given)
    assert recovery.kept
    assert apart(found, given) > 0.2
    assert apart(found, model) < apart(found, given) / 100
    assert recovery.errors[1] < recovery.errors[0] / 100
    assert (recovery.examples, recovery.held_out) == (320, 80)
    assert all(np.array_equal(array, before[name]) for name, array in tensors(given).items())
    check(model)


def test_a_seed_gives_the_same_weights_again_and_another_gives_others(doubled, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 3)
    found, plan, given = doubled
    model, _ = Recoverer(found, LONG).recovered(plan, given)
    again, _ = Recoverer(found, LONG).recovered(plan, given)
    assert same(model, again)
    seeded = replace(found, run=replace(found.run, execution=Execution(threads=1, seed=5)))
    other, _ = Recoverer(seeded, LONG).recovered(plan, given)
    assert not same(model, other)


def test_what_is_given_comes_back_if_nothing_is_gained(doubled, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 5)
    found, _, _ = doubled
    plan = Plan(keep_all(found), 0.0)
    model, recovery = Recoverer(found, LONG).recovered(plan, whole := found.model.ir.clone())
    assert model is whole
    assert recovery.reason == "the error on held-out examples did not fall"


@pytest.mark.parametrize(
    ("after", "kept"), [((60, 80), False), ((69, 80), True), ((69, 75), False)]
)
def test_the_agreement_of_any_task_vetoes_below_its_interval_only(
    after, kept, doubled, monkeypatch
):
    monkeypatch.setattr(training, "PERIODS", 3)
    found, plan, given = doubled
    recoverer = Recoverer(found, LONG)
    counts = iter([(70, 80), after])  # of 80; their intervals begin at 62.6 and 76.4
    recoverer._search = SimpleNamespace(
        agreements=lambda _: tuple(Agreement(same, 80) for same in next(counts))
    )
    model, recovery = recoverer.recovered(plan, given)
    assert (model is not given, recovery.kept) == (kept, kept)
    if not kept:
        assert "below its interval" in recovery.reason
        assert recovery.agreements[1].same == (60 if after[0] == 60 else 75)


def test_what_the_budget_does_not_accept_is_given_back(doubled, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 3)
    found, plan, given = doubled
    model, recovery = Recoverer(found, LONG).recovered(plan, given, lambda _: "too rare")
    assert (model is given, recovery.reason) == (True, "too rare")


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize(
    ("minutes", "steps"), [(0.1, (0, 0)), (0.6, (1, 25)), (2.0, (30, 115)), (60.0, (180, 180))]
)
def test_minutes_are_kept_to(minutes, steps, doubled, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 15)
    found, plan, given = doubled
    clock = Ticking()
    model, recovery = Recoverer(found, RecoverySettings(minutes), clock=clock).recovered(
        plan, given
    )
    assert steps[0] <= recovery.steps <= steps[1]
    assert clock.now <= 60 * minutes + 5
    if not recovery.steps:
        assert model is given
        assert recovery.reason == "the time is too short for one step"
    assert recovery.stopped in ("time", "done", "flat")


class Interrupting:
    """Progress of a user who presses Ctrl-C at a step."""

    def __init__(self, at: int) -> None:
        self._at, self._made = at, None

    def start(self, what: str, steps: int) -> None:
        self._made = 0 if what == "recover by gradients" else None

    def advance(self, steps: int = 1) -> None:
        if self._made is not None:
            self._made += steps
            if self._made == self._at:
                raise KeyboardInterrupt

    def finish(self) -> None:
        self._made = None


@pytest.mark.parametrize(("at", "kept"), [(5, False), (250, True)])
def test_the_best_weights_until_an_interruption_are_taken(at, kept, doubled, monkeypatch):
    monkeypatch.setattr(training, "RATE", 3e-2)
    found, plan, given = doubled
    execution = replace(found.run.execution, progress=Interrupting(at))
    found = replace(found, run=replace(found.run, execution=execution))
    model, recovery = Recoverer(found, LONG).recovered(plan, given)
    assert (recovery.kept, recovery.stopped) == (kept, "interrupted"), recovery
    assert (apart(found, model) < apart(found, given)) == kept
    if not kept:
        assert recovery.reason == "it was interrupted before anything was gained"


def test_parts_of_a_step_that_fit_into_memory_add_up_to_its_gradients(doubled):
    found, plan, given = doubled
    gradients = []
    for size in (50, 7):
        recoverer = Recoverer(found, LONG)
        distiller = recoverer._distiller(plan, given, training.Deadline(lambda: 0.0, 1.0))
        distiller._size = size
        distiller.gradients(recoverer._examples.trained[:50], 0)
        gradients.append({n: p.grad.numpy() for n, p in distiller.student.parameters.items()})
        assert np.isclose(distiller.original.variances[0], _variance(found, plan, recoverer))
    for name, whole in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], whole, rtol=1e-4, atol=1e-6)


def _variance(found: Calibration, plan: Plan, recoverer: Recoverer) -> float:
    """Return the variance of the kept units about their means, by numpy."""
    examples = recoverer._examples
    x, weights = examples.inputs(examples.trained)["x"], tensors(found.model.ir)
    hidden = np.maximum(x @ weights["l0.weight"], 0)[:, plan.keep["h0"]]
    return float(hidden.var(axis=0).mean())


def test_examples_are_the_same_whether_they_are_kept_in_memory_or_not(doubled):
    data = doubled[0].run.data
    indices = np.array([3, 3, 17, 5, 0])
    wanted = np.stack([data.read(int(at), int(at) + 1).inputs["x"][0] for at in indices])
    for room in (0, 1 << 30):
        found = ShuffledExamples(data, room).inputs(indices)["x"]
        assert np.array_equal(found, wanted)


def test_a_batch_keeps_within_the_memory(doubled):
    model = doubled[0].model
    assert affordable_batch(model, 1 << 30) == 50
    each = 3 * 4 * (16 + 16 + 3)
    assert affordable_batch(model, 20 * each) == 10
    large = replace(model, batch=1 << 20)
    with pytest.raises(ModelError, match=r"the gradients of a batch of .* more than half"):
        affordable_batch(large, 1 << 20)


@pytest.mark.parametrize("proto", [TIED, TRANSPOSED, SQUARE])
def test_a_weight_that_several_nodes_read_stays_one(proto, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 2)
    model = opened(proto, tmp_path / "m.onnx")
    found = calibrated(model, write_data(tmp_path / "x.npz", model.inputs[0].shape[0]))
    plan = allocator(found).for_budget("units", 0.6)
    plan = replace(plan, fits=keep_weights(found, plan))
    recovered, given = recovered_of(found, plan)
    mine, its = tensors(given), tensors(recovered)
    assert {name: array.shape for name, array in mine.items()} == {
        name: array.shape for name, array in its.items()
    }
    assert not np.array_equal(mine["v"], its["v"])


def recovered_of(found: Calibration, plan: Plan) -> tuple[ir.Model, ir.Model]:
    given = apply_plan(found, plan)
    recovered, recovery = Recoverer(found, LONG).recovered(plan, given)
    assert recovery.kept, recovery.reason
    check(recovered)
    return recovered, given


@pytest.mark.parametrize(
    "name", ["residual", "attention", "cnn of four", "constants", "halves", "two heads", "volume"]
)
def test_any_kind_of_network_is_recovered_and_its_settings_stay(name, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 3)
    model, data = net_and_data(name, tmp_path)
    found = calibrated(model, data)
    plan = allocator(found).for_budget("units", 0.7)
    plan = replace(plan, fits=keep_weights(found, plan))
    recovered, given = recovered_of(found, plan)
    kinds = {name: array.dtype for name, array in tensors(given).items()}
    assert {name: array.dtype for name, array in tensors(recovered).items()} == kinds
    for node in recovered.graph:
        if node.op_type == "BatchNormalization":
            for at in (3, 4):  # running statistics
                stays = node.inputs[at].name
                assert np.array_equal(tensors(given)[stays], tensors(recovered)[stays])


def net_and_data(name: str, folder) -> tuple[Model, str]:
    model = opened(network(name), folder / "m.onnx")
    inputs = examples(model, 120)
    np.savez(folder / "x.npz", **{n if len(inputs) > 1 else "x": a for n, a in inputs.items()})
    return model, f"npz:{folder / 'x.npz'}"


def test_factors_are_recovered_and_int8_and_frontiers_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 4)
    model, data = net_and_data("cnn", tmp_path)
    request = Request(model, data, execution=Execution(threads=1))
    compressor = Compressor(
        request,
        method=Method(basis="pca", refit="none"),
        constraints=Constraints(round_to=1),
        recover=60.0,
    )
    made = compressor.compress(
        Budget("macs", 0.8), tmp_path / "thin.onnx", time_batches=(), int8=True
    )
    assert made.plan.factorized
    assert made.recovery.kept
    assert made.int8 is not None
    assert made.verification.compressed.model.metadata["frivkit.recovery"] == "48 steps"
    points = frontier(compressor, (0.9, 0.8), timings=()).points
    assert [point.recovery.steps > 0 for point in points] == [True] * len(points)


def refused(folder, monkeypatch, **more) -> Callable[[], Compressor]:
    """Return what opens a model, and fails if it is calibrated."""

    def calibrate(*_: object, **__: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("frivkit.compression.compress.calibrate", calibrate)
    model, data = net_and_data(more.pop("net", "mlp"), folder)
    return lambda: Compressor(Request(model, data), **more)


def test_without_the_extra_one_line_names_it_before_any_work(tmp_path, monkeypatch):
    make = refused(tmp_path, monkeypatch, method=Method(refit="distil"))
    monkeypatch.setitem(sys.modules, "onnx2fx", None)
    with pytest.raises(FrivkitError, match=r"run: pip install frivkit\[to-torch\]$"):
        make()


def test_a_network_that_torch_computes_otherwise_is_refused_before_any_work(tmp_path, monkeypatch):
    make = refused(tmp_path, monkeypatch, recover=1.0)
    wrong = "frivkit.torch_io.from_onnx.to_torch.first_difference"
    monkeypatch.setattr(wrong, lambda *_: "y differs")
    with pytest.raises(ModelError, match=r"m\.onnx cannot be used in torch: y differs$"):
        make()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"recover": 0.0}, "0 minutes are given"),
        ({"recover": 1.0, "augment": ["blur"]}, "no augmentation is named 'blur'"),
        ({"augment": ["flip"]}, "by flip is for a recovery"),
        ({"recover": 1.0, "augment": ["flip"]}, "by flip is for images"),
    ],
)
def test_what_means_nothing_is_refused_before_any_work(more, says, tmp_path, monkeypatch):
    make = refused(tmp_path, monkeypatch, **more)
    with pytest.raises(UsageError, match=says):
        make()


def test_layers_are_recovered_before_outputs_without_gradients(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PERIODS", 3)
    random = np.random.default_rng(0)
    proto = _proto(tmp_path, *(random.normal(size=size) for size in ((6, 12), (12, 12), (12, 3))))
    proto.graph.node.append(onnx.helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("label", 7, ["N"]))
    onnx.save(proto, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", write_data(tmp_path / "x.npz", 6))
    compressor = Compressor(
        request, method=Method(refit="none"), constraints=Constraints(round_to=1), recover=60.0
    )
    plan, _ = compressor.plan(Budget("units", 0.3))
    _, _, recovery = compressor.finished(plan, Budget("units", 0.3))
    assert recovery.steps == 36
    assert recovery.errors[1] < recovery.errors[0]
