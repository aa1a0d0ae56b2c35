"""Small files under the names that the documentation uses."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.nets import network
from tests.program import write_cnn, write_rows

Weights = dict[str, tuple[int, ...]]
RANDOM = np.random.default_rng(0)


def write_page_files(folder: Path) -> None:
    """Write models, data and pictures into a folder, each so small that a command takes a second.

    The classifier takes 8 × 8 pictures; its layers are ``features.0`` and ``classifier.0``.
    """
    for name in ("model", "mnist", "net"):
        onnx.save(_classifier(), folder / f"{name}.onnx")
    onnx.save(_classifier(4), folder / "thin.onnx")
    onnx.save(_classifier(10), folder / "wide.onnx")
    onnx.save(_places("pose", 3), folder / "pose.onnx")
    onnx.save(_places("depth", 1), folder / "depth.onnx")
    onnx.save(_tagger(), folder / "tagger.onnx")
    for name in ("examples", "digits", "mnist", "data", "x", "photos"):
        x = RANDOM.normal(size=(80, 1, 8, 8)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=np.arange(80) % 4)
    np.savez(folder / "sentences.npz", x=RANDOM.normal(size=(80, 6, 5)).astype(np.float32))
    _pictures(folder / "photos")
    _pictures(folder / "my_images")


def write_coloured(folder: Path) -> None:
    """Write ``model.onnx`` and ``net.onnx`` for pictures of three channels, with a ``layer4``."""
    onnx.save(_classifier(channels=3), folder / "model.onnx")
    onnx.save(_classifier(channels=3, first="layer4.0"), folder / "net.onnx")


def write_slow(folder: Path) -> None:
    """Write ``model.onnx``, large enough to become faster, and ``examples.npz`` for it."""
    write_cnn(folder / "model.onnx", 64, 16)
    write_rows(folder / "examples.npz", 1, 16, 16, n=80)


def write_joined(folder: Path) -> None:
    """Write ``net.onnx`` with a Concat of the name ``mixed0``."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network("inception"))  # which others use, too
    for node in proto.graph.node:
        if node.op_type == "Concat":
            node.name = "mixed0/Concat"
    onnx.save(proto, folder / "net.onnx")


def write_torch_files(folder: Path) -> None:
    """Write ``net.pt`` and ``two-inputs.pt``, TorchScript files for 32 × 32 pictures."""
    import torch
    from torch import nn

    class Both(nn.Module):
        """A picture and ten numbers of words."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3072, 4), nn.Embedding(9, 4)

        def forward(self, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.left(x.flatten(1))) + self.right(words).mean(1)

    x, words = torch.zeros(2, 3, 32, 32), torch.zeros(2, 10, dtype=torch.int64)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 4))
    torch.jit.trace(net, x).save(str(folder / "net.pt"))
    torch.jit.trace(Both(), (x, words)).save(str(folder / "two-inputs.pt"))


def _pictures(folder: Path) -> None:
    from PIL import Image

    for label in ("cats", "dogs"):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            pixels = RANDOM.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")


def _graph(
    nodes: list[onnx.NodeProto],
    given: tuple[str, tuple[int, ...]],
    output: tuple[int, ...],
    weights: Weights,
) -> onnx.ModelProto:
    stored = [
        numpy_helper.from_array((RANDOM.normal(size=shape) / 2).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    x = helper.make_tensor_value_info(given[0], TensorProto.FLOAT, ["N", *given[1]])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", *output])
    graph = helper.make_graph(nodes, "page", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _classifier(maps: int = 6, *, channels: int = 1, first: str = "features.0") -> onnx.ModelProto:
    conv, dense, last = f"{first}.weight", "classifier.0.weight", "classifier.2.weight"
    weights: Weights = {conv: (maps, channels, 3, 3), dense: (12, maps), last: (4, 12)}
    node = helper.make_node
    nodes = [
        node("Conv", ["x", conv], ["a"], f"{first}/Conv"),
        node("Relu", ["a"], ["b"]),
        node("GlobalAveragePool", ["b"], ["c"]),
        node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", dense], ["e"], "classifier.0/Gemm", transB=1),
        node("Relu", ["e"], ["f"]),
        node("Gemm", ["f", last], ["logits"], "classifier.2/Gemm", transB=1),
    ]
    return _graph(nodes, ("x", (channels, 8, 8)), (4,), weights)


def _places(name: str, maps: int) -> onnx.ModelProto:
    """Return a network that gives a map of 6 × 6 for each of several things."""
    weights = {f"{name}.0.weight": (5, 1, 3, 3), f"{name}.2.weight": (maps, 5, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", f"{name}.0.weight"], ["a"], f"{name}.0/Conv"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", f"{name}.2.weight"], ["logits"], f"{name}.2/Conv"),
    ]
    return _graph(nodes, ("x", (1, 8, 8)), (maps, 6, 6), weights)


def _tagger() -> onnx.ModelProto:
    weights = {"first": (5, 7), "second": (7, 4)}
    nodes = [
        helper.make_node("MatMul", ["tokens", "first"], ["a"], "first/MatMul"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["logits"], "second/MatMul"),
    ]
    return _graph(nodes, ("tokens", (6, 5)), (6, 4), weights)
