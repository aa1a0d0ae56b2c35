"""Operators that a third party adds are analysed, and units are removed through them."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import frivkit
from frivkit.compression.allocation import Allocator
from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compression, compress
from frivkit.compression.ledger import Ledger
from frivkit.compression.method import Method
from frivkit.compression.moves import Moves
from frivkit.compression.plan import amount, apply_plan
from frivkit.compression.ranking import Ranking
from frivkit.errors import ModelError
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.sites.site_weights import weights_of
from frivkit.hooks.registry import Plugin, Registry, installed
from frivkit.measure.pipeline import Request, analyze, inspect_model
from frivkit.plugin import Consumed, Layout, Operator, Weights
from frivkit.provenance import Clock
from frivkit.report.compression import compression_document
from frivkit.runtime.execution import Execution
from frivkit.runtime.session import Device, Session
from frivkit.testing.conformance import OperatorExample, check_operator_rules
from tests.handmade import written
from tests.planning import ANY_WIDTH

PLUGIN = Path(__file__).parents[1] / "data/thirdparty/frivkit-operators"
CDIST = 'com.microsoft.CDist <metric = "sqeuclidean">'
EXECUTION = Execution(threads=1)
BUDGET = Budget("units", 0.5)
CENTRES = 12
TOKENS, WIDTH = 8, 6
"""Units in front of the running sum, and inputs of each token."""


@pytest.fixture(scope="module")
def plugin() -> Iterator[Plugin]:
    """Add the plugin to the registry, as if it were installed."""
    registry = installed()  # the environment as it is, before the plugin can be found
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        (distribution,) = distributions(path=[str(PLUGIN)])
        (added,) = Registry(distribution.entry_points).plugins
        assert added.error is None
        patch.setattr(registry, "plugins", [*registry.plugins, added])
        yield added


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("operators")


@pytest.fixture(scope="module")
def file(folder) -> Path:
    """Write a network with a running sum over tokens, and radial basis functions beside it."""
    proto = written(
        f"""g (float[N, 4, {WIDTH}] x) => (float[N, 3] y) {{
          a = MatMul (x, wa)
          r = Relu (a)
          c = CumSum (r, along)
          m = ReduceMean <axes = [1], keepdims = 0> (c)
          left = MatMul (m, wb)
          p = ReduceMean <axes = [1], keepdims = 0> (x)
          d = {CDIST} (p, centres)
          s = Mul (d, minus)
          k = Exp (s)
          right = MatMul (k, wc)
          y = Add (left, right)
        }}""",
        domains=("com.microsoft",),
        wa=(WIDTH, TOKENS),
        along=np.array(1, np.int64),
        wb=(TOKENS, 3),
        centres=(CENTRES, WIDTH),
        minus=np.float32(-1),
        wc=(CENTRES, 3),
    )
    onnx.save(proto, folder / "net.onnx")
    return folder / "net.onnx"


@pytest.fixture(scope="module")
def data(folder) -> Path:
    x = np.random.default_rng(0).standard_normal((200, 4, WIDTH)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return folder / "x.npz"


@pytest.fixture(scope="module")
def done(plugin, file, data, folder) -> Compression:
    """Remove half of the units of each layer."""
    request = Request(file, data=f"npz:{data}", execution=EXECUTION)
    method = Method("select", "norm", refit="none", allocation="uniform")
    return compress(request, folder / "thin.onnx", BUDGET, method=method, constraints=ANY_WIDTH)


def zeroed(file: Path, flags: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the network with 0 in the rows of weights that read units which are removed."""
    proto = onnx.load(file)
    for tensor in proto.graph.initializer:
        if tensor.name in flags:
            rows = numpy_helper.to_array(tensor) * flags[tensor.name][:, None]
            tensor.CopyFrom(numpy_helper.from_array(rows.astype(np.float32), tensor.name))
    return proto


def outputs(file: Path, data: Path) -> np.ndarray:
    return Session(file, Device(threads=1)).run({"x": np.load(data)["x"]}, ["y"])[0]


def test_rules_hold_for_what_the_operators_compute(plugin):
    centres = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    domains = {"com.microsoft": 1}
    examples = {
        "CumSum": [OperatorExample("y = CumSum (x, a)", {"x": (4, 5)}, {"a": np.array(1)})],
        "CDist": [
            OperatorExample(f"y = {CDIST} (x, c)", {"x": (4,)}, {"c": centres}, domains=domains)
        ],
    }
    for name in ("running-sums", "distances"):
        assert check_operator_rules(installed().load("operator_rules", name), examples)


def test_without_the_plugin_distances_are_no_layer(plugin, file, monkeypatch):
    others = [each for each in installed().plugins if each is not plugin]
    monkeypatch.setattr(installed(), "plugins", others)
    _, site_map = inspect_model(Request(file, execution=EXECUTION))
    assert [site.layer for site in site_map.sites] == ["a"]


def test_sites_and_costs_are_those_of_the_plugin(plugin, file):
    model, site_map = inspect_model(Request(file, execution=EXECUTION))
    sites = {site.layer: site for site in site_map.sites}
    assert {layer: site.width for layer, site in sites.items()} == {
        "a": TOKENS,
        "d": CENTRES,
    }
    assert sites["a"].consumers == ("left/MatMul",)
    assert sites["d"].consumers == ("right/MatMul",)
    assert not any(site.not_followed for site in sites.values())
    assert site_map.weights[sites["d"].name].macs == CENTRES * WIDTH
    opened = frivkit.load(file)
    assert set(opened.operators) == set(model.operators) == {"CumSum", "CDist"}


def test_layers_behind_the_operators_are_measured(plugin, file, data):
    request = Request(file, data=f"npz:{data}", execution=EXECUTION)
    found = analyze(request, ("redundancy",))
    layers = {m.layer: m.value for m in found.measurements if m.scope == "layer"}
    assert set(layers) == {"a", "d"}
    assert all(0 <= value < 1 for value in layers.values())


def test_units_are_removed_and_outputs_are_those_of_zeroed_units(done, file, data, tmp_path):
    keep = {site.layer: done.plan.keep[site.name] for site in done.calibration.site_map.sites}
    tokens, centres = keep["a"], keep["d"]
    assert 0 < tokens.sum() < TOKENS
    assert 0 < centres.sum() < CENTRES
    shapes = {tensor.name: list(tensor.dims) for tensor in onnx.load(done.path).graph.initializer}
    assert shapes["wa"] == [WIDTH, tokens.sum()]
    assert shapes["centres"] == [centres.sum(), WIDTH]
    onnx.save(zeroed(file, {"wb": tokens, "wc": centres}), tmp_path / "zeroed.onnx")
    expected = outputs(tmp_path / "zeroed.onnx", data)
    np.testing.assert_allclose(outputs(done.path, data), expected, atol=1e-5)
    assert not np.allclose(outputs(file, data), expected, atol=1e-3)


def test_multiply_accumulates_of_the_plugin_count_in_budgets_and_documents(done, file, data):
    request = Request(file, data=f"npz:{data}", execution=EXECUTION)
    before = 4 * WIDTH * TOKENS + 3 * TOKENS + CENTRES * (WIDTH + 3)
    assert amount(done.calibration.model.ir, done.calibration, "macs", None) == before
    after = amount(apply_plan(done.calibration, done.plan), done.calibration, "macs", None)
    document = compression_document(done, request, Clock.start())
    assert (document["original"]["macs"], document["thin"]["macs"]) == (before, after)


def test_verification_traces_units_of_the_compressed_model(done):
    widths = {site.layer: site.width for site in done.verification.compressed.site_map.sites}
    assert set(widths) == {"a", "d"}
    assert sum(widths.values()) == (TOKENS + CENTRES) // 2


def test_multiply_accumulates_of_the_plugin_count_in_the_order_of_removal(done):
    """A centre saves 9, of which the plugin's operator 6; a unit of ``a`` saves 27."""
    graph, sites = done.calibration.pruning_graph, done.calibration.site_map.sites
    tokens, centres = (
        Ranking((site.name,), graph.groups.of[site.name][:3], error * np.arange(1.0, 4.0))
        for layer, error in (("a", 4.0), ("d", 1.0))
        for site in sites
        if site.layer == layer
    )
    moves = Moves(units=(tokens, centres))
    path = Allocator(done.calibration, moves, constraints=ANY_WIDTH).path("macs")
    assert path.states[0] == (0, 0)
    assert path.states[-1] == (3, 3)
    assert all(of_centres == 3 for of_tokens, of_centres in path.states if of_tokens)  # 1/9 < 4/27
    assert path.costs[0] - path.costs[-1] == 3 * 27 + 3 * 9


def test_weights_in_attributes_are_no_obstacle():
    """A linear regressor has its weights as attributes, and no second input."""
    numbers = ", ".join(map(str, np.linspace(-1, 1, 18)))
    text = f"""g (float[N, 6] x) => (float[N, 2] y) <float[N, 3] a, float[N, 3] r> {{
      a = ai.onnx.ml.LinearRegressor <coefficients = [{numbers}], targets = 3> (x)
      r = Relu (a)
      y = MatMul (r, w)
    }}"""
    produced = Layout.of(axis=1, width=3)
    regressor = Operator(
        lambda node, index, layout: Consumed(),
        mixes=True,
        weights=Weights(lambda node: produced, lambda node: 18),
    )
    loaded = frivkit.load(written(text, domains=("ai.onnx.ml",), w=(3, 2)))
    model = replace(loaded, operators={"ai.onnx.ml.LinearRegressor": regressor})
    site_map = find_sites(model)
    (site,) = site_map.sites
    assert site_map.weights[site.name].macs == 18
    graph = analyze_groups(model, site_map)
    ledger = Ledger(model, graph, "macs")
    assert ledger.total == 18 + 3 * 2
    ledger.remove(ledger.removal(graph.groups.of[site.name]), 0, 2)
    assert ledger.total == 6 + 2
    with pytest.raises(ModelError, match="are attributes, so they cannot be edited"):
        weights_of(model, site)
