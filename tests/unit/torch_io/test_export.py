from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from frivkit.errors import ModelError
from frivkit.torch_io import export as torchexport
from frivkit.torch_io.export import exported, outputs


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 1, 6, 6)).astype(np.float32)


def test_file_computes_what_the_network_does_for_any_batch(network):
    network.train()
    network(torch.from_numpy(images(64)))  # moves batch norm's statistics from their start
    session = onnxruntime.InferenceSession(
        exported(network, images(5), {}), providers=["CPUExecutionProvider"]
    )
    for count in (1, 7):
        (found,) = session.run(["logits"], {"x": images(count)})
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy(images(count))).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_file_is_opset_17_and_carries_the_metadata(network):
    model = onnx.load_from_string(exported(network, images(2), {"frivkit.seed": "é 3"}))
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import] == [17]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"frivkit.seed": "é 3"}
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["x", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_outputs_are_those_of_evaluation(network):
    network.train()
    assert np.array_equal(outputs(network, images(3)), outputs(network, images(3)))


def test_file_that_computes_something_else_is_refused():
    class Liar(nn.Module):
        def forward(self, x):
            return x * (1.01 if torch.jit.is_tracing() else 1.0)

    with pytest.raises(ModelError, match="differ from the network's by"):
        exported(Liar(), images(3), {})


def test_distance_is_judged_by_the_size_of_the_outputs():
    class Large(nn.Module):
        def forward(self, x):
            return x * (1e6 + (1 if torch.jit.is_tracing() else 0))

    assert exported(Large(), images(3), {})  # 1 in 1e6: beyond 1e-5, but not beyond 1e-5 of it


def test_operation_that_onnx_lacks_is_named_in_one_line():
    class Svd(nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x).U

    with pytest.raises(ModelError, match="svd") as caught:
        exported(Svd(), images(2), {})
    assert "\n" not in str(caught.value)


def test_network_too_large_for_one_file_is_refused(network, monkeypatch):
    monkeypatch.setattr(torchexport, "LARGEST_FILE", 100)
    with pytest.raises(ModelError, match="at most 100"):
        exported(network, images(2), {})


def test_only_the_exporter_s_own_warnings_are_silenced():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 1e9 else x + 1

    with pytest.warns(torch.jit.TracerWarning, match="Python boolean"):
        exported(Branching(), images(2), {})
