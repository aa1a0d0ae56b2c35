"""``--node-data``: files that Model Explorer reads, whose values are those of the layers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.program import Outcome

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")
KEYS = {"results", "name", "thresholds", "gradient"}
"""Keys of the class GraphNodeData of ai-edge-model-explorer that are used here."""


def read(path: str) -> dict:
    """Return the data of the only graph, after a check against the format."""
    (graph,) = json.loads(Path(path).read_text()).items()
    name, found = graph
    assert name == onnx.load("net.onnx").graph.name
    assert set(found) <= KEYS
    assert ("thresholds" in found) != ("gradient" in found)
    for result in found["results"].values():
        assert set(result) == {"value"}
        assert isinstance(result["value"], float)
    for step in found.get("thresholds", []):
        assert set(step) == {"value", "bgColor", "textColor"}
    for stop in found.get("gradient", []):
        assert set(stop) == {"stop", "bgColor", "textColor"}
    return found


def test_values_are_those_of_the_layers(files: Path, frivkit: Run) -> None:
    frivkit("inspect", "net.onnx", "--json", "inspected.json")
    sites = json.loads(Path("inspected.json").read_text())["sites"]
    many = ("--metric", "redundancy", "--metric", "dead-units")
    places = ("--node-data", "{metric}.nodes.json", "--json", "found.json")
    ran = frivkit("analyze", "net.onnx", *DATA, *many, *places, "-q")
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads(Path("found.json").read_text())["measurements"]
    for metric in ("redundancy", "dead-units"):
        values = {r["layer"]: r["value"] for r in rows if r["metric"] == metric}
        found = read(f"{metric}.nodes.json")
        assert found["name"] == metric
        expected = {node: values[s["layer"]] for s in sites for node in s["writers"]}
        assert {n: r["value"] for n, r in found["results"].items()} == expected
        assert found["thresholds"][-1]["value"] == 1


def test_compression_writes_the_share_that_stays(files: Path, frivkit: Run) -> None:
    places = ("--node-data", "n.json", "--json", "c.json", "-o", "thin.onnx", "--no-time")
    assert frivkit("compress", "net.onnx", *DATA, "--macs", "0.5", *places, "-q").code == 0
    (layer,) = json.loads(Path("c.json").read_text())["layers"]
    (result,) = read("n.json")["results"].values()
    assert result["value"] == layer["units_after"] / layer["units_before"]


def test_nodes_without_names_are_told_apart(files: Path, frivkit: Run) -> None:
    """The extension names them with a pass of onnx-ir, in the order of the graph."""
    ones = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    weights = [numpy_helper.from_array(ones, name) for name in "uvw"]
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 8]) for n in "xy")
    graph = helper.make_graph(nodes, "unnamed", [x], [y], weights)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), files / "net.onnx")
    ran = frivkit("analyze", "net.onnx", *DATA, "--metric", "redundancy", "--node-data", "n.json")
    assert ran.code == 0, ran.err
    results = read("n.json")["results"]
    assert len(results) == 2
    assert {"first", ""} & set(results) == {"first"}


def test_several_metrics_need_several_files(files: Path, frivkit: Run) -> None:
    many = ("--metric", "redundancy", "--metric", "dead-units")
    ran = frivkit("analyze", "net.onnx", *DATA, *many, "--node-data", "n.json")
    assert (ran.code, ran.out) == (2, "")
    assert "put {metric} into its name" in ran.error()
    assert not Path("n.json").exists()


@pytest.mark.parametrize("place", ["net.onnx", "missing/n.json", "."])
def test_place_that_cannot_be_written_is_told_before_any_work(
    files: Path, frivkit: Run, place: str
) -> None:
    before = Path("net.onnx").read_bytes()
    ran = frivkit("analyze", "net.onnx", *DATA, "--node-data", place)
    assert ran.code in (1, 2)
    assert ran.error()
    assert Path("net.onnx").read_bytes() == before
