"""The networks and examples that are timed."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.networks.vgg import drawn, vgg16_layers
from frivkit.torch_io.export import exported
from tests import realdata
from tests.assets import fetch


@dataclass(frozen=True, slots=True)
class Case:
    """A network, as a file and in torch, and examples.

    Attributes:
        name: Its name in the results.
        model: The ONNX file.
        data: The examples, a data spec.
        input: The name of the input.
        x: The same examples, shape (n, ...).
        net: The same network in torch.
        hook_points: By layer name, the module of the nonlinearity behind which units are ablated in
            torch.
    """

    name: str
    model: Path
    data: str
    input: str
    x: NDArray[np.float32]
    net: nn.Module
    hook_points: dict[str, str]


def mnist(folder: Path) -> Case:
    """Return ccexam's trained MNIST network (3 hidden layers) and 2,000 digits."""
    model, data = folder / "mnist.onnx", folder / "mnist.npz"
    realdata.write_mnist_model(model)
    realdata.write_mnist_digits(data)
    hook_points = {
        "features.0": "features.1",
        "features.3": "features.4",
        "classifier.0": "classifier.1",
    }
    x = np.load(data)["x"]
    return Case("MNIST net", model, f"npz:{data}", "image", x, mnist_net(), hook_points)


def mnist_net() -> nn.Module:
    """Return that network in torch."""
    convolutions = [nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)]
    net = nn.Sequential()
    net.features = nn.Sequential(
        *(m for conv in convolutions for m in (conv, nn.ReLU(), nn.MaxPool2d(2)))
    )
    net.flatten = nn.Flatten()
    net.classifier = nn.Sequential(nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))
    weights = fetch("ccexam") / "ccexam/weights/mnist.pth"
    net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return net.eval()


def resnet20(folder: Path, examples: int) -> Case:
    """Return a ResNet-20 for 32 x 32 x 3 inputs with random weights, and Gaussian examples."""
    return _resnet(3, folder, examples)


def resnet56(folder: Path, examples: int) -> Case:
    """Return a ResNet-56 of the same kind."""
    return _resnet(9, folder, examples)


def resnet18(folder: Path, side: int, examples: int) -> Case:
    """Return a ResNet-18 for 3 x side x side inputs with random weights, and Gaussian examples.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1, with
    1 x 1 convolutions on the three shortcuts that change shape.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        norm=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        first_pool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    before = 64
    for width in (64, 128, 256, 512):
        for number in range(2):
            layers[f"block{width}_{number}"] = Block(before, width)
            before = width
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(512, 10)}
    return random_case(f"ResNet-18 {side}", layers, (3, side, side), folder, examples)


def vgg16(folder: Path, examples: int) -> Case:
    """Return a VGG-16 for 32 x 32 x 3 inputs, its dense layers narrowed to 512 for these images."""
    layers = vgg16_layers(1, 512, 10)
    return random_case("VGG-16", layers, (3, 32, 32), folder, examples)


def one_layer(folder: Path, units: int, examples: int, side: int = 32) -> Case:
    """Return a network whose second convolution, ``layer``, has maps of side x side positions.

    Each position of an example is a row: 1,024 if the side is 32.

    Args:
        folder: The folder of its files.
        units: The number of maps.
        examples: The number of examples.
        side: The height and width of a map.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        first=nn.Conv2d(3, 32, 3, padding=1),
        relu0=nn.ReLU(),
        layer=nn.Conv2d(32, units, 3, padding=1),
        relu1=nn.ReLU(),
    )
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "out": nn.Linear(units, 10)}
    return random_case(f"layer of {units}, {examples}", layers, (3, side, side), folder, examples)


def _resnet(blocks: int, folder: Path, examples: int) -> Case:
    """Return a ResNet with three stages of some blocks each.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, with
    1 x 1 convolutions on the two shortcuts that change shape.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(3, 16, 3, padding=1, bias=False), norm=nn.BatchNorm2d(16), relu=nn.ReLU()
    )
    before = 16
    for width in (16, 32, 64):
        for number in range(blocks):
            layers[f"block{width}_{number}"] = Block(before, width)
            before = width
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(64, 10)}
    return random_case(f"ResNet-{6 * blocks + 2}", layers, (3, 32, 32), folder, examples)


def dense(folder: Path, examples: int) -> Case:
    """Return three dense layers of 2,048 units: small activations, 27 MB of weights."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flat=nn.Flatten())
    for number, before in enumerate((784, 2048, 2048)):
        layers[f"fc{number}"] = nn.Linear(before, 2048)
        layers[f"relu{number}"] = nn.ReLU()
    layers["out"] = nn.Linear(2048, 10)
    return random_case("dense 2048", layers, (1, 28, 28), folder, examples)


def wide_end(folder: Path, examples: int) -> Case:
    """Return convolutions before two dense layers of 4,096 units, 120 MB of weights."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, width) in enumerate(((3, 32), (32, 64), (64, 96))):
        layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=1, stride=2)
        layers[f"relu{number}"] = nn.ReLU()
    layers["pool"] = nn.AdaptiveAvgPool2d(6)
    layers["flat"] = nn.Flatten()
    for number, before in enumerate((96 * 36, 4096), 3):
        layers[f"fc{number}"] = nn.Linear(before, 4096)
        layers[f"relu{number}"] = nn.ReLU()
    layers["out"] = nn.Linear(4096, 10)
    return random_case("dense end 4096", layers, (3, 96, 96), folder, examples)


def large_images(folder: Path, examples: int) -> Case:
    """Return convolutions on 112 x 112 positions: 3 MB for one tensor of one example."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, before in enumerate((3, 64, 64)):
        layers[f"conv{number}"] = nn.Conv2d(before, 64, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "out": nn.Linear(64, 10)}
    return random_case("large images", layers, (3, 112, 112), folder, examples)


def random_case(
    name: str,
    layers: "OrderedDict[str, nn.Module]",
    shape: tuple[int, ...],
    folder: Path,
    examples: int,
) -> Case:
    """Write a network with weights drawn from a fixed seed, with Gaussian examples."""
    net = drawn(layers)
    x = np.random.default_rng(0).standard_normal((examples, *shape)).astype(np.float32)
    stem = name.replace(" ", "-")
    model, data = folder / f"{stem}.onnx", folder / f"{stem}.npz"
    model.write_bytes(exported(net, x[:2], {}))
    np.savez(data, x=x)
    return Case(name, model, f"npz:{data}", "x", x, net, {})


class Block(nn.Module):
    """A residual block of two convolutions, with batch norm before each ReLU."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(before, width, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum behind its ReLU."""
        inner = self.relu1(self.norm1(self.conv1(x)))
        result: torch.Tensor = self.relu2(self.norm2(self.conv2(inner)) + self.short(x))
        return result
