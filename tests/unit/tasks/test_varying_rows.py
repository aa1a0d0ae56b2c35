"""Boxes behind a suppression, as many as there are: measured, compressed and proved by example."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.errors import ModelError, UsageError
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, inspect_model, open_study
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import LabelOptions
from frivkit.runtime.varying_rows import ROWS
from frivkit.tasks.choose import choose_tasks
from frivkit.units.masks import Mask
from frivkit.verification.verification import verify
from tests.handmade import written

GENERATOR = np.random.default_rng(9)
X = GENERATOR.normal(size=(24, 6)).astype(np.float32)
PLACES = 12
BODY = """
    h = MatMul (x, a)
    r = Relu (h)
    z = MatMul (r, b)
    s = Sigmoid (z)
    scores = Reshape (s, to_scores)
    q = Mul (s, none)
    zero = Reshape (q, to_places)
    all = Concat <axis = 2> (zero, zero, zero, zero)
    boxes = Add (all, corners)
    sel = NonMaxSuppression (boxes, scores, most, overlap, least)
"""
ENDS = {
    "numbers": ("int64[m, 3] sel", ""),
    "rows": (
        "float[m, 6] y",
        "w = Gather <axis = 1> (sel, columns) c = GatherND (boxes, w) p = GatherND (scores, sel) "
        "u = Unsqueeze (p, one) k = Gather <axis = 1> (sel, one) f = Cast <to = 1> (k) "
        "y = Concat <axis = 1> (c, u, f)",
    ),
    "apart": (
        "float[m, 4] y, int64[m] l, float[m] p",
        "w = Gather <axis = 1> (sel, columns) y = GatherND (boxes, w) p = GatherND (scores, sel) "
        "k = Gather <axis = 1> (sel, one) l = Squeeze (k, one)",
    ),
}


def saved(folder: Path, kind: str, batch: str = "N", name: str = "a.onnx", gain: float = 1) -> Path:
    """Write a detector of boxes far apart, of which an example has those of a score above 0.4."""
    outputs, end = ENDS[kind]
    generator = np.random.default_rng(2)
    low = 10.0 * np.arange(PLACES)[:, None] + np.zeros((1, 2))
    weights = {
        "a": generator.normal(size=(6, 10)),
        "b": gain * generator.normal(size=(10, PLACES)) - 0.3 * (gain > 0) - 9 * (gain == 0),
        "none": np.zeros(1),
        "corners": np.concatenate([low, low + 5], axis=1)[None],
        "overlap": np.array([0.5]),
        "least": np.array([0.4]),
    }
    constants = {
        "to_scores": np.array([-1, 1, PLACES]),
        "to_places": np.array([-1, PLACES, 1]),
        "most": np.array([9]),
        "columns": np.array([0, 2]),
        "one": np.array([1]),
    }
    floats = {key: each.astype(np.float32) for key, each in weights.items()}
    text = f"g (float[{batch}, 6] x) => ({outputs}) {{ {BODY} {end} }}"
    onnx.save(written(text, **floats, **constants), folder / name)
    np.savez(folder / "x.npz", x=X)
    return folder / name


def request(path: Path, **options: str) -> Request:
    execution = Execution(labels=LabelOptions(**options))
    return Request(path, data=f"npz:{path.parent / 'x.npz'}", execution=execution)


@pytest.mark.parametrize(("kind", "batch"), [("numbers", "N"), ("rows", "N"), ("apart", "1")])
class TestBoxes:
    def test_as_many_are_counted_as_the_file_gives(self, tmp_path, kind, batch):
        path = saved(tmp_path, kind, batch)
        runs = ReferenceEvaluator(str(path))
        given = [len(runs.run(None, {"x": X[i : i + 1]})[0]) for i in range(len(X))]
        assert len(set(given)) > 2
        found = verify(request(path), path, time_batches=())
        main = found.comparison.main
        assert (main.task.name, main.agreement.share) == ("detect", 1)
        assert main.figures["boxes_found"] == main.figures["boxes_of_the_original"] == sum(given)
        assert not found.comparison.unproved

    def test_dead_network_finds_nothing(self, tmp_path, kind, batch):
        live, dead = saved(tmp_path, kind, batch), saved(tmp_path, kind, batch, "dead.onnx", 0.0)
        main = verify(request(live), dead, time_batches=()).comparison.main
        assert main.figures["boxes_found"] == 0
        assert main.agreement.share < 0.1


def test_units_are_masked_example_by_example(tmp_path):
    path = saved(tmp_path, "rows")
    study, _ = open_study(request(path))
    (site,) = study.sites
    masks = [Mask({site.name: np.arange(10) >= n}) for n in (0, 3, 10)]
    shares = study.unchanged(masks, installed().load("unit_selectors", "map")).shares
    model = onnx.load(path)
    (weight,) = (each for each in model.graph.initializer if each.name == "b")
    array = onnx.numpy_helper.to_array(weight).copy()
    array[:3] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(array, "b"))
    one, two = ReferenceEvaluator(str(path)), ReferenceEvaluator(model)
    for i in range(len(X)):
        found = (each.run(None, {"x": X[i : i + 1]})[0] for each in (one, two))
        was, now = ({tuple(row[:4]) for row in rows} for rows in found)
        assert shares[1, i] == pytest.approx(2 * len(was & now) / max(1, len(was) + len(now)))
    assert (shares[0] == 1).all()
    assert study.constant_agreement() < 0.9


def test_search_and_proof_agree(tmp_path):
    path = saved(tmp_path, "apart")
    compressor = Compressor(request(path), searches=True)
    result = compressor.compress(Budget("units", 0.8), tmp_path / "thin.onnx", time_batches=())
    found = result.verification.comparison
    assert found.main.task.outputs == ("y", "p", "l")
    search = AgreementSearch(compressor.calibration, compressor.held_out)
    again = search.agreement(onnx_ir_of(tmp_path / "thin.onnx"))
    assert again.share == pytest.approx(found.agreement.share)
    assert 0.2 < found.agreement.share < 1


def onnx_ir_of(path: Path) -> object:
    import onnx_ir as ir

    return ir.load(path)


class TestRefused:
    def test_another_task_does_not_read_them(self, tmp_path):
        with pytest.raises(UsageError, match="the task classify does not fit output 'y'"):
            verify(request(saved(tmp_path, "rows"), task="classify"), tmp_path / "a.onnx")

    def test_rows_of_several_examples_cannot_be_told_apart(self, tmp_path):
        with pytest.raises(ModelError, match="cut the file before sel/NonMaxSuppression"):
            Compressor(request(saved(tmp_path, "rows", "4")))

    def test_rows_without_boxes_name_where_to_cut(self, tmp_path):
        text = "g (float[N, 6] x) => (int64[m, 2] y) { h = MatMul (x, a) z = NonZero (h) "
        proto = written(text + "y = Transpose (z) }", a=np.eye(6, dtype=np.float32))
        onnx.save(proto, tmp_path / "a.onnx")
        np.savez(tmp_path / "x.npz", x=np.maximum(X, 0))
        with pytest.raises(ModelError, match=r"no task reads boxes in it; cut the file before"):
            Compressor(request(tmp_path / "a.onnx"))


def test_inspect_foretells_the_task(tmp_path):
    model, _ = inspect_model(Request(saved(tmp_path, "apart")))
    assert model.varying == {"y": 0, "l": 0, "p": 0}
    (task,) = choose_tasks(model, LabelOptions())
    assert (task.name, task.outputs) == ("detect", ("y", "p", "l"))
    assert ROWS >= 1000
