"""``inspect`` foretells which layers ``compress`` can make narrower."""

import contextlib

import numpy as np
import pytest

from frivkit.compression.compress import Compressor
from frivkit.compression.method import Method
from frivkit.errors import ModelError
from frivkit.measure.pipeline import Request, inspect_model
from frivkit.provenance import Clock
from frivkit.report.document import inspection_document
from tests.handmade import written
from tests.nets import examples, network, opened

NAMES = [
    *("mlp", "residual", "attention", "mixer", "recurrent", "group norm", "quantised"),
    *("constants", "computed bias", "sizes of four", "branching", "squeezed", "windows"),
]


def foretold(path):
    """Return by layer why none of its units can be removed, as inspect says."""
    document = inspection_document(*inspect_model(Request(path)), Clock.start())
    return {site["layer"]: site["held"] for site in document["sites"]}


def found(path, model, method=None):
    """Return the same as compress finds it, and None for layers of which units can leave."""
    data = examples(model, 16 * (model.batch or 1))
    compressor = Compressor(Request(path, data=data), method=method)
    calibration = compressor.calibration
    groups = calibration.pruning_graph.groups
    return {site.layer: groups.reason(site.name) for site in calibration.site_map.sites}


@pytest.mark.parametrize("name", NAMES)
def test_inspect_says_what_compress_finds(name, tmp_path):
    path = tmp_path / "m.onnx"
    model = opened(network(name), path)
    said = foretold(path)
    if None not in said.values():
        with contextlib.suppress(ModelError):  # nothing was promised
            assert None not in found(path, model).values()
        return
    reasons = found(path, model)
    assert {layer: said[layer] for layer in reasons} == reasons
    assert None not in [said[layer] for layer in said.keys() - reasons.keys()]


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
    model = opened(quantized(step), path)
    said = foretold(path)
    assert "quantized weights (int8)" in said["a"]
    assert said["b"] is None
    assert found(path, model) == said
    assert found(path, model, Method(refit="none")) == {"a": None, "b": None}


def test_units_that_a_recurrent_layer_reads_leave_without_a_refit(tmp_path):
    path = tmp_path / "m.onnx"
    model = opened(network("recurrent"), path)
    held = {layer: reason for layer, reason in foretold(path).items() if reason}
    assert any("only cut (--refit none)" in reason for reason in held.values())
    free = found(path, model, Method(refit="none"))
    assert all(free[layer] is None for layer in held)
