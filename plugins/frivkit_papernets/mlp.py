"""The paper's multilayer perceptron."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from torch import nn

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.initialization import Init, initialise_, truncated_normal_
from frivkit_papernets.nonlinearity import Activation, nonlinearity


@dataclass(frozen=True, slots=True)
class MlpOptions:
    """Settings of :func:`mlp`.

    Attributes:
        depth: The number of hidden layers, at least 1.
        init: Initialization of the weights.  ``he`` is ``he-normal``, which is scaled to the layer,
            as are the others of :data:`~frivkit_papernets.initialization.Init`.  Two have the scale
            ``std`` for any size: ``normal``, truncated at two scales, of the code published with
            the paper, and ``gaussian``, not truncated, of its text.
        std: The scale of the output layer's weights, at least 0.  Hidden layers have a tenth of it
            with ``normal``, the same with ``gaussian``.  The paper's init factor f is std=0.01f.
        activation: Activation function of each hidden layer.
    """

    depth: int = 1
    init: Literal["he", "normal", "gaussian", Init] = "he"
    std: float = 0.01
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise UsageError(f"option depth={self.depth}: a network needs at least 1 hidden layer")
        if self.std < 0:
            raise UsageError(f"option std={self.std}: a scale cannot be negative")


def mlp(shape: tuple[int, ...], classes: int, width: float, options: MlpOptions) -> nn.Module:
    """Build hidden layers ``fc1``, ``fc2``, ... of 128 x ``width`` units, and ``output``.

    Inputs of any shape are flattened.  Initial biases are 0.

    Source:
        Casper et al. 2021, "Frivolous Units" (AAAI), arXiv:1912.04783, and the code published with
        it, whose widths 1 to 16 (times 32 units) are 1/4 to 4 here.  The paper's network has
        depth 1.

    Example:
        >>> sum(p.numel() for p in mlp((10,), 2, 0.25, MlpOptions()).parameters())
        418
    """
    sizes = [prod(shape), *[scaled(128, width)] * options.depth]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, (before, units) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{number}"] = _linear(before, units, options, 0.1)
        name, function = nonlinearity(options.activation, number)
        layers[name] = function
    layers["output"] = _linear(sizes[-1], classes, options, 1.0)
    return nn.Sequential(layers)


def _linear(before: int, units: int, options: MlpOptions, share: float) -> nn.Linear:
    layer = nn.Linear(before, units)
    nn.init.zeros_(layer.bias)
    if options.init == "normal":
        truncated_normal_(layer.weight, options.std * share)
    elif options.init == "gaussian":
        nn.init.normal_(layer.weight, std=options.std)
    else:
        initialise_(layer.weight, "he-normal" if options.init == "he" else options.init)
    return layer


MLP = Architecture(mlp, MlpOptions, layers=("fc*",))
