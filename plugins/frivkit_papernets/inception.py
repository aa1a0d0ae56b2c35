"""Inception-v3, all of it or one module at another width."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.inceptiontable import DEPARTURE, MODULES, STEM, VARIED
from frivkit_papernets.initial import Init, initialise_, truncated_normal_
from frivkit_papernets.parts import Norm, NormedConv, image

NORM = Norm(momentum=0.0003, eps=0.001, scaled=False)


@dataclass(frozen=True, slots=True)
class InceptionOptions:
    """Settings of :func:`inception` and :func:`inception_layer`.

    Attributes:
        protocol: Whether the net is the one of the paper's text, or of the code published with it.
        init: How weights are drawn: ``normal``, which is truncated at two scales, for one scale
            ``std`` for every layer, else suited to the layer.
        std: That scale, at least 0.  With ``protocol=reference`` the output has a tenth of it.
    """

    protocol: Literal["paper", "reference"] = "paper"
    init: Literal["normal", Init] = "normal"
    std: float = 0.1

    def __post_init__(self) -> None:
        if self.std < 0:
            raise UsageError(f"option std={self.std}: a spread cannot be negative")


class Fork(nn.Module):
    """Several layers that read the same, their maps one behind the other."""

    def __init__(self, ways: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, way in ways.items():
            self.add_module(name, way)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, sum of outputs, ...)."""
        return torch.cat([way(x) for way in self.children()], dim=1)


class Auxiliary(nn.Module):
    """The classifier beside the network that only training uses.

    Args:
        inputs: Maps read.
        places: Height and width of these maps, at least 5.
        classes: Outputs.
        width: Factor on the units of its layers.
    """

    def __init__(self, inputs: int, places: tuple[int, int], classes: int, width: float) -> None:
        super().__init__()
        maps, units = scaled(128, width), scaled(768, width)
        height, breadth = ((size - 5) // 3 + 1 for size in places)
        self.pool = nn.AvgPool2d(5, 3)
        self.proj = NormedConv(inputs, maps, (1, 1), NORM)
        self.dense = NormedConv(maps, units, (height, breadth), NORM, padded=False)
        self.output = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to logits (n, classes)."""
        made: Tensor = self.output(self.dense(self.proj(self.pool(x))).flatten(1))
        return made


class Inception(nn.Sequential):
    """Layers in a row, and the auxiliary classifier, which has no say in the logits."""

    def __init__(self, layers: OrderedDict[str, nn.Module], auxiliary: Auxiliary | None) -> None:
        super().__init__(layers)
        self.row = tuple(layers)
        if auxiliary is not None:
            self.add_module("auxiliary", auxiliary)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        for name in self.row:
            x = self.get_submodule(name)(x)
        return x


def inception(
    shape: tuple[int, ...], classes: int, width: float, options: InceptionOptions
) -> nn.Module:
    """Build Inception-v3 with all layers but the last ``width`` times as wide.

    Its parts are ``conv0`` to ``conv4`` and modules named after the maps they have at width 1.
    Batch norm has no factor, and running statistics that take 0.0003 of a batch.

    1. ``paper``: weights have one scale in all layers.
    2. ``reference``: with the auxiliary classifier, whose weights are counted but, as no trainer
       here knows a second output, stay as they are drawn; 192 maps whatever the width in one branch
       of ``mixed_17x17x768d``; a fifth of the last maps dropped out; smaller weights in the output.
       This is the net whose parameters the paper counts.

    Source:
        Szegedy et al. 2016, arXiv:1512.00567; Casper et al. 2021, appendix D, and the code
        published with it.

    Raises:
        DataError: ``shape`` is not that of an image of at least 75 x 75 (107 x 107 with the
            auxiliary classifier).

    Example:
        >>> with torch.device("meta"):
        ...     net = inception((3, 299, 299), 1001, 0.25, InceptionOptions("reference"))
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad)  # figure E1
        2286026
    """
    return _built("inception-v3", shape, classes, (width, width), options)


def inception_layer(
    shape: tuple[int, ...], classes: int, width: float, options: InceptionOptions
) -> nn.Module:
    """Build Inception-v3 with the third module alone, ``mixed_35x35x288b``, at another width.

    All else is as in :func:`inception`.  The paper calls the module layer 7, counting from 0.

    Example:
        >>> with torch.device("meta"):
        ...     net = inception_layer((3, 299, 299), 1001, 4, InceptionOptions("reference"))
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad)  # figure E1
        34174658
    """
    return _built("inception-v3-layer", shape, classes, (1.0, width), options)


def _built(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    widths: tuple[float, float],
    options: InceptionOptions,
) -> nn.Module:
    """Build a net from the widths of all modules and of the one that is varied."""
    width, varied = widths
    reference = options.protocol == "reference"
    maps, height, breadth = image(name, shape, 107 if reference else 75)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for part, layer in STEM.items():
        layers[part], maps = _layer(layer, maps, width)
    auxiliary = None
    for part, branches in (MODULES | (DEPARTURE if reference else {})).items():
        factor = varied if part == VARIED else width
        made = {branch: _branch(text, maps, factor) for branch, text in branches.items()}
        layers[part] = Fork({branch: each for branch, (each, _) in made.items()})
        maps = sum(outputs for _, outputs in made.values())
        if reference and part == "mixed_17x17x768e":
            auxiliary = Auxiliary(maps, (_places(height), _places(breadth)), classes, width)
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["dropout"] = nn.Dropout(0.2 if reference else 0.0)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(maps, classes)
    net = Inception(layers, auxiliary)
    _initialise(net, options)
    return net


def _places(size: int) -> int:
    """Return the height of the 17 x 17 maps in an image of another height than 299."""
    stem = (size - 3) // 2 - 1  # conv0 and conv1
    pooled = ((stem - 3) // 2 - 1 - 3) // 2 + 1  # pool1, conv4 and pool2
    return (pooled - 3) // 2 + 1


def _branch(text: str, inputs: int, width: float) -> tuple[nn.Module, int]:
    """Build a branch and give the maps it writes; the last of its layers is called ``last``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    parts = text.split(", ")
    for number, part in enumerate(parts, start=1):
        name = "last" if number == len(parts) else f"layer{number}"
        layers[name], inputs = _layer(part, inputs, width)
    return nn.Sequential(layers), inputs


def _layer(text: str, inputs: int, width: float) -> tuple[nn.Module, int]:
    """Build what one entry of the table says and give the maps it writes."""
    if text == "mean":
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), inputs
    if text == "max":
        return nn.MaxPool2d(3, 2), inputs
    number, _, places = text.partition(" ")
    outputs = int(number[:-1]) if number.endswith("!") else scaled(int(number), width)
    across, fork, down = places.partition("|")
    first = _convolution(inputs, outputs, across)
    if not fork:
        return first, outputs
    down_way = _convolution(inputs, outputs, down)
    return Fork({"across": first, "down": down_way}), 2 * outputs


def _convolution(inputs: int, outputs: int, places: str) -> NormedConv:
    """Build ``3x3``, with ``/2`` for stride 2, and ``v`` for only where the kernel fits."""
    fits = places.endswith("v")
    kernel, _, stride = places.removesuffix("v").partition("/")
    height, breadth = map(int, kernel.split("x"))
    return NormedConv(
        inputs, outputs, (height, breadth), NORM, stride=int(stride or 1), padded=not fits
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


JOINED = tuple(MODULES)  # named in full: what forks within a module is no layer of its own
LAYERS = (*(part for part in STEM if part.startswith("conv")), *JOINED)
INCEPTION = Architecture(inception, InceptionOptions, layers=LAYERS, joined=JOINED)
INCEPTION_LAYER = Architecture(inception_layer, InceptionOptions, layers=(VARIED,), joined=JOINED)
