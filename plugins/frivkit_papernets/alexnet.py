"""The paper's small AlexNet for CIFAR-10."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.initialization import Init, initialise_
from frivkit_papernets.layers import LocalResponseNorm, channels_last, halving_pool, image
from frivkit_papernets.nonlinearity import Activation, nonlinearity


@dataclass(frozen=True, slots=True)
class AlexNetOptions:
    """Settings of :func:`alexnet`.

    Attributes:
        init: Initialization of the weights of all layers.
        dropout: Share of the units of ``fc3`` and ``fc4`` dropped out in training, in [0, 1); 0.5
            in the paper's regularised networks.
        activation: Activation function of all layers but the last.
    """

    init: Init = "glorot-normal"
    dropout: float = 0.0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UsageError(f"option dropout={self.dropout}: give a share from 0 to below 1")


def alexnet(
    shape: tuple[int, ...], classes: int, width: float, options: AlexNetOptions
) -> nn.Module:
    """Build ``conv1``, ``conv2``, ``fc3`` and ``fc4`` of 96, 256, 384 and 192 x ``width`` units.

    Each 5 x 5 convolution is followed by its activation, 3 x 3 max-pooling with stride 2, and
    local response normalization across neighbouring maps.  Initial biases are 0 in ``conv1`` and
    ``output``, 0.1 elsewhere.

    Source:
        Casper et al. 2021, appendix D, and the code published with it, which alone defines the
        biases and the padding.

    Raises:
        DataError: ``shape`` is not the shape of an image.

    Example:
        >>> net = alexnet((3, 32, 32), 10, 0.25, AlexNetOptions())
        >>> sum(p.numel() for p in net.parameters())  # Casper et al. 2021, figure E1
        438746
    """
    channels, height, breadth = image("alexnet-cifar", shape, 1)
    maps1, maps2 = scaled(96, width), scaled(256, width)
    units3, units4 = scaled(384, width), scaled(192, width)
    half, half_breadth = (height + 1) // 2, (breadth + 1) // 2
    positions = ((half + 1) // 2) * ((half_breadth + 1) // 2)
    kind = options.activation
    net = nn.Sequential(
        OrderedDict(
            [
                ("conv1", nn.Conv2d(channels, maps1, 5, padding=2)),
                nonlinearity(kind, 1),
                ("pool1", halving_pool(height, breadth)),
                ("norm1", LocalResponseNorm()),
                ("conv2", nn.Conv2d(maps1, maps2, 5, padding=2)),
                nonlinearity(kind, 2),
                ("pool2", halving_pool(half, half_breadth)),
                ("norm2", LocalResponseNorm()),
                ("flatten", nn.Flatten()),
                ("fc3", nn.Linear(maps2 * positions, units3)),
                nonlinearity(kind, 3),
                ("dropout3", nn.Dropout(options.dropout)),
                ("fc4", nn.Linear(units3, units4)),
                nonlinearity(kind, 4),
                ("dropout4", nn.Dropout(options.dropout)),
                ("output", nn.Linear(units4, classes)),
            ]
        )
    )
    for name, layer in net.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            initialise_(layer.weight, options.init)
            nn.init.constant_(layer.bias, 0.0 if name in ("conv1", "output") else 0.1)
    return channels_last(net)


ALEXNET = Architecture(alexnet, AlexNetOptions, layers=("conv1", "conv2", "fc3", "fc4"))
