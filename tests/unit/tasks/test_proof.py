"""Networks of several outputs and tasks: what is measured and proved, against runs by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.calibration import Run, calibrate
from frivkit.errors import DataError
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, analyze, open_study
from frivkit.provenance import Clock
from frivkit.report.verification import verification_document, verification_text
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import LabelOptions
from frivkit.tasks import memory as tasks_memory
from frivkit.units.masks import Mask
from frivkit.verification.verification import Verification, verify
from frivkit_tasks.regress import spread_of
from tests.contract import complaints
from tests.handmade import written

Written = Callable[..., Path]
GENERATOR = np.random.default_rng(5)
ROWS = GENERATOR.normal(size=(60, 6)).astype(np.float32)
WEIGHTS = {
    "a": GENERATOR.normal(size=(6, 8)).astype(np.float32),
    "b": GENERATOR.normal(size=(8, 4)).astype(np.float32),
    "c": GENERATOR.normal(size=(8, 5)).astype(np.float32),
}
TWO = """g (float[N, 6] x) => (float[N, 4] y, float[N, 5] box) {
    h = MatMul (x, a)
    r = Relu (h)
    y = MatMul (r, b)
    box = MatMul (r, c)
}"""
CORNERS = np.concatenate([10 * np.arange(8)[:, None] + [[0, 0]], np.full((8, 2), 5)], axis=1)
DETECTOR = """g (float[N, 6] x) => (float[N, 7, 8] y) {
    h = MatMul (x, a)
    r = Relu (h)
    z = MatMul (r, w)
    s = Sigmoid (z)
    q = Reshape (s, three)
    k = Mul (q, gain)
    zero = Mul (q, none)
    first = Slice (zero, from, to, axis)
    four = Concat <axis = 1> (zero, first)
    p = Add (four, corners)
    y = Concat <axis = 1> (p, k)
}"""


@pytest.fixture
def saved(tmp_path: Path) -> Written:
    """Return a function that writes a network and gives its path."""

    def save(name: str, text: str, **weights: np.ndarray) -> Path:
        onnx.save(written(text, **weights), tmp_path / name)
        return tmp_path / name

    np.savez(tmp_path / "x.npz", x=ROWS)
    return save


def two(save: Written, name: str = "a.onnx", **changed: np.ndarray) -> Path:
    return save(name, TWO, **(WEIGHTS | changed))


def detector(save: Written, name: str, gain: float) -> Path:
    """Write a detector of eight places for boxes; its scores are sigmoids times a gain."""
    return save(
        name,
        DETECTOR,
        a=WEIGHTS["a"],
        w=GENERATOR.normal(size=(8, 24)).astype(np.float32) if gain else np.zeros((8, 24), "f"),
        three=np.array([-1, 3, 8]),
        none=np.zeros(1, np.float32),
        gain=np.array([gain], np.float32),
        corners=CORNERS.T[None].astype(np.float32),
        **{"from": np.array([0]), "to": np.array([1]), "axis": np.array([1])},
    )


def compared(one: Path, other: Path, **options: object) -> Verification:
    output = options.pop("output", None)
    execution = Execution(labels=LabelOptions(**options))
    request = Request(one, data=f"npz:{one.parent / 'x.npz'}", output=output, execution=execution)
    return verify(request, other, time_batches=())


def runs(path: Path, **changed: np.ndarray) -> list[np.ndarray]:
    return ReferenceEvaluator(str(path)).run(None, {"x": ROWS, **changed})


class TestEveryOutput:
    def test_each_is_compared_and_the_worst_counts(self, saved):
        one = two(saved)
        other = two(saved, "b.onnx", c=WEIGHTS["c"] * 0)
        found = compared(one, other).comparison
        first, second = found.outputs
        assert (first.task.name, first.agreement.share, first.max_abs) == ("classify", 1.0, 0.0)
        box = runs(one)[1]
        kept = np.abs(box) <= 0.1 * spread_of([box])
        assert (second.task.name, second.agreement.same) == ("regress", kept.sum())
        assert second.agreement.positions == 5
        assert found.main is second
        assert found.agreement.share < 0.2

    def test_requested_output_counts_and_others_are_proved(self, saved):
        found = compared(two(saved), two(saved, "b.onnx", c=WEIGHTS["c"] * 0), output="y")
        assert found.comparison.agreement.share == 1
        assert [each.task.outputs for each in found.comparison.outputs] == [("y",), ("box",)]

    def test_document_and_text_tell_all(self, saved):
        found = compared(two(saved), two(saved, "b.onnx", c=WEIGHTS["c"] * 0))
        document = verification_document(found, Clock.start(), 0)
        assert complaints(document) == []
        assert document["task"] == "regress"
        assert [each["task"] for each in document["outputs"]["each"]] == ["classify", "regress"]
        text = " ".join(verification_text(document).split())
        assert text.startswith("Only ")
        assert "of the entries agree: the compressed model does not do what" in text
        assert "Task classify of 'y': 100 % of the labels agree" in text

    def test_text_of_a_good_model_has_no_doubts(self, saved):
        document = verification_document(compared(two(saved), two(saved)), Clock.start(), 0)
        assert not verification_text(document).startswith("Only")

    def test_output_without_examples_in_front_is_named(self, saved):
        text = (
            TWO.replace("float[N, 5] box", "float[5] box")
            .replace("box = ", "e = ")
            .replace("}", "box = ReduceMean <axes = [0], keepdims = 0> (e) }")
        )
        path = saved("m.onnx", text, **WEIGHTS)
        found = compared(path, path)
        assert [each.task.outputs for each in found.comparison.outputs] == [("y",)]
        assert "has shape (5,) for 7 examples" in found.comparison.unproved["box"]
        assert any("output 'box' is not compared" in line for line in found.warnings)


class TestDeadNetwork:
    """A result that a dead network would give, too, is told."""

    def test_scores_of_zero_do_not_agree(self, saved):
        live, dead = detector(saved, "a.onnx", 1.0), detector(saved, "b.onnx", 0.0)
        found = compared(live, dead, task="detect").comparison
        assert found.main.figures["boxes_found"] == 0
        assert found.main.figures["recall"] == 0
        assert found.agreement.share < 0.05
        assert compared(live, live, task="detect").comparison.agreement.share == 1

    def test_data_without_boxes_are_told(self, saved):
        quiet, dead = detector(saved, "a.onnx", 0.2), detector(saved, "b.onnx", 0.0)
        found = compared(quiet, dead, task="detect")
        assert found.comparison.agreement.share == 1
        assert found.comparison.main.constant == 1
        assert any("cannot tell a dead network from a live one" in line for line in found.warnings)

    @pytest.mark.parametrize("task", ["classify", "heatmap", "multilabel"])
    def test_peak_at_one_place_is_told(self, saved, task):
        """What is largest is so for every example, and the rest is in the noise."""
        text = """g (float[N, 6] x) => (float[N, 1, 2, 3] y) {
            h = MatMul (x, a)
            r = Relu (h)
            z = MatMul (r, w)
            v = Add (z, b)
            y = Reshape (v, s)
        }"""
        few = 1e-3 * GENERATOR.normal(size=(8, 6)).astype(np.float32)
        high = np.array([1, 9, 1, 1, 1, 1], np.float32)
        sizes = np.array([-1, 1, 2, 3])
        path = saved("a.onnx", text, a=WEIGHTS["a"], w=few, b=high, s=sizes)
        found = compared(path, path, task=task)
        assert found.comparison.main.constant == 1
        assert found.warnings
        analysis = analyze(
            Request(
                path,
                data=f"npz:{path.parent / 'x.npz'}",
                execution=Execution(labels=LabelOptions(task=task)),
            )
        )
        assert analysis.constant == 1
        assert analysis.data_warnings

    def test_search_knows_how_far_a_constant_agrees(self, saved):
        path = two(saved, b=np.zeros((8, 4), np.float32))
        study, _ = open_study(Request(path, data=f"npz:{path.parent / 'x.npz'}"))
        calibration = calibrate(study.model, study.site_map, Run(study.data, "y", Execution()))
        both = AgreementSearch(calibration, study.data).reference
        assert [task.name for task in both.tasks] == ["classify", "regress"]
        assert both.constants[0] == 1 > both.constants[1]
        one = AgreementSearch(calibration, study.data, requested=True).reference
        assert [task.outputs for task in one.tasks] == [("y",)]


def masks_of(study, count: int) -> list[Mask]:
    (site,) = study.sites
    return [Mask({site.name: np.arange(8) >= n}) for n in range(count)]


class TestAblation:
    """What metrics are told of a masked network is what a comparison by hand gives."""

    @pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "embed", "generate"])
    def test_shares_are_those_of_runs_by_hand(self, saved, task):
        path = two(saved)
        execution = Execution(labels=LabelOptions(task=task))
        study, _ = open_study(
            Request(path, data=f"npz:{path.parent / 'x.npz'}", execution=execution)
        )
        found = study.unchanged(masks_of(study, 5), installed().load("unit_selectors", "map"))
        comparer = study.task.comparer
        comparer = comparer.fitted([[runs(path)[0]]]) if comparer.spread_needed else comparer
        whole = comparer.read([runs(path)[0]])
        for n in range(5):
            rows = np.where(np.arange(8)[:, None] >= n, WEIGHTS["b"], 0).astype(np.float32)
            masked = runs(two(saved, "b.onnx", b=rows))[0]
            expected = comparer.agreement(whole, comparer.read([masked]))
            assert np.abs(found.shares[n] - expected).sum() <= 1  # a tie may fall either way
        assert (found.shares[0] == 1).all()
        assert found.shares[4].mean() < 1
        assert not found.undefined.any()

    def test_neighbours_do_not_depend_on_how_many_masks_fit(self, saved, monkeypatch):
        path = two(saved)
        shares = []
        for memory in (1 << 10, 1 << 30):
            execution = Execution(labels=LabelOptions(task="embed"), memory=memory)
            study, _ = open_study(
                Request(path, data=f"npz:{path.parent / 'x.npz'}", execution=execution)
            )
            selector = installed().load("unit_selectors", "map")
            shares.append(study.unchanged(masks_of(study, 5), selector).shares)
        assert np.array_equal(*shares)

    def test_outputs_of_one_task_are_perturbed_together(self, saved):
        text = TWO.replace(
            "float[N, 4] y, float[N, 5] box", "float[N, 9, 4] boxes, float[N, 9] scores"
        )
        text = text.replace("y = MatMul (r, b)", "e = MatMul (r, b) boxes = Reshape (e, s)")
        text = text.replace("box = MatMul (r, c)", "f = MatMul (r, c) scores = Sigmoid (f)")
        weights = {
            "a": WEIGHTS["a"],
            "b": np.abs(GENERATOR.normal(size=(8, 36))).astype(np.float32),
            "c": GENERATOR.normal(size=(8, 9)).astype(np.float32),
        }
        weights["b"].reshape(8, 9, 4)[..., 2:] += 3
        sizes = np.array([-1, 9, 4])
        path = saved("d.onnx", text, s=sizes, **weights)
        study, _ = open_study(Request(path, data=f"npz:{path.parent / 'x.npz'}"))
        assert (study.task.name, study.task.outputs) == ("detect", ("boxes", "scores"))
        found = study.unchanged(masks_of(study, 4), installed().load("unit_selectors", "map"))
        comparer = study.task.comparer
        for n in range(4):
            keep = (np.arange(8) >= n)[:, None]
            changed = {k: np.where(keep, weights[k], 0).astype(np.float32) for k in ("b", "c")}
            masked = saved("e.onnx", text, s=sizes, **(weights | changed))
            one, two_ = (comparer.read(runs(each)) for each in (path, masked))
            assert np.allclose(found.shares[n], comparer.agreement(one, two_), atol=1e-6)
        assert 0 < found.shares[3].mean() < 1
        assert 0 <= study.constant_agreement() < 1


def test_outputs_that_do_not_fit_into_memory_are_refused(saved, monkeypatch):
    monkeypatch.setattr(tasks_memory, "LEAST", 1)
    path = two(saved)
    execution = Execution(labels=LabelOptions(task="regress"), memory=900)
    study, _ = open_study(Request(path, data=f"npz:{path.parent / 'x.npz'}", execution=execution))
    with pytest.raises(DataError, match="960 B to compare, more than --memory allows"):
        study.predictions()
