"""Noise, folds and edited weights against what numpy and onnxruntime alone make of them."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from frivkit.cache import Cache
from frivkit.errors import ModelError
from frivkit.graph.model import constant_tensor
from frivkit.graph.sites.site_map import Site, find_sites
from frivkit.graph.sites.site_weights import weights_of
from frivkit.measure.pipeline import Request, load_model, open_study
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.runtime.perturbed_model import PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from frivkit.units.perturbations import (
    LinearReplacement,
    Noise,
    Perturbation,
    WeightKnockout,
    WeightNoise,
    example_digests,
)
from frivkit_unit_selectors.selectors import MAP
from tests.nets import NETS, examples, network, opened
from tests.program import write_cnn, write_rows

DEVICE, MEMORY = Device(threads=1), 1 << 28
SITELESS = ("foreign", "weightless", "integer", "flattened first")
NAMES = [name for name in NETS if name not in SITELESS]
ROUNDING = {
    "halves": 5e-3,  # float16 has eleven bits
    "quantised": 0.1,  # an entry may be rounded to the next of its 8-bit steps
}
EDITABLE = [name for name in NAMES if name != "quantised"]  # whose weights are computed


class Case:
    """A net, its sites, three examples and a plain onnxruntime."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.proto = name, network(name)
        shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
        self.model = opened(self.proto, folder / "m.onnx", **shape)
        self.found = find_sites(self.model)
        self.inputs = examples(self.model, self.model.batch or 3)
        self.output = self.model.output()

    def perturbed(self, change: Perturbation, *sites: Site) -> np.ndarray:
        path = PerturbedModel(self.model, sites, self.output, DEVICE, MEMORY, kind=type(change))
        return path.run(path.prepare(self.inputs), change, MAP)

    def expected(self, edit: Callable[[Site, np.ndarray], np.ndarray], *sites: Site) -> np.ndarray:
        """Take each site's tensor out, edit it in numpy, and run what reads it, site by site."""
        given: dict[str, np.ndarray] = {}
        for site in sites:
            (value,) = run(with_inputs(self.proto, given), [site.name], {**self.inputs, **given})
            given[site.name] = edit(site, value)
        return run(with_inputs(self.proto, given), [self.output], {**self.inputs, **given})[0]

    def for_budget(self, found: np.ndarray, wanted: np.ndarray) -> bool:
        a, b = found.astype(np.float64), wanted.astype(np.float64)
        return np.abs(a - b).max() <= ROUNDING.get(self.name, 2e-5) * max(1.0, np.abs(b).max())


def with_inputs(proto: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return a copy in which tensors are inputs rather than computed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for name, array in given.items():
        node = next(node for node in copy.graph.node if name in node.output)
        node.output[list(node.output).index(name)] = f"{name} unread"
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        copy.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    return copy


def run(
    proto: onnx.ModelProto, outputs: list[str], inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    known = {value.name for value in copy.graph.output}
    copy.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in {*outputs} - known)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(copy.SerializeToString(), options)
    return session.run(outputs, {i.name: inputs[i.name] for i in session.get_inputs()})


def computed_here(case: Case) -> list[Site]:
    """Return the sites whose tensor a node of the main graph writes (the test can cut there)."""
    written = {name for node in case.proto.graph.node for name in node.output}
    return [site for site in case.found.sites if site.name in written]


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_added_in_standard_deviations_of_each_example(name, tmp_path):
    case = Case(name, tmp_path)
    told = example_digests(case.inputs)
    sites = computed_here(case)

    def noise(*some: Site) -> Noise:
        return Noise({site.name: site.layer for site in some}, level=0.7, seed=3, repeat=1)

    def edit(site: Site, value: np.ndarray) -> np.ndarray:
        wide = value.astype(np.float64)
        spread = wide.reshape(len(wide), -1).std(axis=1).reshape(-1, *[1] * (value.ndim - 1))
        drawn = noise(site).draw(site.name, site.shape, told)
        return (wide + 0.7 * spread * drawn).astype(value.dtype)

    for site in sites:
        assert case.for_budget(case.perturbed(noise(site), site), case.expected(edit, site)), (
            site.layer
        )
    if len(sites) > 1:
        assert case.for_budget(case.perturbed(noise(*sites), *sites), case.expected(edit, *sites))


@pytest.mark.parametrize("name", NAMES)
def test_a_fold_maps_units_alike_at_every_place(name, tmp_path):
    case = Case(name, tmp_path)
    generator = np.random.default_rng(5)
    maps = {
        site.name: (
            generator.normal(size=(site.width, site.width)) / site.width,
            generator.normal(size=site.width),
        )
        for site in case.found.sites
    }

    def edit(site: Site, value: np.ndarray) -> np.ndarray:
        matrix, bias = maps[site.name]
        columns = np.moveaxis(value.astype(np.float64), site.axis, -1)
        return np.moveaxis(columns @ matrix.T + bias, -1, site.axis).astype(value.dtype)

    sites = computed_here(case)
    for site in sites:
        found = case.perturbed(LinearReplacement({site.name: maps[site.name]}), site)
        assert case.for_budget(found, case.expected(edit, site)), site.layer
    if len(sites) > 1:
        fold = LinearReplacement({site.name: maps[site.name] for site in sites})
        assert case.for_budget(case.perturbed(fold, *sites), case.expected(edit, *sites))


@pytest.mark.parametrize("name", ["mlp", "cnn", "residual", "tokens", "channels last"])
def test_a_diagonal_fold_is_a_mask(name, tmp_path):
    case = Case(name, tmp_path)
    for site in case.found.sites:
        keep = np.arange(site.width) % 2 == 0
        fold = LinearReplacement({site.name: (np.diag(keep.astype(float)), np.zeros(site.width))})
        masked = case.perturbed(Mask({site.name: keep}), site)
        assert case.for_budget(case.perturbed(fold, site), masked)


def with_weights(
    proto: onnx.ModelProto, edited: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> onnx.ModelProto:
    """Return a copy with other weights, given with those before, wherever the file keeps them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in edited:
            before, after = edited[tensor.name]
            stored = numpy_helper.to_array(tensor)
            if not np.array_equal(stored, before):  # reading may transpose a weight
                assert np.array_equal(stored, before.T)
                after = np.ascontiguousarray(after.T)
            tensor.CopyFrom(numpy_helper.from_array(after, tensor.name))
    for node in copy.graph.node:
        if node.op_type == "Constant" and node.output[0] in edited:
            del node.attribute[:]
            tensor = numpy_helper.from_array(edited[node.output[0]][1])
            node.attribute.append(helper.make_attribute("value", tensor))
    return copy


@pytest.mark.parametrize("kind", [WeightNoise, WeightKnockout])
@pytest.mark.parametrize("name", EDITABLE)
def test_edited_weights_are_those_of_an_edited_file(name, kind, tmp_path):
    case = Case(name, tmp_path)
    every = list(case.found.sites)
    for sites in [[site] for site in every] + ([every] if len(every) > 1 else []):
        change = kind({site.name: site.layer for site in sites}, level=0.5, seed=1, repeat=0)
        edited: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for site in sites:
            for weight in weights_of(case.model, site):
                before = constant_tensor(weight).numpy()
                after = change.edited(site.name, weight.name, before)
                assert after.shape == before.shape
                assert after.dtype == before.dtype
                edited[weight.name] = before, after
        (wanted,) = run(with_weights(case.proto, edited), [case.output], case.inputs)
        (plain,) = run(case.proto, [case.output], case.inputs)
        assert not case.for_budget(plain, wanted)  # else the edit might not be there at all
        assert case.for_budget(case.perturbed(change, *sites), wanted), [s.layer for s in sites]


def test_knocked_out_weights_are_zero_and_nested():
    weight = np.random.default_rng(0).normal(size=(8, 5, 3, 3)).astype(np.float32)
    levels = [0.0, 0.25, 0.5, 1.0]
    edits = [
        WeightKnockout({"s": "l"}, x, seed=0, repeat=2).edited("s", "w", weight) for x in levels
    ]
    zero = [edit == 0 for edit in edits]
    assert [int(z.sum()) for z in zero] == [0, 90, 180, 360]
    assert all((a <= b).all() for a, b in pairwise(zero))
    assert all((edit[~z] == weight[~z]).all() for edit, z in zip(edits, zero, strict=True))


def test_weight_noise_has_the_level_as_its_share_of_the_spread():
    weight = 3 + 2 * np.random.default_rng(0).normal(size=(200, 500))
    for level in (0.1, 1.0):
        noise = WeightNoise({"s": "l"}, level, seed=0, repeat=0).edited("s", "w", weight) - weight
        assert noise.std() == pytest.approx(level * weight.std(), rel=0.01)
        assert abs(noise.mean()) < 0.02 * level * weight.std()


def test_draws_differ_by_seed_layer_repeat_and_example_and_by_nothing_else():
    told = example_digests({"x": np.array([[1.0], [2.0]])})

    def draw(layer="a", level=1.0, seed=0, repeat=0, examples=told):
        return Noise({"s": layer}, level, seed, repeat).draw("s", (4, 4), examples)

    base = draw()
    assert base.std() == pytest.approx(1, abs=0.3)
    np.testing.assert_array_equal(draw(level=0.2), base)
    np.testing.assert_array_equal(draw(examples=told[::-1]), base[::-1])
    for other in (draw(layer="b"), draw(seed=1), draw(repeat=1)):
        assert not np.isclose(other, base).any()
    assert not np.isclose(base[0], base[1]).any()


def test_example_digests_tell_every_input_apart():
    x, z = np.array([[1.0], [1.0], [2.0]]), np.array([3, 4, 3])
    told = example_digests({"x": x, "z": z})
    assert len(set(told)) == 3
    assert told == example_digests({"z": z, "x": x})
    assert told[::-1] == example_digests({"x": x[::-1], "z": z[::-1]})


@pytest.fixture
def study(tmp_path) -> Study:
    return opened_study(tmp_path)


def opened_study(tmp_path: Path, *, memory: int = 2 << 30, cache: Cache | None = None) -> Study:
    model = write_cnn(tmp_path / "cnn.onnx")
    data = write_rows(tmp_path / "images.npz", 1, 8, 8, n=30)
    return open_study(
        Request(model, data=f"npz:{data}", execution=Execution(memory=memory)), cache=cache
    )[0]


def edits(study: Study, kind: type, count: int) -> list[Perturbation]:
    layers = {site.name: site.layer for site in study.sites}
    return [kind(layers, level, 0, 0) for level in np.linspace(0, 1, count)]


@pytest.mark.parametrize("kind", [Noise, WeightNoise, WeightKnockout])
def test_a_study_gives_the_same_labels_in_little_memory_and_from_the_cache(kind, tmp_path):
    wide = opened_study(tmp_path)
    wanted = wide.perturb(edits(wide, kind, 5))
    assert (wanted[0] == wide.labels()).all()
    assert (wanted[-1] != wide.labels()).any()
    cache = Cache(tmp_path / "cache")
    narrow = opened_study(tmp_path, memory=1, cache=cache)  # one edit, one example at a time
    np.testing.assert_array_equal(narrow.perturb(edits(narrow, kind, 5)), wanted)
    again = opened_study(tmp_path, cache=cache)
    np.testing.assert_array_equal(again.perturb(edits(again, kind, 5)), wanted)
    assert again.reused["ablation runs"] == 4


def test_changes_of_two_kinds_or_places_are_refused(study):
    noise, knockout = edits(study, Noise, 2)[1], edits(study, WeightKnockout, 2)[1]
    with pytest.raises(ValueError, match="one kind"):
        study.perturb([noise, knockout])
    first = study.sites[0]
    with pytest.raises(ValueError, match="same sites"):
        study.perturb([noise, Noise({first.name: first.layer}, 1.0, 0, 0)])


def test_weights_that_are_computed_are_refused(tmp_path):
    case = Case("quantised", tmp_path)
    with pytest.raises(ModelError, match="computed in the graph"):
        weights_of(case.model, case.found.sites[0])


def test_an_identity_is_idle():
    assert LinearReplacement({"s": (np.eye(3), np.zeros(3))}).idle
    assert not LinearReplacement({"s": (np.eye(3), np.ones(3))}).idle
    assert not LinearReplacement({"s": (2 * np.eye(3), np.zeros(3))}).idle


@pytest.mark.parametrize("name", ["frivkit.mask/h", "frivkit-noise/h"])
def test_names_that_perturbations_take_are_refused_in_a_model(name, tmp_path):
    proto = onnx.ModelProto()
    proto.CopyFrom(network("mlp"))
    old = proto.graph.node[0].output[0]
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for i, each in enumerate(names):
                if each == old:
                    names[i] = name
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="rename it"):
        load_model(Request(tmp_path / "m.onnx"))
