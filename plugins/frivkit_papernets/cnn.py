"""A small convolutional network for small images, such as the source ``digits``."""

from collections import OrderedDict

from torch import nn

from frivkit.experiments.train import Architecture, scaled
from frivkit.hooks.options import NoOptions
from frivkit_papernets.initialization import initialise_
from frivkit_papernets.layers import channels_last, image


def cnn(shape: tuple[int, ...], classes: int, width: float, options: NoOptions) -> nn.Module:
    """Build two 3 x 3 convolutions of 16 and 32 x ``width`` maps and a layer of 64 x ``width``.

    Each convolution is followed by batch norm, ReLU and 2 x 2 max-pooling.  Weights are
    initialized as by He et al., biases with 0.

    Args:
        shape: (channels, height, width) of an image of at least 4 x 4.
        classes: The number of outputs.
        width: Factor on the maps and units of every layer but the last.
        options: Unused.

    Raises:
        DataError: ``shape`` is not the shape of such an image.

    Example:
        >>> sum(p.numel() for p in cnn((1, 8, 8), 10, 1, NoOptions()).parameters())
        13802
    """
    channels, height, breadth = image("cnn", shape, 4)
    first, second, hidden = scaled(16, width), scaled(32, width), scaled(64, width)
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, first, 3, padding=1),
            norm1=nn.BatchNorm2d(first),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(first, second, 3, padding=1),
            norm2=nn.BatchNorm2d(second),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc3=nn.Linear(second * (height // 4) * (breadth // 4), hidden),
            relu3=nn.ReLU(),
            output=nn.Linear(hidden, classes),
        )
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            initialise_(layer.weight, "he-normal")
            nn.init.zeros_(layer.bias)
    return channels_last(net)


CNN = Architecture(cnn)
