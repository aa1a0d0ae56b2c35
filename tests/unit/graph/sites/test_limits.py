"""A file of a few nodes can ask for billions of units: they are not followed so far."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frivkit.graph.sites import site_map as finding
from frivkit.graph.sites.site_map import find_sites
from frivkit_onnx.provider import load

RNG = np.random.default_rng(0)
DOUBLINGS = 28


def doubling(path):
    """Write a network whose 12 units a chain of Concat nodes repeats 2 ** 28 times."""
    nodes = [helper.make_node("Gemm", ["x", "v"], ["h"]), helper.make_node("Relu", ["h"], ["k0"])]
    nodes += [
        helper.make_node("Concat", [f"k{i}", f"k{i}"], [f"k{i + 1}"], axis=1)
        for i in range(DOUBLINGS)
    ]
    nodes += [
        helper.make_node("ReduceSum", [f"k{DOUBLINGS}", "axes"], ["sum"]),
        helper.make_node("Gemm", ["k0", "w"], ["logits"]),
        helper.make_node("Add", ["logits", "sum"], ["y"]),
    ]
    held = [
        numpy_helper.from_array(RNG.normal(size=(8, 12)).astype(np.float32), "v"),
        numpy_helper.from_array(RNG.normal(size=(12, 4)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        held,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return load(path, {})


def test_units_are_followed_to_a_bounded_number_of_positions(tmp_path):
    (site,) = find_sites(doubling(tmp_path / "net.onnx")).sites
    assert site.width == 12
    (reason,) = site.not_followed
    assert reason.endswith("units lie at 12,582,912 positions, more than 8,388,608")


def test_a_layer_of_too_many_units_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "LARGEST_WIDTH", 11)
    found = find_sites(doubling(tmp_path / "net.onnx"))
    assert not found.sites
    assert "it has 12 units, more than 11" in [skip.reason for skip in found.skipped]
