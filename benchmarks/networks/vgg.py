"""VGG networks with random weights, which are timed at two sizes of images."""

from collections import OrderedDict

import torch
from torch import nn

Layers = OrderedDict[str, nn.Module]


def vgg16_layers(positions: int, units: int, classes: int) -> Layers:
    """Return the 13 convolutions and 3 dense layers of a VGG-16.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, table 1, column D.

    Args:
        positions: The positions that the last pooling leaves: 49 of 224 x 224 images.
        units: The units of the two hidden dense layers: 4,096 in the paper.
        classes: The classes.
    """
    layers: Layers = OrderedDict()
    before = 3
    for stage, widths in enumerate(((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)):
        for number, width in enumerate(widths):
            layers[f"conv{stage}_{number}"] = nn.Conv2d(before, width, 3, padding=1)
            layers[f"relu{stage}_{number}"] = nn.ReLU()
            before = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flat"] = nn.Flatten()
    for number, inputs in enumerate((512 * positions, units)):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU()
    layers["out"] = nn.Linear(units, classes)
    return layers


def drawn(layers: Layers) -> nn.Sequential:
    """Return a network of layers, their weights drawn from a fixed seed."""
    torch.manual_seed(0)
    net = nn.Sequential(layers).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return net
