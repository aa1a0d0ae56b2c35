"""Small networks of the usual kinds: dense, convolutional, residual, inverted residuals."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from benchmarks.networks.timed import Block


def dense(sizes: Sequence[int]) -> nn.Module:
    """Return dense layers with a ReLU behind each but the last."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, units) in enumerate(pairwise(sizes)):
        layers[f"fc{number}"] = nn.Linear(before, units)
        layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def vgg() -> nn.Module:
    """Return six 3 x 3 convolutions of 32, 64 and 128 maps, batch norm before each ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, width) in enumerate(pairwise((1, 32, 32, 64, 64, 128, 128))):
        layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        if number % 2:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
    layers |= {"flat": nn.Flatten(), "fc": nn.Linear(128 * 9, 128), "relu": nn.ReLU()}
    layers["head"] = nn.Linear(128, 10)
    return nn.Sequential(layers)


def resnet() -> nn.Module:
    """Return a residual network of three stages, 16, 32 and 64 maps, of two blocks each."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, 16, 3, padding=1, bias=False), norm=nn.BatchNorm2d(16), relu=nn.ReLU()
    )
    for number, (before, width) in enumerate(pairwise((16, 16, 16, 32, 32, 64, 64))):
        layers[f"block{number}"] = Block(before, width)
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(64, 10)}
    return nn.Sequential(layers)


def six_convolutions(channels: int = 1, width: int = 32) -> nn.Module:
    """Return six 3 x 3 convolutions, batch norm behind each ReLU, and three dense layers.

    The convolutions are not padded, except the first one of images of 28 x 28 positions.

    Args:
        channels: The channels of the images: 1 of 28 x 28 positions, or 3 of 32 x 32.
        width: The maps of the first two convolutions; the next two have twice as many, the last two
            128.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    widths = (channels, width, width, 2 * width, 2 * width, 128, 128)
    for number, (before, maps) in enumerate(pairwise(widths)):
        padding = 2 if channels == 1 and not number else 0
        layers[f"conv{number}"] = nn.Conv2d(before, maps, 3, padding=padding)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"norm{number}"] = nn.BatchNorm2d(maps)
        if number in (1, 3):
            layers[f"pool{number}"] = nn.MaxPool2d(2)
    layers["flat"] = nn.Flatten()
    for number, (before, units) in enumerate(pairwise((128, 512, 512, 10))):
        layers[f"fc{number}"] = nn.Linear(before, units)
        layers[f"fc_relu{number}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def inverted_residuals(channels: int = 1) -> nn.Module:
    """Return eleven inverted residuals between a convolution and a dense layer.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
    with fewer blocks and smaller strides, for images of 28 x 28 or 32 x 32 positions.

    Args:
        channels: The channels of the images.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(channels, 24, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(24),
        relu=nn.ReLU6(),
        block0=InvertedResidual(24, 16, expansion=1),
    )
    before, number = 16, 0
    for width, blocks, stride in ((24, 2, 2), (32, 3, 2), (64, 3, 2), (96, 2, 1)):
        for block in range(blocks):
            number += 1
            block_stride = 1 if block else stride
            layers[f"block{number}"] = InvertedResidual(before, width, stride=block_stride)
            before = width
    layers |= {
        "last_conv": nn.Conv2d(before, 320, 1, bias=False),
        "last_norm": nn.BatchNorm2d(320),
        "last_relu": nn.ReLU6(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(320, 10),
    }
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """A 1 x 1 convolution to more maps, a depthwise 3 x 3, and a 1 x 1 to fewer maps."""

    def __init__(self, before: int, width: int, stride: int = 1, expansion: int = 6) -> None:
        super().__init__()
        hidden = before * expansion
        parts: list[nn.Module] = []
        if expansion > 1:
            parts = [nn.Conv2d(before, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        parts += [depthwise, nn.BatchNorm2d(hidden), nn.ReLU6()]
        parts += [nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.branch = nn.Sequential(*parts)
        self.residual = stride == 1 and before == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branch, added to its input if the shapes allow it."""
        inner: torch.Tensor = self.branch(x)
        return x + inner if self.residual else inner
