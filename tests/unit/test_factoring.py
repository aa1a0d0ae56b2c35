"""Nodes that are split in two without loss compute what they did."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from frivkit.compression.readings import find_readings
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.factoring import factored
from frivkit.graph.groups import examine
from frivkit.graph.names import node_label
from frivkit.graph.sites import survey
from frivkit.graph.writing import save
from tests.nets import NETS, examples, network, opened
from tests.surgery import close, run
from tests.unit.test_perturbations import SITELESS

NAMES = [name for name in NETS if name not in SITELESS]


def opened_with_readings(name: str, path: Path):
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), path, **shape)
    there = survey(model)
    return model, find_readings(model, there, examine(model, there))


def whole(matrix: np.ndarray, bias: np.ndarray | None = None):
    """Split a matrix at its full rank."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left * values, right, bias


@pytest.mark.parametrize("name", NAMES)
def test_a_split_at_full_rank_changes_nothing(name, tmp_path):
    model, readings = opened_with_readings(name, tmp_path / "m.onnx")
    if not readings:
        return
    split = factored(model.ir, {r.consumer.node: whole(r.matrix) for r in readings})
    save(split, tmp_path / "split.onnx", model)
    labels = [node_label(node) for node in split.graph]
    assert all(reading.consumer.node in labels for reading in readings)
    assert [v.name for v in split.graph.inputs][:1] == [v.name for v in model.ir.graph.inputs][:1]
    assert [v.name for v in split.graph.outputs] == [v.name for v in model.ir.graph.outputs]
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in network(name).graph.initializer)
    for batch in {model.batch or 1, model.batch or 3}:
        inputs = examples(model, batch)
        close(run(split, inputs), run(model.ir, inputs), 3e-3 if half else 2e-5)


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_a_split_at_a_low_rank_costs_less_and_is_the_product(name, tmp_path):
    model, readings = opened_with_readings(name, tmp_path / "m.onnx")
    largest = max(readings, key=lambda reading: min(reading.matrix.shape))
    first, second, _ = whole(largest.matrix)
    low = factored(model.ir, {largest.consumer.node: (first[:, :1], second[:1], None)})
    same = factored(model.ir, {largest.consumer.node: whole(first[:, :1] @ second[:1])})
    inputs = examples(model, 3)
    close(run(low, inputs), run(same, inputs), 2e-5)
    assert macs(low.graph) < macs(model.graph)


def test_a_bias_is_put(tmp_path):
    model, readings = opened_with_readings("mlp", tmp_path / "m.onnx")
    last = readings[-1]
    moved = factored(model.ir, {last.consumer.node: whole(last.matrix, last.bias + 1)})
    inputs = examples(model, 3)
    close(run(moved, inputs), [array + 1 for array in run(model.ir, inputs)], 1e-5)


def test_what_cannot_be_split_is_refused(tmp_path):
    model, readings = opened_with_readings("cnn", tmp_path / "m.onnx")
    label, matrix = readings[0].consumer.node, readings[0].matrix
    first, second, _ = whole(matrix)
    with pytest.raises(ModelError, match="no weighted node is called 'nobody'"):
        factored(model.ir, {"nobody": (first, second, None)})
    with pytest.raises(ModelError, match="cannot be split into"):
        factored(model.ir, {label: (first[1:], second, None)})
    with pytest.raises(ModelError, match="cannot be split into"):
        factored(model.ir, {label: (first[:, 1:], second, None)})
    with pytest.raises(ModelError, match="not finite"):
        factored(model.ir, {label: (first * np.nan, second, None)})
