"""The paper's small AlexNet for CIFAR-10."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.initial import Init, initialise_
from frivkit_papernets.nonlinearity import Activation, nonlinearity
from frivkit_papernets.parts import NeighbourNorm, halving_pool, image


@dataclass(frozen=True, slots=True)
class AlexNetOptions:
    """Settings of :func:`alexnet`.

    Attributes:
        init: How weights are drawn, those of the output layer too.
        dropout: Share of units of ``fc3`` and ``fc4`` left out in training, in [0, 1); the paper's
            regularised nets have 0.5.
        activation: What follows each layer but the last.
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
    response normalisation across neighbouring maps.  Biases start at 0 in ``conv1`` and ``output``,
    at 0.1 elsewhere.

    Source:
        Casper et al. 2021, appendix D, which the code published with it agrees with; it alone gives
        the biases, and the padding.

    Raises:
        DataError: ``shape`` is not that of an image.

    Example:
        >>> net = alexnet((3, 32, 32), 10, 0.25, AlexNetOptions())
        >>> sum(p.numel() for p in net.parameters())  # Casper et al. 2021, figure E1
        438746
    """
    channels, height, breadth = image("alexnet-cifar", shape, 1)
    maps, more = scaled(96, width), scaled(256, width)
    units, fewer = scaled(384, width), scaled(192, width)
    half, half_breadth = (height + 1) // 2, (breadth + 1) // 2
    places = ((half + 1) // 2) * ((half_breadth + 1) // 2)
    kind = options.activation
    net = nn.Sequential(
        OrderedDict(
            [
                ("conv1", nn.Conv2d(channels, maps, 5, padding=2)),
                nonlinearity(kind, 1),
                ("pool1", halving_pool(height, breadth)),
                ("norm1", NeighbourNorm()),
                ("conv2", nn.Conv2d(maps, more, 5, padding=2)),
                nonlinearity(kind, 2),
                ("pool2", halving_pool(half, half_breadth)),
                ("norm2", NeighbourNorm()),
                ("flatten", nn.Flatten()),
                ("fc3", nn.Linear(more * places, units)),
                nonlinearity(kind, 3),
                ("dropout3", nn.Dropout(options.dropout)),
                ("fc4", nn.Linear(units, fewer)),
                nonlinearity(kind, 4),
                ("dropout4", nn.Dropout(options.dropout)),
                ("output", nn.Linear(fewer, classes)),
            ]
        )
    )
    for name, layer in net.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            initialise_(layer.weight, options.init)
            nn.init.constant_(layer.bias, 0.0 if name in ("conv1", "output") else 0.1)
    return net


ALEXNET = Architecture(alexnet, AlexNetOptions, layers=("conv1", "conv2", "fc3", "fc4"))
