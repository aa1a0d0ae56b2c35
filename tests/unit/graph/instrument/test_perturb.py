"""Masks, outputs and suffixes, compared with ONNX Runtime and ONNX's reference evaluator."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frivkit.graph.instrument.perturb import perturbed_whole, suffix, with_outputs
from frivkit.graph.model import Model
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from frivkit.runtime import session
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from frivkit.units.selector import UnitSelector
from frivkit_unit_selectors.selectors import LOCATION, MAP
from tests.nets import NETS, examples, network, opened

DEVICE, MEMORY = Device(threads=1), 1 << 28
FOREIGN = "foreign"  # no runtime has its operator
SITELESS = ["weightless", "integer", "flattened first"]
MASKED = [name for name in NETS if name not in (FOREIGN, *SITELESS)]
# What onnx's reference evaluator cannot do; onnxruntime runs these edited copies.
BEYOND_REFERENCE = {
    "transposed": "a ConvTranspose in groups",
    "quantised": "DequantizeLinear before opset 19",
    "local norm node": "LRN of more channels than examples, of which it leaves the rest alone",
}
ROUNDING = {
    "halves": 2e-3,  # float16 has eleven bits, and a suffix begins with rounded numbers
    "quantised": 2e-2,  # fused or not, an entry may be rounded to the next of its 8-bit steps
}


@dataclass
class Case:
    name: str
    model: Model
    found: SiteMap
    inputs: dict[str, np.ndarray]
    plain: np.ndarray

    @property
    def output(self) -> str:
        return self.model.output()

    def path(self, *sites: Site) -> PerturbedModel:
        return PerturbedModel(self.model, sites, self.output, DEVICE, MEMORY)

    def run(self, path: PerturbedModel, mask: Mask, selector: UnitSelector = MAP) -> np.ndarray:
        return path.run(path.prepare(self.inputs), mask, selector)


@pytest.fixture
def unfused(monkeypatch) -> None:
    """Let onnxruntime fuse nothing for speed, which it does otherwise in another graph."""
    monkeypatch.setattr(session.ort, "SessionOptions", _unfused(ort.SessionOptions))


def _unfused(options: Callable[[], ort.SessionOptions]) -> Callable[[], ort.SessionOptions]:
    def make():
        made = options()
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        made.intra_op_num_threads = 1
        made.log_severity_level = 4
        return made

    return make


def case(name: str, path: Path) -> Case:
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), path / "m.onnx", **shape)
    inputs = examples(model, model.batch or 3)
    plain = ran(network(name), model.output(), inputs)
    return Case(name, model, find_sites(model), inputs, plain)


def ran(proto: onnx.ModelProto, output: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    plain = ort.InferenceSession(proto.SerializeToString(), ort.SessionOptions())
    return plain.run([output], inputs)[0]


def ones(*sites: Site, selector: UnitSelector = MAP) -> Mask:
    return Mask({site.name: np.ones(selector.count(site), np.bool_) for site in sites})


def keep_mask(site: Site, unit: int, selector: UnitSelector) -> Mask:
    keep = np.ones(selector.count(site), np.bool_)
    keep[unit] = False
    return Mask({site.name: keep})


def some_units(site: Site, selector: UnitSelector) -> list[int]:
    count = selector.count(site)
    return sorted({0, count // 2, count - 1})


def multiplied(proto: onnx.ModelProto, name: str, factor: np.ndarray) -> onnx.ModelProto:
    """Return a copy in which whoever reads a tensor reads it times a constant."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    at, node = next((i, n) for i, n in enumerate(copy.graph.node) if name in n.output)
    node.output[list(node.output).index(name)] = f"{name} before"
    times = helper.make_node("Mul", [f"{name} before", f"{name} factor"], [name])
    copy.graph.node.insert(at + 1, times)
    copy.graph.initializer.append(numpy_helper.from_array(factor, f"{name} factor"))
    return copy


def edited(case: Case, site: Site, mask: Mask, selector: UnitSelector) -> np.ndarray:
    """Return the output with a site times a constant, by neither our graphs nor our engine."""
    factor = selector.mask(site, mask.keep[site.name])[np.newaxis].astype(case.plain.dtype)
    copy = multiplied(network(case.name), site.name, factor)
    if case.name in BEYOND_REFERENCE:
        return ran(copy, case.output, case.inputs)
    return ReferenceEvaluator(copy).run([case.output], case.inputs)[0]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference as a share of the largest entry (at least 1)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize("name", MASKED)
def test_masks_of_ones_change_no_bit(name, tmp_path):
    made = case(name, tmp_path)
    assert np.isfinite(made.plain.astype(np.float64)).all()
    same = np.testing.assert_array_equal
    same(BaselineModel(made.model, made.output, DEVICE, MEMORY).run(made.inputs), made.plain)
    sites = made.found.sites
    if len(sites) > 1:
        same(made.run(made.path(*sites), ones(*sites)), made.plain)
    if name == "halves":
        same = partial(np.testing.assert_allclose, rtol=0, atol=ROUNDING[name])
    for site in sites:
        same(made.run(made.path(site), ones(site)), made.plain)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_unit_is_a_unit_times_zero(name, tmp_path):
    made = case(name, tmp_path)
    changed = 0
    for site in made.found.sites:
        path = made.path(site)
        entry = path.prepare(made.inputs)
        for selector in (MAP, LOCATION):
            for unit in some_units(site, selector):
                mask = keep_mask(site, unit, selector)
                found = path.run(entry, mask, selector)
                wanted = edited(made, site, mask, selector)
                assert distance(found, wanted) < ROUNDING.get(name, 1e-5), (site.layer, unit)
                changed += distance(wanted, made.plain) > 1e-3
    assert changed  # else the masks might not have been there at all


@pytest.mark.parametrize("name", MASKED)
def test_what_lies_behind_a_site_gives_what_the_whole_gives(name, tmp_path):
    made = case(name, tmp_path)
    sites = made.found.sites
    graph = perturbed_whole(made.model, sites, made.output)
    whole = session.Session(graph.ir, DEVICE)

    def run_whole(mask: Mask, selector: UnitSelector) -> np.ndarray:
        keep = {**ones(*sites, selector=selector).keep, **mask.keep}
        masks = {
            graph.added[site.name][0]: selector.mask(site, keep[site.name])[np.newaxis].astype(
                made.plain.dtype
            )
            for site in sites
        }
        return whole.run({**made.inputs, **masks}, [made.output])[0]

    bound = ROUNDING.get(name, 1e-6)
    assert distance(run_whole(ones(), MAP), made.plain) < bound
    for site in sites:
        path = made.path(site)
        for selector in (MAP, LOCATION):
            mask = keep_mask(site, selector.count(site) // 2, selector)
            found = made.run(path, mask, selector)
            assert distance(found, run_whole(mask, selector)) < bound
        assert distance(made.run(path, ones(site)), made.plain) < bound


@pytest.mark.parametrize("name", [name for name in NETS if name != FOREIGN])
def test_no_graph_is_changed(name, tmp_path):
    made = case(name, tmp_path)
    before = ir.to_proto(made.model.ir).SerializeToString()
    names = [site.name for site in made.found.sites]
    with_outputs(made.model, [*names, made.output])
    perturbed_whole(made.model, made.found.sites, made.output)
    for site in made.found.sites:
        made.run(made.path(site), ones(site))
    assert ir.to_proto(made.model.ir).SerializeToString() == before


@pytest.mark.parametrize("name", MASKED)
def test_entries_of_a_suffix_hold_one_row_an_example(name, tmp_path):
    made = case(name, tmp_path)
    values = {value.name: value for node in made.model.graph for value in node.outputs}
    values |= {value.name: value for value in made.model.graph.inputs}
    for site in made.found.sites:
        path = made.path(site)
        assert site.name in path.prefix
        entry = path.prepare(made.inputs).entry
        assert {len(array) for array in entry.values()} == {made.model.batch or 3}
        assert all(batch_first(values[entered], made.model.batch) for entered in path.prefix)


def test_a_size_read_from_the_input_is_read_again_from_an_entry(tmp_path):
    made = case("sizes first", tmp_path)
    site = made.found.sites[0]
    assert suffix(made.model, site, made.output).inputs == (site.name, "x")


@pytest.mark.parametrize("name", ["cnn of four", "sizes of four"])
def test_the_last_of_a_fixed_batch_may_be_short(name, tmp_path):
    made = case(name, tmp_path)
    site = made.found.sites[0]
    path = made.path(site)
    short = {name: array[:3] for name, array in made.inputs.items()}
    found = path.run(path.prepare(short), ones(site), MAP)
    assert distance(found, made.plain[:3]) < 1e-6


def test_one_mask_may_act_on_several_sites(tmp_path):
    made = case("residual", tmp_path)
    a, *_, b = made.found.sites
    mask = Mask({**keep_mask(a, 1, MAP).keep, **keep_mask(b, 2, MAP).keep})
    factors = {site.name: MAP.mask(site, mask.keep[site.name])[np.newaxis] for site in (a, b)}
    copy = network("residual")
    for name, factor in factors.items():
        copy = multiplied(copy, name, factor.astype(np.float32))
    wanted = ReferenceEvaluator(copy).run([made.output], made.inputs)[0]
    assert distance(made.run(made.path(a, b), mask), wanted) < 1e-5


def test_graphs_with_outputs_lack_what_is_behind_them(tmp_path):
    made = case("two inputs", tmp_path)
    image, row = made.found.sites
    assert with_outputs(made.model, [image.name]).inputs == ("x0",)
    assert with_outputs(made.model, [row.name]).inputs == ("x1",)
    graph = with_outputs(made.model, [row.name])
    assert [node.op_type for node in graph.ir.graph] == ["Gemm", "Tanh"]
    assert graph.outputs == (row.name,)


@pytest.mark.parametrize("name", ["cnn", "residual", "branching", "listed", "constants"])
def test_weights_that_go_by_file_give_the_same(name, tmp_path, monkeypatch):
    made = case(name, tmp_path)
    site = made.found.sites[0]
    inline = made.run(made.path(site), keep_mask(site, 0, MAP))
    monkeypatch.setattr(session, "LARGEST_INLINE", 0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(session.tempfile, "tempdir", str(folder))
    np.testing.assert_array_equal(made.run(made.path(site), keep_mask(site, 0, MAP)), inline)
    assert list(folder.iterdir()) == []
