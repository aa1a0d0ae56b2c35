"""Small networks of the usual kinds: dense, plain convolutional, residual."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

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
