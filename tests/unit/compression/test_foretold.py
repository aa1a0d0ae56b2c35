"""``inspect`` foretells what ``compress`` can do: units, nodes, branches, and the reasons."""

import re

import numpy as np
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Method
from frivkit.compression.steps import BranchSteps, RankSteps, UnitSteps
from frivkit.errors import BudgetError, ModelError
from frivkit.measure.pipeline import Request, inspect_model
from frivkit.provenance import Clock
from frivkit.report.document import inspection_document
from frivkit.report.terminal import inspection_text
from tests.handmade import written
from tests.nets import examples, network, opened
from tests.zoo.transformer_files import transformer

NAMES = [
    *("mlp", "residual", "attention", "mixer", "recurrent", "group norm", "quantised"),
    *("constants", "computed bias", "sizes of four", "branching", "squeezed", "windows"),
    *("siamese", "two heads", "grouped", "cnn of any size", "ends in softmax"),
]
TRANSFORMERS = ["einsum", "RMSNorm in pieces"]


def foretold(path):
    """Return the document of an inspection."""
    return inspection_document(*inspect_model(Request(path)), Clock.start())


def reasons(document):
    """Return by layer why none of its units can be removed, as inspect says."""
    return {site["layer"]: site["held"] for site in document["sites"]}


class Offered:
    """What the allocators of a compression offer: layers, nodes and sums of branches."""

    def __init__(self, path, model, method=None):
        data = examples(model, 16 * (model.batch or 1))
        compressor = Compressor(Request(path, data=data), method=method)
        calibration = compressor.calibration
        groups = calibration.pruning_graph.groups
        self.layers, self.nodes, self.branches = set(), set(), set()
        self.locked = {s.layer: groups.reason(s.name) for s in calibration.site_map.sites}
        for allocator in (compressor.allocator, compressor.allocator.at_share(0.1)):
            for step in allocator._steps:
                if isinstance(step, UnitSteps):
                    removed = step.order[: step.counts[-1]]
                    self.layers |= {
                        site.layer
                        for site in calibration.site_map.sites
                        if np.isin(groups.of[site.name], removed).any()
                    }
                elif isinstance(step, RankSteps) and len(step.options) > 1:
                    self.nodes.add(step.node)
                elif isinstance(step, BranchSteps):
                    self.branches.add(step.move.branch.add)


def check(path, model):
    """Compare what inspect says with what compress offers, with a refit and without."""
    document = foretold(path)
    held = reasons(document)
    free = {layer for layer, reason in held.items() if reason is None}
    nodes = {each["node"] for each in document["factors"] if each["held"] is None}
    branches = {each["node"] for each in document["branches"]}
    if free or nodes or branches:
        offered = Offered(path, model)
        assert (offered.layers, offered.nodes, offered.branches) == (free, nodes, branches)
        given = {layer: why for layer, why in offered.locked.items() if why is not None}
        assert {layer: held[layer] for layer in given} == given
    else:
        with pytest.raises(ModelError, match=r"^no (unit|node) of "):
            Offered(path, model)
    cut = {site["layer"] for site in document["sites"] if site["cut_only"]}
    if cut or free:
        assert Offered(path, model, Method(refit="none")).layers == free | cut
    return document


@pytest.mark.parametrize("name", [*NAMES, *TRANSFORMERS])
def test_inspect_says_what_compress_offers(name, tmp_path):
    made = transformer(name) if name in TRANSFORMERS else network(name)
    path = tmp_path / "m.onnx"
    check(path, opened(made, path))


def quantized(step):
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          fa = DequantizeLinear <axis = 1> (wa, step, nil)
          a = MatMul (x, fa)
          r = Relu (a)
          q = QuantizeLinear (r, half, zero)
          d = DequantizeLinear (q, half, zero)
          fb = DequantizeLinear (wb, half, none)
          b = MatMul (d, fb)
          s = Relu (b)
          y = Gemm (s, wc)
        }""",
        wa=np.arange(-15, 15).reshape(6, 5).astype(np.int8), step=step,
        nil=np.zeros_like(step, np.int8), half=np.float32(0.02), zero=np.uint8(0), none=np.int8(0),
        wb=np.arange(-10, 10).reshape(5, 4).astype(np.int8), wc=(4, 3),
    )  # fmt: skip


@pytest.mark.parametrize("step", [np.float32(0.05), np.linspace(0.01, 0.1, 5, dtype=np.float32)])
def test_quantized_weights_are_cut_without_a_refit_and_named_with_one(step, tmp_path):
    path = tmp_path / "m.onnx"
    document = check(path, opened(quantized(step), path))
    said = reasons(document)
    assert "quantized weights (int8)" in said["a"]
    assert said["b"] is None
    assert [site["cut_only"] for site in document["sites"]] == [True, False]


def test_a_quantized_branch_is_foretold_as_one_that_leaves(tmp_path):
    path = tmp_path / "m.onnx"
    scales = {"tenth": np.float32(0.1), "nil": np.int8(0), "zero": np.uint8(0)}
    weights = {
        name: np.arange(-18, 18).reshape(6, 6).astype(np.int8) for name in ("wa", "wb", "wc")
    }
    made = written(
        """g (float[N, 6] x) => (float[N, 6] y) {
          fa = DequantizeLinear (wa, tenth, nil)
          a = MatMul (x, fa)
          r = Relu (a)
          fb = DequantizeLinear (wb, tenth, nil)
          b = MatMul (r, fb)
          s = Relu (b)
          sum = Add (s, r)
          fc = DequantizeLinear (wc, tenth, nil)
          y = MatMul (sum, fc)
        }""",
        **scales,
        **weights,
    )
    document = check(path, opened(made, path))
    assert document["branches"] == [{"node": "sum/Add", "layers": ["b"]}]
    text = re.sub(r"\s+", " ", inspection_text(document))
    assert "units of 0 can be removed by compress, those of 2 cannot (2 of them with" in text
    assert "compress can drop the residual branch added at sum/Add" in text


def test_a_layer_that_is_fast_at_its_own_width_alone_is_foretold_as_held(tmp_path):
    path = tmp_path / "m.onnx"
    weights = {f"w{i}": (16, 16 if i else 3, 3, 3) for i in range(2)}
    made = written(
        """g (float[N, 3, 9, 9] x) => (float[N, 4] y) {
          a = Conv (x, w0)
          r = Relu (a)
          p = MaxPool <kernel_shape = [2, 2]> (r)
          b = Conv (p, w1)
          s = Relu (b)
          m = GlobalAveragePool (s)
          f = Flatten (m)
          y = Gemm (f, w2)
        }""",
        **weights,
        w2=(16, 4),
    )
    check(path, opened(made, path))


def test_units_that_a_recurrent_layer_reads_leave_without_a_refit(tmp_path):
    path = tmp_path / "m.onnx"
    document = check(path, opened(network("recurrent"), path))
    held = {layer: reason for layer, reason in reasons(document).items() if reason}
    assert any("only cut (--refit none)" in reason for reason in held.values())
    assert held.keys() == {site["layer"] for site in document["sites"] if site["cut_only"]}


@pytest.mark.parametrize(
    ("method", "constraints", "named"),
    [
        (Method(), Constraints(), "give --refit none, by which 0."),
        (Method(basis="pca"), Constraints(), "give --basis auto with --refit none, by which 0."),
        (Method(refit="none"), Constraints(round_to=64), "give --round-to none, by which 0."),
        (Method(refit="none"), Constraints(keep_layers=("*",)), "give less by --keep-layer, by "),
    ],
)
def test_a_budget_that_another_option_meets_is_refused_with_its_name(
    method, constraints, named, tmp_path
):
    path = tmp_path / "m.onnx"
    model = opened(network("recurrent"), path)
    data = Request(path, data=examples(model, 32))
    made = Compressor(data, method=method, constraints=constraints)
    with pytest.raises(BudgetError, match=f"ask for more, or {named}") as refused:
        made.compress(Budget("macs", 0.55), None)
    assert refused.value.least > 0.55
