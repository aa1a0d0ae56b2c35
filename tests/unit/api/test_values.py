"""Arguments of a wrong type or range: one line that names the argument."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import frivkit
from frivkit.errors import UsageError

X = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> object:
    torch.manual_seed(0)
    return frivkit.load(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), X[:1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("seed", "a"),
        ("examples", 2.5),
        ("examples", "4"),
        ("examples", True),
        ("threads", "2"),
        ("memory", None),
        ("label_axis", "x"),
        ("regression", -1),
        ("regression", "a"),
        ("regression", [1.0, 2.0]),
        ("progress", None),
        ("engine", 3),
        ("cache", None),
        ("option", "a=1"),
        ("metric", []),
        ("metric", None),
        ("layer", 3),
    ],
)
def test_a_value_that_means_nothing_is_an_error_of_analyze(model, name, value):
    arguments = {"metric": "redundancy", "data": X, name: value}
    with pytest.raises(UsageError, match=f"^{name} is"):
        frivkit.analyze(model, **arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("macs", "a"),
        ("macs", True),
        ("macs", float("nan")),
        ("units_kept", 5),
        ("round_to", 1.5),
        ("refit", 3),
        ("output", 3),
        ("output", ""),
    ],
)
def test_a_value_that_means_nothing_is_an_error_of_compress(model, name, value):
    budget = {} if name in ("macs", "units_kept") else {"macs": 0.5}
    with pytest.raises(UsageError, match=f"^{name} is"):
        frivkit.compress(model, data=X, **budget, **{name: value})


def test_an_unknown_allocation_is_an_error(model):
    with pytest.raises(UsageError, match="no allocation is named 'globl'; did you mean global"):
        frivkit.compress(model, data=X, macs=0.5, allocation="globl")


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("rows", "a"), ("compress", "gzip")])
def test_a_value_that_means_nothing_is_an_error_of_activations(model, name, value):
    with pytest.raises(UsageError, match=f"^{name} is"):
        frivkit.activations(model, data=X, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("data", X), ("seed", "a"), ("threads", 0), ("architecture", None), ("width", -1)],
)
def test_a_value_that_means_nothing_is_an_error_of_train(tmp_path, name, value):
    arguments = {"architecture": "mlp", "data": "digits?n=50", name: value}
    with pytest.raises(UsageError, match=f"^{name} is"):
        frivkit.train(output=tmp_path / "m.onnx", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_are_numbers(model):
    plan = frivkit.compress(
        model, data=X, macs=np.float32(0.5), seed=np.int64(3), memory=1e9, round_to=np.int32(2)
    )
    assert type(plan.document["provenance"]["seed"]) is int


def test_relative_paths_hold_in_another_folder(model, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    made = frivkit.compress(model, "net.onnx", data=X, units_kept=0.9)
    (layer,) = made.document["layers"]
    loaded = frivkit.load("net.onnx")
    stored = frivkit.activations(loaded, "a.h5", data=X)
    monkeypatch.chdir("other")
    assert stored["0"].shape == (24, layer["units_after"])
    assert frivkit.compress(loaded, "small.onnx", data=X, units_kept=0.5).path == Path("small.onnx")


def test_activations_are_compared_by_identity(model, tmp_path):
    stored = frivkit.activations(model, tmp_path / "a.h5", data=X)
    same = stored
    assert stored == same
    assert stored != frivkit.activations(model, data=X)


def test_weights_in_another_file_are_named(tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((6, 4), np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [value("x", onnx.TensorProto.FLOAT, ["n", 6])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    path = tmp_path / "net.onnx"
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0, location="net.bin")
    with pytest.raises(frivkit.errors.ModelError, match="in another file: give the path"):
        frivkit.load(onnx.load(path, load_external_data=False))
