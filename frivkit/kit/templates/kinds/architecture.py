"""A network of one hidden layer."""

from math import prod

from torch import nn

from frivkit.plugin import Architecture, NoOptions, scaled


def build(shape: tuple[int, ...], classes: int, width: float, options: NoOptions) -> nn.Module:
    """Build one hidden layer of 64 x ``width`` units."""
    units = scaled(64, width)
    layers = (nn.Linear(prod(shape), units), nn.ReLU(), nn.Linear(units, classes))
    return nn.Sequential(nn.Flatten(), *layers)


SMALL = Architecture(build)
