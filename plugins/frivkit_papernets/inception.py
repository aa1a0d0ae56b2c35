"""Inception-v3, with all layers or one module at another width."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.inception_table import DEPARTURE, MODULES, STEM, VARIED
from frivkit_papernets.initialization import Init, initialise_, truncated_normal_
from frivkit_papernets.layers import Norm, NormedConv, channels_last, image

NORM = Norm(momentum=0.0003, eps=0.001, scaled=False)


@dataclass(frozen=True, slots=True)
class InceptionOptions:
    """Settings of :func:`inception` and :func:`inception_layer`.

    Attributes:
        protocol: ``paper`` for the network of the paper's text, ``reference`` for that of the code
            published with it.
        init: Initialization of the weights: ``normal`` for a normal of scale ``std`` in every
            layer, truncated at two scales; the others are scaled to the layer.
        std: The scale of ``normal``, at least 0.  With ``protocol=reference`` the output has
            a tenth of it.
    """

    protocol: Literal["paper", "reference"] = "paper"
    init: Literal["normal", Init] = "normal"
    std: float = 0.1

    def __post_init__(self) -> None:
        if self.std < 0:
            raise UsageError(f"option std={self.std}: a scale cannot be negative")


class ConcatBranches(nn.Module):
    """Several branches with the same input, whose maps are concatenated."""

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, sum of outputs, ...)."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class Auxiliary(nn.Module):
    """The auxiliary classifier, which is used in training only.

    Args:
        inputs: The number of input maps.
        size: Height and width of these maps, at least 5.
        classes: The number of outputs.
        width: Factor on the units of its layers.
    """

    def __init__(self, inputs: int, size: tuple[int, int], classes: int, width: float) -> None:
        super().__init__()
        maps, units = scaled(128, width), scaled(768, width)
        height, breadth = ((length - 5) // 3 + 1 for length in size)
        self.pool = nn.AvgPool2d(5, 3)
        self.proj = NormedConv(inputs, maps, (1, 1), NORM)
        self.dense = NormedConv(maps, units, (height, breadth), NORM, padded=False)
        self.output = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to logits (n, classes)."""
        logits: Tensor = self.output(self.dense(self.proj(self.pool(x))).flatten(1))
        return logits


class Inception(nn.Sequential):
    """A sequence of layers, and the auxiliary classifier, which does not affect the logits."""

    def __init__(self, layers: OrderedDict[str, nn.Module], auxiliary: Auxiliary | None) -> None:
        super().__init__(layers)
        self.sequence = tuple(layers)
        if auxiliary is not None:
            self.add_module("auxiliary", auxiliary)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        for name in self.sequence:
            x = self.get_submodule(name)(x)
        return x


def inception(
    shape: tuple[int, ...], classes: int, width: float, options: InceptionOptions
) -> nn.Module:
    """Build Inception-v3 with all layers but the last ``width`` times as wide.

    Its parts are ``conv0`` to ``conv4`` and modules named after their number of maps at width 1.
    Batch norm has no scale and a momentum of 0.0003.

    1. ``paper``: weights have the same scale in all layers.
    2. ``reference``: with the auxiliary classifier, whose weights count as parameters but stay at
       their initial values, as no trainer here trains a second output; one branch of
       ``mixed_17x17x768d`` has 192 maps at any width; dropout of 0.2 on the last maps; smaller
       initial weights of the output.  The paper's numbers of parameters are those of this network.

    Source:
        Szegedy et al. 2016, arXiv:1512.00567; Casper et al. 2021, appendix D, and the code
        published with it.

    Raises:
        DataError: ``shape`` is not the shape of an image of at least 75 x 75 (107 x 107 with the
            auxiliary classifier).

    Example:
        >>> with torch.device("meta"):
        ...     net = inception((3, 299, 299), 1001, 0.25, InceptionOptions("reference"))
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad)  # figure E1
        2286026
    """
    return _build("inception-v3", shape, classes, (width, width), options)


def inception_layer(
    shape: tuple[int, ...], classes: int, width: float, options: InceptionOptions
) -> nn.Module:
    """Build Inception-v3 with another width of its third module, ``mixed_35x35x288b``, only.

    Otherwise as :func:`inception`.  The paper calls the module layer 7, counting from 0.

    Example:
        >>> with torch.device("meta"):
        ...     net = inception_layer((3, 299, 299), 1001, 4, InceptionOptions("reference"))
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad)  # figure E1
        34174658
    """
    return _build("inception-v3-layer", shape, classes, (1.0, width), options)


def _build(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    widths: tuple[float, float],
    options: InceptionOptions,
) -> nn.Module:
    """Build a network; ``widths`` are those of all modules and of the varied module."""
    width, varied = widths
    reference = options.protocol == "reference"
    maps, height, breadth = image(name, shape, 107 if reference else 75)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for part, layer in STEM.items():
        layers[part], maps = _layer(layer, maps, width)
    auxiliary = None
    for part, branches in (MODULES | (DEPARTURE if reference else {})).items():
        factor = varied if part == VARIED else width
        built = {branch: _branch(text, maps, factor) for branch, text in branches.items()}
        layers[part] = ConcatBranches({branch: each for branch, (each, _) in built.items()})
        maps = sum(outputs for _, outputs in built.values())
        if reference and part == "mixed_17x17x768e":
            auxiliary = Auxiliary(maps, (_size_17(height), _size_17(breadth)), classes, width)
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["dropout"] = nn.Dropout(0.2 if reference else 0.0)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(maps, classes)
    net = Inception(layers, auxiliary)
    _initialise(net, options)
    return channels_last(net)


def _size_17(size: int) -> int:
    """Return the height of the maps that are 17 x 17 for images of 299 x 299."""
    stem = (size - 3) // 2 - 1  # conv0 and conv1
    pooled = ((stem - 3) // 2 - 1 - 3) // 2 + 1  # pool1, conv4 and pool2
    return (pooled - 3) // 2 + 1


def _branch(text: str, inputs: int, width: float) -> tuple[nn.Module, int]:
    """Return a branch and its number of output maps; its last layer is called ``last``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    parts = text.split(", ")
    for number, part in enumerate(parts, start=1):
        name = "last" if number == len(parts) else f"layer{number}"
        layers[name], inputs = _layer(part, inputs, width)
    return nn.Sequential(layers), inputs


def _layer(text: str, inputs: int, width: float) -> tuple[nn.Module, int]:
    """Return the layer of one entry of the table and its number of output maps."""
    if text == "mean":
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), inputs
    if text == "max":
        return nn.MaxPool2d(3, 2), inputs
    number, _, kernels = text.partition(" ")
    outputs = int(number[:-1]) if number.endswith("!") else scaled(int(number), width)
    across, bar, down = kernels.partition("|")
    first = _convolution(inputs, outputs, across)
    if not bar:
        return first, outputs
    second = _convolution(inputs, outputs, down)
    return ConcatBranches({"across": first, "down": second}), 2 * outputs


def _convolution(inputs: int, outputs: int, text: str) -> NormedConv:
    """Return the convolution of ``3x3``; ``/2`` is stride 2, ``v`` is without padding."""
    valid = text.endswith("v")
    kernel, _, stride = text.removesuffix("v").partition("/")
    height, breadth = map(int, kernel.split("x"))
    return NormedConv(
        inputs, outputs, (height, breadth), NORM, stride=int(stride or 1), padded=not valid
    )


def _initialise(net: Inception, options: InceptionOptions) -> None:
    smaller = {"output": 0.1, "auxiliary.dense": 0.1, "auxiliary.output": 0.01}
    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if options.init == "normal":
            share = smaller.get(name, 1.0) if options.protocol == "reference" else 1.0
            truncated_normal_(layer.weight, options.std * share)
        else:
            initialise_(layer.weight, options.init)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


JOINED = tuple(MODULES)  # by full name: a fork within a module is not a layer of its own
LAYERS = (*(part for part in STEM if part.startswith("conv")), *JOINED)
INCEPTION = Architecture(inception, InceptionOptions, layers=LAYERS, joined=JOINED)
INCEPTION_LAYER = Architecture(inception_layer, InceptionOptions, layers=(VARIED,), joined=JOINED)
