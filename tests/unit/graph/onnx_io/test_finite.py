"""Weights that are not finite are never written; masks of minus infinity are."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import frivkit
from frivkit.data import open_data
from frivkit.errors import ModelError
from frivkit.graph.onnx_io.load import read
from frivkit.quantization.int8 import quantize
from frivkit.runtime.execution import Execution
from tests.handmade import written

RECORD = """g (float[N, 6] x) => (float[N, 5] y) {
  a = Gemm (x, wa, ba)
  r = Relu (a)
  b = Gemm (r, wb)
  masked = Add (b, mask)
  y = Softmax <axis = 1> (masked)
}"""


def write(path, **changed):
    """Write a network whose mask rules out one class."""
    mask = np.array([0, 0, -np.inf, 0, 0], np.float32)
    generator = np.random.default_rng(0)
    weights = {"wa": generator.normal(size=(6, 8)), "ba": np.zeros(8), "wb": np.eye(8, 5)}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    onnx.save(written(RECORD, mask=mask, **(weights | changed)), path)
    return path


def test_a_weight_that_is_infinite_is_refused_before_any_work(tmp_path):
    """A unit whose bias is minus infinity is dead, so that all outputs are finite."""
    bias = np.zeros(8, np.float32)
    bias[3] = -np.inf
    path = write(tmp_path / "m.onnx", ba=bias)
    model, data = read(path), open_data("gaussian?n=40", read(path).inputs)
    for work in (
        lambda: frivkit.compress(path, tmp_path / "t.onnx", data="gaussian?n=40", macs=0.7),
        lambda: frivkit.frontier(path, data="gaussian?n=40"),
        lambda: quantize(model, data, Execution()),
    ):
        with pytest.raises(ModelError, match=r"the weight 'ba' of m.onnx is not finite"):
            work()
    with pytest.raises(ModelError, match="numbers in 'ba' that are not finite"):
        frivkit.save(path, tmp_path / "t.onnx")
    assert not (tmp_path / "t.onnx").exists()


def test_a_module_that_diverged_is_not_saved(tmp_path):
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    target = tmp_path / "net.onnx"
    frivkit.save(net, target, torch.zeros(2, 4))
    before = target.read_bytes()
    module = frivkit.to_torch(target)
    for each in (net, module):
        with torch.no_grad():
            next(iter(each.parameters()))[0, 0] = torch.nan
        with pytest.raises(ModelError, match=r"not finite|NaN"):
            frivkit.save(each, target, None if each is module else torch.zeros(2, 4))
        assert target.read_bytes() == before


def test_a_mask_of_minus_infinity_stays(tmp_path):
    path, compressed = write(tmp_path / "m.onnx"), tmp_path / "thin.onnx"
    frivkit.save(path, tmp_path / "same.onnx")
    found = frivkit.compress(path, compressed, data="gaussian?n=40", macs=0.7)
    assert found.document["budget"]["left"]["macs"] <= 0.7
    (mask,) = [t for t in onnx.load(compressed).graph.initializer if t.name == "mask"]
    assert np.isneginf(numpy_helper.to_array(mask)).sum() == 1
