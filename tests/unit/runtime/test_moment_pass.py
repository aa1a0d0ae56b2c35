"""Sums taken inside the runtime, against numpy on activations of ONNX's own reference."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from frivkit.data import Dataset, open_data
from frivkit.graph.instrument.gram_outputs import with_grams
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites
from frivkit.runtime.execution import Execution
from frivkit.runtime.moment_pass import accumulate_moments
from frivkit.runtime.session import Device
from frivkit.units.moments import Moments, merged
from frivkit_unit_selectors.selectors import LOCATION, MAP
from tests.handmade import written
from tests.nets import NETS, conv, examples, exported, head, mlp, network, opened, tokens

DEVICE = Device(threads=1)
COUNT = 10


def small_cnn() -> nn.Module:
    """One layer with more places than units, one with fewer."""
    return nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(4), conv(4, 6, 1), nn.Tanh(), head(6))


MODELS = {
    "conv of opset 9": lambda: exported(small_cnn(), (3, 8, 8), opset=9),
    "conv of opset 11": lambda: exported(small_cnn(), (3, 8, 8), opset=11),
    "conv of opset 13": lambda: exported(small_cnn(), (3, 8, 8), opset=13),
    "conv of opset 17": lambda: exported(small_cnn(), (3, 8, 8)),
    "conv of one": lambda: exported(small_cnn(), (3, 8, 8), batch=1),
    "conv of four": lambda: exported(small_cnn(), (3, 8, 8), batch=4),
    "dense": NETS["mlp"],
    "dense of opset 9": lambda: exported(mlp(), (6,), opset=9),
    "tokens": lambda: exported(tokens(), (5, 6)),
    "tokens of four": lambda: exported(tokens(), (5, 6), batch=4),
    "residual": NETS["residual"],
    "weights as inputs": NETS["cnn with weights as inputs"],
    "three dimensions": NETS["volume"],
}


def stored(model: Model, folder: Path, **more: object) -> Dataset:
    inputs = examples(model, COUNT)
    np.savez(folder / "d.npz", x=next(iter(inputs.values())), **more)
    return open_data(f"npz:{folder / 'd.npz'}", model.inputs)


def reference(proto: onnx.ModelProto, model: Model, data: Dataset) -> dict[str, np.ndarray]:
    """Return the activations of all sites; where the batch is fixed, fill it up with zeros."""
    names = [site.name for site in find_sites(model).sites]
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in known
    )
    evaluator = ReferenceEvaluator(proto)
    size = model.batch or COUNT
    parts = []
    for first in range(0, COUNT, size):
        inputs = data.read(first, min(first + size, COUNT)).inputs
        given = len(next(iter(inputs.values())))
        full = {
            name: np.concatenate([x, np.zeros((size - given, *x.shape[1:]), x.dtype)])
            for name, x in inputs.items()
        }
        parts.append([array[:given] for array in evaluator.run(names, full)])
    return {
        name: np.concatenate(arrays).astype(np.float64)
        for name, *arrays in zip(names, *parts, strict=True)
    }


@pytest.mark.parametrize("exact", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("selector", [MAP, LOCATION], ids=["map", "location"])
@pytest.mark.parametrize("name", MODELS)
def test_sums_are_those_of_numpy_on_reference_activations(tmp_path, name, selector, exact):
    proto = MODELS[name]()
    model = opened(proto, tmp_path / "m.onnx")
    data = stored(model, tmp_path)
    activations = reference(proto, model, data)
    sites = find_sites(model).sites
    found = accumulate_moments(
        model, sites, selector, data, Execution(memory=1 << 26, threads=1), groups=3, exact=exact,
    )  # fmt: skip
    for site in sites:
        rows = activations[site.name]
        if selector is MAP:
            rows = np.moveaxis(rows, site.axis, -1).reshape(-1, site.width)
        else:
            rows = rows.reshape(COUNT, -1)
        whole = merged(found[site.name])
        assert whole.count == len(rows)
        np.testing.assert_allclose(whole.mean, rows.mean(axis=0), atol=1e-5)
        expected = np.cov(rows.T, ddof=0).reshape(whole.units, whole.units)
        np.testing.assert_allclose(whole.covariance, expected, atol=1e-5 * expected.max())


def test_float16_activations_are_summed_in_float32(tmp_path):
    model = opened(NETS["halves"](), tmp_path / "m.onnx")
    data = stored(model, tmp_path)
    (site, *_) = find_sites(model).sites
    rows = reference(NETS["halves"](), model, data)[site.name]
    rows = np.moveaxis(rows, site.axis, -1).reshape(-1, site.width)
    found = accumulate_moments(
        model, [site], MAP, data, Execution(memory=1 << 26, threads=1), groups=1, exact=False
    )[site.name][0]
    assert found.gram.dtype == np.float64
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, ddof=0), atol=5e-3)


@pytest.mark.parametrize("name", ["conv of opset 9", "conv of opset 17", "tokens"])
@pytest.mark.parametrize("exact", [False, True], ids=["float32", "float64"])
def test_graph_with_sums_is_valid_and_gives_the_shifted_gram(tmp_path, name, exact):
    model = opened(MODELS[name](), tmp_path / "m.onnx")
    data = stored(model, tmp_path)
    sites = find_sites(model).sites
    axes = {site.name: MAP.axes(site) for site in sites}
    graph = with_grams(model, sites, axes, exact=exact)
    proto = onnx.ModelProto.FromString(ir.to_proto(graph.ir).SerializeToString())
    onnx.checker.check_model(proto)
    dtype = np.float64 if exact else np.float32
    shifts = {site.name: np.full((1, site.width, 1), 0.5, dtype) for site in sites}
    feeds = dict(data.read(0, COUNT).inputs) | {graph.shifts[n]: s for n, s in shifts.items()}
    activations = reference(MODELS[name](), model, data)
    for site in sites:
        wanted = [graph.grams[site.name], graph.totals[site.name]]
        gram, total = ReferenceEvaluator(proto).run(wanted, feeds)
        rows = np.moveaxis(activations[site.name], site.axis, -1).reshape(-1, site.width)
        expected = Moments.of(rows, np.full(site.width, 0.5))
        np.testing.assert_allclose(gram, expected.gram, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(total, expected.total, rtol=1e-4, atol=1e-4)


def identity(units: int) -> onnx.ModelProto:
    return written(
        f"""g (float[N, {units}] x) => (float[N, 2] y) {{
          s = MatMul (x, w)
          u = Relu (s)
          y = MatMul (u, v)
        }}""",
        w=np.eye(units, dtype=np.float32),
        v=(units, 2),
    )


@pytest.mark.parametrize("ratio", [0, 10, 100, 1000])
def test_precision_holds_whatever_the_mean(tmp_path, ratio):
    units, rows = 12, 6000
    generator = np.random.default_rng(ratio)
    x = (generator.normal(size=(rows, units)) @ generator.normal(size=(units, units))) / 4
    x = (x + ratio * x.std()).astype(np.float32)
    model = opened(identity(units), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=x)
    data = open_data(f"npz:{tmp_path / 'd.npz'}", model.inputs)
    sites = find_sites(model).sites
    assert [site.name for site in sites] == ["u"]
    truth = np.cov(np.maximum(x, 0).astype(np.float64).T, ddof=0)
    scale = np.linalg.eigvalsh(truth)[-1]
    for exact, bound in ((False, 1e-6), (True, 1e-11)):
        found = accumulate_moments(
            model, sites, MAP, data, Execution(memory=1 << 28, threads=1), groups=10, exact=exact,
        )["u"]  # fmt: skip
        assert len(found) == 10
        assert np.abs(merged(found).covariance - truth).max() <= bound * scale


def test_groups_are_runs_of_consecutive_examples(tmp_path):
    model = opened(identity(3), tmp_path / "m.onnx")
    x = np.arange(300, dtype=np.float32).reshape(100, 3)
    np.savez(tmp_path / "d.npz", x=x)
    data = open_data(f"npz:{tmp_path / 'd.npz'}", model.inputs)
    parts = accumulate_moments(
        model, find_sites(model).sites, MAP, data, Execution(memory=1 << 26, threads=1),
        groups=4, exact=True,
    )["u"]  # fmt: skip
    assert len(parts) == 4
    ends = np.cumsum([part.count for part in parts])
    assert ends[-1] == 100
    for part, rows in zip(parts, np.split(x, ends[:-1]), strict=True):
        np.testing.assert_allclose(part.mean, rows.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("exact", [False, True], ids=["float32", "float64"])
def test_threads_change_no_bit(tmp_path, exact):
    model = opened(network("cnn"), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(150, *model.inputs[0].shape)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    data = open_data(f"npz:{tmp_path / 'd.npz'}", model.inputs)
    sites = find_sites(model).sites
    one, several = (
        accumulate_moments(
            model, sites, MAP, data, Execution(memory=1 << 28, threads=threads),
            groups=9, exact=exact,
        )
        for threads in (1, 3)
    )  # fmt: skip
    for site in sites:
        assert len(one[site.name]) == len(several[site.name]) == 9
        for a, b in zip(one[site.name], several[site.name], strict=True):
            assert (a.count, a.gram.tobytes()) == (b.count, b.gram.tobytes())
            assert a.total.tobytes() == b.total.tobytes()
