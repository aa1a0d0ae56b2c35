"""The study: labels under masks are right, found in few runs, and kept no longer than true."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import frivkit
from frivkit.cache import Cache
from frivkit.errors import ModelError, UsageError
from frivkit.hooks.registry import Plugin, installed
from frivkit.hooks.specs import Offer
from frivkit.measure.pipeline import Request, analyze, open_study
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import UNDEFINED, LabelOptions, labels_of
from frivkit.runtime.session import Session
from frivkit.units.masks import Mask, keep_mask, random_order
from frivkit.units.moments import merged
from frivkit_unit_selectors.selectors import MAP
from tests.handmade import written
from tests.program import CLASSES, write_cnn, write_rows

IMAGE = (1, 8, 8)


@pytest.fixture
def cnn(tmp_path: Path) -> Request:
    """Return a request for a net of two convolutions on 30 images."""
    model = write_cnn(tmp_path / "cnn.onnx")
    data = f"npz:{write_rows(tmp_path / 'images.npz', *IMAGE, n=30)}"
    return Request(model, data=data, execution=Execution(labels=LabelOptions(task="classify")))


def opened(request: Request, cache: Cache | None = None) -> Study:
    return open_study(request, cache=cache)[0]


def masks_of(study: Study, layers: Sequence[str], levels: Sequence[float]) -> list[Mask]:
    """Return a mask of feature maps for each level: the units that go are those of prunability."""
    sites = [site for site in study.sites if site.layer in layers]
    return [
        Mask(
            {
                s.name: keep_mask(random_order(0, s.layer, 0, s.width), round(level * s.width))
                for s in sites
            }
        )
        for level in levels
    ]


def ablated(study: Study, layers: Sequence[str], levels: Sequence[float]) -> NDArray[np.int32]:
    return study.ablate(masks_of(study, layers, levels), study.units("map"))


def by_hand(request: Request, keep: dict[str, NDArray]) -> NDArray[np.int64]:
    """Return the labels of a model that multiplies tensors by constants, whole in one batch."""
    model = onnx.load(request.model)
    for i, (name, factor) in enumerate(keep.items()):
        for node in model.graph.node:
            node.input[:] = [f"masked{i}" if x == name else x for x in node.input]
        model.graph.initializer.append(numpy_helper.from_array(factor, f"factor{i}"))
        at = next(j for j, n in enumerate(model.graph.node) if name in n.output)
        product = helper.make_node("Mul", [name, f"factor{i}"], [f"masked{i}"])
        model.graph.node.insert(at + 1, product)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert request.data is not None
    x = np.load(request.data.removeprefix("npz:"))["x"]
    return session.run(None, {session.get_inputs()[0].name: x})[0].argmax(axis=1)


def of_maps(mask: Mask) -> dict[str, NDArray]:
    return {n: flags.astype(np.float32)[None, :, None, None] for n, flags in mask.keep.items()}


# Labels under masks.


@pytest.mark.parametrize("layers", [["conv1"], ["conv2"], ["conv1", "conv2"]])
def test_labels_under_masks_are_those_of_a_model_with_the_mask_built_in(
    cnn: Request, layers: list[str]
) -> None:
    study = opened(cnn)
    masks = masks_of(study, layers, [0.25, 0.5, 0.75, 1.0])
    found = study.ablate(masks, study.units("map"))
    assert found.shape == (4, 30, 1)
    assert len(np.unique(found)) > 1
    for mask, labels in zip(masks, found, strict=True):
        assert np.array_equal(labels[:, 0], by_hand(cnn, of_maps(mask)))


def test_intact_labels_and_outputs_are_the_model_s(cnn: Request) -> None:
    study = opened(cnn)
    assert np.array_equal(study.labels()[:, 0], by_hand(cnn, {}))
    assert study.outputs().shape == (30, CLASSES)
    assert np.array_equal(study.outputs().argmax(axis=1), study.labels()[:, 0])


def test_no_masks_give_no_labels(cnn: Request) -> None:
    study = opened(cnn)
    assert study.ablate([], study.units("map")).shape == (0, 30, 1)


def test_masks_of_one_call_act_on_the_same_sites(cnn: Request) -> None:
    study = opened(cnn)
    masks = masks_of(study, ["conv1"], [0.5]) + masks_of(study, ["conv2"], [0.5])
    with pytest.raises(ValueError, match="same sites"):
        study.ablate(masks, study.units("map"))


def test_unknown_protocol_is_refused(cnn: Request) -> None:
    with pytest.raises(UsageError, match=r"'papers'.*paper, reference"):
        opened(replace(cnn, protocol="papers"))


# No run more than needed.


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of masks (0 or more) of every session run."""
    seen: list[int] = []
    run = Session.run

    def counting(self, feeds, outputs):
        seen.append(sum(name.startswith("frivkit.mask/") for name in feeds))
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", counting)
    return seen


def test_equal_masks_run_once_and_masks_that_ablate_nothing_never(
    cnn: Request, runs: list[int]
) -> None:
    study = opened(cnn)
    baseline = study.labels()
    runs.clear()
    half, all_ = masks_of(study, ["conv1"], [0.5, 1.0])
    same, none = masks_of(study, ["conv1"], [0.5, 0.0])
    found = study.ablate([none, half, same, none, all_, half], study.units("map"))
    assert runs == [0, 1, 1]  # the entry, then half and all
    assert np.array_equal(found[0], baseline)
    assert np.array_equal(found[3], baseline)
    assert np.array_equal(found[1], found[2])
    assert np.array_equal(found[1], found[5])
    assert np.array_equal(found[4][:, 0], by_hand(cnn, of_maps(all_)))
    runs.clear()
    assert np.array_equal(study.ablate([none, none], study.units("map"))[1], baseline)
    assert runs == []


def test_intact_network_runs_once(cnn: Request, runs: list[int]) -> None:
    study = opened(cnn)
    first = study.labels()
    assert runs == [0]
    assert study.labels() is first
    assert runs == [0]


def test_ablating_everything_at_once_needs_no_entry(cnn: Request, runs: list[int]) -> None:
    study = opened(cnn)
    study.labels()
    runs.clear()
    ablated(study, ["conv1", "conv2"], [0.5, 1.0])
    assert runs == [2, 2]


# The cache.

LEVELS = [0.25, 0.5, 1.0]


def test_second_study_runs_nothing(cnn: Request, tmp_path: Path, runs: list[int]) -> None:
    first = opened(cnn, Cache(tmp_path / "cache"))
    found = ablated(first, ["conv1"], LEVELS)
    assert first.reused == {}
    runs.clear()
    second = opened(cnn, Cache(tmp_path / "cache"))
    assert np.array_equal(ablated(second, ["conv1"], LEVELS), found)
    assert np.array_equal(second.outputs(), first.outputs())
    assert runs == []
    assert second.reused.pop("baseline outputs") >= 1
    assert second.reused == {"ablation runs": 3}


def test_what_one_study_built_itself_is_not_called_reused(cnn: Request, tmp_path: Path) -> None:
    study = opened(cnn, Cache(tmp_path / "cache"))
    for _ in range(2):
        ablated(study, ["conv1"], LEVELS)
        study.outputs()
    assert study.reused == {}


def nudged(request: Request, tmp_path: Path) -> Request:
    model = onnx.load(request.model)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] += 1e-3
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(weight, model.graph.initializer[0].name)
    )
    onnx.save(model, tmp_path / "nudged.onnx")
    return replace(request, model=tmp_path / "nudged.onnx")


def other_data(request: Request, tmp_path: Path) -> Request:
    assert request.data is not None
    x = np.load(request.data.removeprefix("npz:"))["x"].copy()
    x[3, 0, 2, 1] += 1e-3
    np.savez(tmp_path / "other.npz", x=x)
    return replace(request, data=f"npz:{tmp_path / 'other.npz'}")


def fewer(request: Request, tmp_path: Path) -> Request:
    del tmp_path
    return replace(request, examples=29)


def scaled(request: Request, tmp_path: Path) -> Request:
    del tmp_path
    return replace(request, data=f"{request.data}?scale=2")


@pytest.mark.parametrize("change", [nudged, other_data, fewer, scaled])
def test_nothing_is_reused_after_a_change_of_what_is_run(
    cnn: Request, tmp_path: Path, change: Callable[[Request, Path], Request]
) -> None:
    cache = tmp_path / "cache"
    ablated(opened(cnn, Cache(cache)), ["conv1"], LEVELS)
    changed = opened(change(cnn, tmp_path), Cache(cache))
    found = ablated(changed, ["conv1"], LEVELS)
    assert changed.reused == {}
    assert np.array_equal(found, ablated(opened(change(cnn, tmp_path)), ["conv1"], LEVELS))


def test_nothing_is_reused_after_a_change_of_frivkit(
    cnn: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablated(opened(cnn, Cache(tmp_path / "cache")), ["conv1"], LEVELS)
    monkeypatch.setattr(frivkit, "__version__", f"{frivkit.__version__}.post1")
    later = opened(cnn, Cache(tmp_path / "cache"))
    ablated(later, ["conv1"], LEVELS)
    assert later.reused == {}


def test_outputs_of_one_model_are_kept_apart(tmp_path: Path) -> None:
    model = written(
        """g (float[N, 8] x) => (float[N, 4] first, float[N, 4] second) {
          layer = Gemm (x, v)
          u = Relu (layer)
          first = Gemm (u, w)
          second = Neg (first)
        }""",
        v=(8, 16),
        w=(16, 4),
    )
    onnx.save(model, tmp_path / "two.onnx")
    rows = write_rows(tmp_path / "x.npz")
    request = Request(tmp_path / "two.onnx", data=f"npz:{rows}", layers=("layer",))
    cache = Cache(tmp_path / "cache")
    first = opened(request, cache)
    second = opened(replace(request, output="second"), cache)
    assert np.array_equal(first.outputs(), -second.outputs())
    assert not np.array_equal(ablated(first, ["layer"], LEVELS), ablated(second, ["layer"], LEVELS))
    assert second.reused == {}


def test_kept_entries_give_the_same_labels(
    cnn: Request, tmp_path: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = opened(cnn)
    expected = ablated(plain, ["conv2"], LEVELS)
    monkeypatch.setattr("frivkit.measure.compared_runs.WORTH_KEEPING", 0)
    cache = Cache(tmp_path / "cache")
    study = opened(cnn, cache)
    assert np.array_equal(ablated(study, ["conv2"], LEVELS[:1]), expected[:1])
    assert "entries" in [stored.fields["what"] for stored in cache.entries()]
    runs.clear()
    assert np.array_equal(ablated(study, ["conv2"], LEVELS[1:]), expected[1:])
    assert runs == [1, 1]  # the masks, without what lies before them
    assert study.reused == {}
    again = opened(cnn, cache)
    assert np.array_equal(ablated(again, ["conv2"], [0.75]), ablated(plain, ["conv2"], [0.75]))
    assert again.reused["entry activations"] == 1


def test_what_fills_the_cache_for_one_metric_is_not_kept(
    cnn: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frivkit.measure.compared_runs.WORTH_KEEPING", 0)
    cache = Cache(tmp_path / "cache", limit=32 * 2000)
    study, plain = opened(cnn, cache), opened(cnn)
    for found, due in zip(study.moments(MAP), plain.moments(MAP), strict=True):
        assert np.array_equal(merged(found[1]).gram, merged(due[1]).gram)
    assert np.array_equal(ablated(study, ["conv2"], LEVELS), ablated(plain, ["conv2"], LEVELS))
    assert np.array_equal(study.outputs(), plain.outputs())
    kinds = [stored.fields["what"] for stored in cache.entries()]
    assert "moments" not in kinds
    assert "entries" not in kinds
    again = opened(cnn, cache)
    assert np.array_equal(again.outputs(), plain.outputs())  # too large, and computed again
    assert np.array_equal(again.labels(), plain.labels())


def test_analysis_is_the_same_however_much_is_kept(
    cnn: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = analyze(cnn).measurements
    results = analyze(cnn, cache=Cache(tmp_path / "a")).measurements
    monkeypatch.setattr("frivkit.measure.compared_runs.WORTH_KEEPING", 0)
    everything = analyze(cnn, cache=Cache(tmp_path / "b")).measurements
    again = analyze(cnn, cache=Cache(tmp_path / "b")).measurements
    assert nothing == results == everything == again


# Batches.


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("keeping", [0, 100])
def test_fixed_batch_gives_what_a_free_one_gives(
    cnn: Request, tmp_path: Path, batch: int, keeping: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frivkit.measure.compared_runs.WORTH_KEEPING", keeping)
    fixed = replace(cnn, model=write_cnn(tmp_path / "fixed.onnx", batch=batch), examples=29)
    found = analyze(fixed, cache=Cache(tmp_path / "cache"))
    expected = analyze(replace(cnn, examples=29))
    assert found.measurements == expected.measurements
    assert found.study.examples == 29
    assert np.allclose(found.study.outputs(), expected.study.outputs(), atol=1e-6)


def test_smallest_memory_runs_one_by_one_and_gives_the_same(cnn: Request, runs: list[int]) -> None:
    small = analyze(replace(cnn, execution=replace(cnn.execution, memory=1)))
    one_by_one = len(runs)
    runs.clear()
    large = analyze(cnn)
    assert one_by_one >= 30 * len(runs)  # more, since no stage in front of a layer is kept
    assert small.measurements == large.measurements


# What a network says about an example.


def write_head(path: Path, head: str, out: str = "float[N, 1] y") -> Request:
    """Write a net of one hidden layer whose single number z goes through ``head``."""
    model = written(
        f"""g (float[N, 8] x) => ({out}) {{
          layer = Gemm (x, v)
          u = Relu (layer)
          z = Gemm (u, w)
          {head}
        }}""",
        v=(8, 16),
        w=(16, 1),
        all_=np.array([-1], np.int64),
    )
    onnx.save(model, path)
    return Request(path, data=f"npz:{write_rows(path.with_suffix('.npz'))}")


@pytest.mark.parametrize(
    ("head", "out"),
    [
        ("y = Identity (z)", "float[N, 1] y"),
        ("y = Sigmoid (z)", "float[N, 1] y"),
        ("s = Sigmoid (z) y = Reshape (s, all_)", "float[N] y"),
        ("s = Sigmoid (z) t = Cast <to = 11> (s) y = Flatten (t)", "double[N, 1] y"),
        ("y = HardSigmoid (z)", "float[N, 1] y"),
        ("y = Reshape (z, all_)", "float[N] y"),
    ],
)
def test_one_number_an_example_tells_two_classes(tmp_path: Path, head: str, out: str) -> None:
    plain = opened(write_head(tmp_path / "plain.onnx", "y = Identity (z)"))
    expected = (plain.outputs()[:, 0] > 0).astype(np.int32)
    assert 0.1 < expected.mean() < 0.9
    study = opened(write_head(tmp_path / "net.onnx", head, out))
    assert study.labels().shape == (200, 1)
    assert np.array_equal(study.labels()[:, 0], expected)
    assert np.array_equal(ablated(study, ["layer"], LEVELS), ablated(plain, ["layer"], LEVELS))


def test_every_pixel_has_a_label(tmp_path: Path) -> None:
    text = """g (float[N, 1, 6, 5] x) => (float[N, 3, 6, 5] y) {
      conv = Conv <pads = [1, 1, 1, 1]> (x, v)
      u = Relu (conv)
      y = Conv (u, w)
    }"""
    onnx.save(written(text, v=(8, 1, 3, 3), w=(3, 8, 1, 1)), tmp_path / "pixels.onnx")
    rows = write_rows(tmp_path / "x.npz", 1, 6, 5, n=20)
    request = Request(tmp_path / "pixels.onnx", data=f"npz:{rows}")
    analysis = analyze(request)
    assert analysis.study.labels().shape == (20, 30)
    assert analysis.accuracy is None
    study = opened(request)
    (mask,) = masks_of(study, ["conv"], [0.5])
    found = study.ablate([mask], study.units("map"))[0]
    assert np.array_equal(found.reshape(20, 6, 5), by_hand(request, of_maps(mask)))
    # The curve is the mean share of pixels.
    (curve, *_) = analysis.measurements[-1].detail["unchanged"]
    assert curve[0] == 1.0
    assert 0 < curve[-1] < 1


def test_labels_that_a_network_gives_itself_are_taken_as_they_are(tmp_path: Path) -> None:
    text = """g (float[N, 1, 6, 5] x) => (int64[N, 6, 5] y) {
      conv = Conv <pads = [1, 1, 1, 1]> (x, v)
      u = Relu (conv)
      z = Conv (u, w)
      y = ArgMax <axis = 1, keepdims = 0> (z)
    }"""
    onnx.save(written(text, v=(8, 1, 3, 3), w=(3, 8, 1, 1)), tmp_path / "argmax.onnx")
    rows = write_rows(tmp_path / "x.npz", 1, 6, 5, n=20)
    study = opened(Request(tmp_path / "argmax.onnx", data=f"npz:{rows}"))
    assert study.labels().shape == (20, 30)
    assert np.array_equal(study.labels(), study.outputs().reshape(20, 30))
    assert set(np.unique(study.labels())) == {0, 1, 2}


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ([[1.0, 3.0, 2.0], [5.0, 5.0, 1.0]], [[1], [0]]),
        ([[np.nan, 3.0], [np.inf, 1.0]], [[UNDEFINED], [0]]),
        ([0.5, -0.5, np.nan], [[1], [0], [UNDEFINED]]),
        (np.array([7, -1, 3]), [[7], [-2], [3]]),  # -1 is a class here, and not NaN
        (np.array([[True], [False]]), [[1], [0]]),
        (np.array([[3, 9], [8, 2]], np.uint8), [[1], [0]]),  # quantised logits
        (np.array([[3, 9], [8, 2]], np.float16), [[1], [0]]),
    ],
)
def test_labels_of_outputs(outputs: object, labels: list[list[int]]) -> None:
    found = labels_of(np.asarray(outputs))
    assert found.dtype == np.int32
    assert found.tolist() == labels


@pytest.mark.parametrize("outputs", [np.array(["cat", "dog"], dtype=object), np.empty((2, 0))])
def test_outputs_that_tell_nothing_are_refused(outputs: NDArray) -> None:
    with pytest.raises(ModelError, match="--output-name"):
        labels_of(outputs)


def test_ablated_network_that_gives_nan_has_changed(tmp_path: Path) -> None:
    # 0 / 0 once the only unit is gone.
    text = """g (float[N, 8] x) => (float[N, 2] y) {
      layer = Gemm (x, v, b)
      u = Relu (layer)
      z = Gemm (u, w)
      total = ReduceSum <keepdims = 1> (u, axis)
      y = Div (z, total)
    }"""
    model = written(
        text,
        v=np.full((8, 1), 0.01, np.float32),
        b=np.array([9.0], np.float32),
        w=np.array([[1.0, 2.0]], np.float32),
        axis=np.array([1], np.int64),
    )
    onnx.save(model, tmp_path / "net.onnx")
    request = Request(tmp_path / "net.onnx", data=f"npz:{write_rows(tmp_path / 'x.npz')}")
    study = opened(request)
    assert (study.labels() == 1).all()
    assert (ablated(study, ["layer"], [1.0]) == UNDEFINED).all()
    analysis = analyze(request)
    assert analysis.measurements[-1].detail["unchanged"] == [[1.0, 0.0]] * 3
    assert any("NaN" in warning for warning in analysis.study.warnings)


# Third parties.


class Row:
    """Each row of each map is a unit."""

    name = "row"

    def count(self, site):
        return site.width * site.spatial[0]

    def mask(self, site, keep):
        return keep.reshape(site.width, site.spatial[0], 1)

    def rows(self, site, activations):
        return np.moveaxis(activations, 3, 1).reshape(-1, self.count(site))

    def axes(self, site):
        del site
        return (1, 2)


class Column(Row):
    """Each column of each map is a unit: as many as there are rows in a square."""

    name = "column"

    def mask(self, site, keep):
        return keep.reshape(site.width, 1, site.spatial[1])


@pytest.fixture
def thirdparty(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Install a plugin that offers the unit selectors ``row`` and ``column``."""
    module = ModuleType("thirdparty_lines")
    vars(module).update(ROW=Row(), COLUMN=Column())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    offers = tuple(
        Offer(name, f"{module.__name__}:{name.upper()}", f"a {name} of a map is a unit")
        for name in ("row", "column")
    )
    plugin = Plugin(module.__name__, "lines", "1.0", {"unit_selectors": offers})
    monkeypatch.setattr(installed(), "plugins", [*installed().plugins, plugin])
    return module


def test_third_party_s_units_are_ablated_as_units(cnn: Request, thirdparty: ModuleType) -> None:
    request = replace(cnn, units="row")
    study = opened(request)
    assert study.units("location") is thirdparty.ROW
    (site,) = (site for site in study.sites if site.layer == "conv1")
    keep = np.random.default_rng(5).random(8 * 8) < 0.5
    found = study.ablate([Mask({site.name: keep})], thirdparty.ROW)
    factor = np.broadcast_to(keep.reshape(8, 8, 1), (8, 8, 8)).astype(np.float32)
    assert np.array_equal(found[0, :, 0], by_hand(cnn, {site.name: factor[np.newaxis]}))
    measured = analyze(request).measurements
    assert [m.units for m in measured] == ["row"] * 3
    assert [m.detail["units"] for m in measured] == [128, 64, 64]


def test_equal_flags_of_other_units_are_other_results(
    cnn: Request, thirdparty: ModuleType, tmp_path: Path
) -> None:
    del thirdparty
    cache = Cache(tmp_path / "cache")
    rows = analyze(replace(cnn, units="row"), cache=cache)
    columns = analyze(replace(cnn, units="column"), cache=cache)
    assert columns.study.reused == {"baseline outputs": 1}
    assert [m.detail["unchanged"] for m in rows.measurements] != [
        m.detail["unchanged"] for m in columns.measurements
    ]
    assert columns.measurements == analyze(replace(cnn, units="column")).measurements


@pytest.mark.parametrize("joins", ["beside", "behind"])
def test_input_that_does_not_lead_to_a_layer_is_no_obstacle(tmp_path: Path, joins: str) -> None:
    """A second input may serve another output, or come in behind the layer."""
    generator = np.random.default_rng(2)
    into, out = generator.normal(size=(4, 6)), generator.normal(size=(6, 3))
    head = [
        helper.make_node("MatMul", ["x", "into"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r"]),
        helper.make_node("MatMul", ["r", "out"], ["scores"]),
        helper.make_node("Add", ["scores", "z"], ["both"]),
    ]
    scores = "both" if joins == "behind" else "scores"
    names = dict.fromkeys([scores, "both"])
    graph = helper.make_graph(
        head,
        "two",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4]),
            helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3]),
        ],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 3]) for n in names],
        [
            numpy_helper.from_array(into.astype(np.float32), "into"),
            numpy_helper.from_array(out.astype(np.float32), "out"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx")
    x, z = generator.normal(size=(40, 4)), generator.normal(size=(40, 3))
    np.savez(tmp_path / "two.npz", x=x.astype(np.float32), z=z.astype(np.float32))
    study = opened(Request(tmp_path / "two.onnx", data=f"npz:{tmp_path / 'two.npz'}"))
    (site,) = study.sites
    keep = np.array([True, False, True, True, False, True])
    found = study.ablate([Mask({site.name: keep})], study.units("map"))[0, :, 0]
    by_hand = (np.maximum(x @ into, 0) * keep) @ out + (z if joins == "behind" else 0)
    assert found.tolist() == by_hand.argmax(axis=1).tolist()


def test_results_of_many_changes_take_half_of_memory_at_most(cnn: Request) -> None:
    study = opened(cnn)
    for memory in (64 << 20, 1 << 30):
        study.execution = replace(study.execution, memory=memory)
        kept = (16 + 9) * study.examples  # labels of 4 bytes take less
        assert study.changes_at_once == memory // 2 // kept
