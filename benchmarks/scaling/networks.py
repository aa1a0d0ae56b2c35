"""Networks of the size of those for ImageNet, with random weights."""

from collections import OrderedDict

import torch
from torch import nn

from benchmarks.networks.vgg import drawn, vgg16_layers

LAYERS = 16
"""Layers under study in both."""


class Bottleneck(nn.Module):
    """A residual block of three convolutions.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, figure 5, with the
    stride in the 3 x 3 convolution.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        same = stride == 1 and before == after
        self.short = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum behind its ReLU."""
        inner = self.relu1(self.norm1(self.conv1(x)))
        inner = self.relu2(self.norm2(self.conv2(inner)))
        result: torch.Tensor = self.relu3(self.norm3(self.conv3(inner)) + self.short(x))
        return result


def resnet50() -> nn.Sequential:
    """Return a ResNet-50 for 224 x 224 images: 16 blocks, 4.1 billion multiply-accumulates.

    Source: He et al., CVPR 2016, table 1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        norm=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        first_pool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    before = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            layers[f"block{stage}_{number}"] = Bottleneck(before, width, stride)
            before = 4 * width
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(2048, 1000)}
    return drawn(layers)


def vgg16() -> nn.Sequential:
    """Return a VGG-16 for 224 x 224 images: 15.5 billion multiply-accumulates."""
    return drawn(vgg16_layers(49, 4096, 1000))
