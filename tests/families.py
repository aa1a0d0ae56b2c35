"""Small networks of one family, trained by the tests without any part of frivkit."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

WIDTHS = (8, 16, 32)
EXAMPLES, INPUTS, CLASSES = 640, 12, 4


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (640, 12) and their labels, which a fixed random rule gives."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, INPUTS)).astype("float32")
    rule = generator.normal(size=(INPUTS, CLASSES))
    return x, (np.tanh(x) @ rule).argmax(1)


def trained(width: int, seed: int = 0, steps: int = 150) -> nn.Module:
    """Return a trained network of two hidden layers of ``width`` and ``2 width`` units."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(INPUTS, width),
        nn.ReLU(),
        nn.Linear(width, 2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, CLASSES),
    )
    x, y = (torch.from_numpy(each) for each in examples())
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval()


def export(net: nn.Module, path: Path) -> Path:
    """Write a network as ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the tracing exporter
        torch.onnx.export(
            net,
            (torch.zeros(2, INPUTS),),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    return path
