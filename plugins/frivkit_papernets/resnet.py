"""Residual networks: ResNet56 and ResNet20 for CIFAR-10, ResNet18 for ImageNet."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from frivkit.experiments.train import Architecture, scaled
from frivkit_papernets.initialization import Init, initialise_
from frivkit_papernets.layers import Norm, NormedConv, channels_last, halving_pool, image


@dataclass(frozen=True, slots=True)
class ResNetOptions:
    """Settings of :func:`resnet56`, :func:`resnet20` and :func:`resnet18`.

    Attributes:
        protocol: ``paper`` for the network of the paper's text, ``reference`` for that of the code
            published with it.
        init: Initialization of the weights.  ``protocol`` is ``glorot-normal`` for the text; for
            the code it is ``lecun-normal``, and ``glorot-uniform`` for the output layer.
    """

    protocol: Literal["paper", "reference"] = "paper"
    init: Literal["protocol", Init] = "protocol"


class Block(nn.Module):
    """Two convolutions, the first with ``stride``, and a ReLU after their sum with the input.

    Args:
        inputs: The number of input maps.
        outputs: The number of output maps.
        kernel: Size of both kernels.
        norm: Settings of the batch norm after each convolution.
        stride: Stride of the first convolution and of the shortcut.
        projected: Whether the shortcut has a 1 x 1 convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        norm: Norm,
        *,
        stride: int = 1,
        projected: bool = False,
    ) -> None:
        super().__init__()
        square = (kernel, kernel)
        self.conv1 = NormedConv(inputs, outputs, square, norm, stride=stride)
        self.conv2 = NormedConv(outputs, outputs, square, norm, relu=False)
        self.shortcut = (
            NormedConv(inputs, outputs, (1, 1), norm, stride=stride, relu=False)
            if projected
            else nn.Identity()
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, outputs, ...)."""
        activations: Tensor = self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))
        return activations


def resnet56(
    shape: tuple[int, ...], classes: int, width: float, options: ResNetOptions
) -> nn.Module:
    """Build ``conv1`` of 16 x ``width`` maps and three stages of 9 blocks, of 16, 32 and 64 x.

    All kernels are 3 x 3.  The first block of each stage has a projection.

    1. ``paper``: all strides are 1, the initial weights are Glorot's.
    2. ``reference``: the second and third stage begin with stride 2, the initial weights are
       LeCun's, and batch norm has a momentum of 0.003.

    Both have the same number of parameters.

    Source:
        1. Casper et al. 2021, appendix D, which lists 16, 16, 32, 64 and 128 maps for these four
           parts: the last number is not used here, as in the code.
        2. The code published with it; He et al. 2016, arXiv:1512.03385, section 4.2.

    Raises:
        DataError: ``shape`` is not the shape of an image.

    Example:
        >>> net = resnet56((3, 32, 32), 10, 0.25, ResNetOptions("reference"))
        >>> sum(p.numel() for p in net.parameters())  # Casper et al. 2021, figure E1
        54518
    """
    image("resnet56", shape, 1)
    return _small(shape, classes, width, options, 9)


def resnet20(
    shape: tuple[int, ...], classes: int, width: float, options: ResNetOptions
) -> nn.Module:
    """Build a :func:`resnet56` with 3 blocks in each stage, about three times as fast.

    Source:
        He et al. 2016, arXiv:1512.03385, section 4.2, except for the projections.

    Raises:
        DataError: ``shape`` is not the shape of an image.

    Example:
        >>> net = resnet20((3, 32, 32), 10, 1, ResNetOptions("reference"))
        >>> sum(layer.kernel_size == (3, 3) for layer in net.modules() if hasattr(layer, "norm"))
        19
    """
    image("resnet20", shape, 1)
    return _small(shape, classes, width, options, 3)


def _small(
    shape: tuple[int, ...], classes: int, width: float, options: ResNetOptions, blocks: int
) -> nn.Module:
    """Build a network for small images with ``blocks`` blocks in each stage."""
    paper = options.protocol == "paper"
    norm, first = _norm(options), scaled(16, width)
    maps = [first, *(scaled(units, width) for units in (16, 32, 64))]
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=NormedConv(shape[0], first, (3, 3), norm)
    )
    parts |= _stages(maps, blocks, 3, (1, 1, 1) if paper else (1, 2, 2), norm)
    return _with_output(parts, maps[-1], classes, options)


def resnet18(
    shape: tuple[int, ...], classes: int, width: float, options: ResNetOptions
) -> nn.Module:
    """Build ``conv1`` of 64 x ``width`` maps and four stages of 2 blocks, of 64, 128, 256, 512 x.

    ``conv1`` is 7 x 7 with stride 2, and 3 x 3 max-pooling with stride 2 follows it.  The first
    block of each stage has a projection.

    1. ``paper``: blocks have 7 x 7 kernels, each stage begins with stride 2, the initial weights
       are Glorot's.
    2. ``reference``: blocks have 3 x 3 kernels, the first stage has stride 1, the initial weights
       are LeCun's, and batch norm has a momentum of 0.003.  This is the usual ResNet18 except for
       the projection in its first stage.  The paper's numbers of parameters are those of this
       network.

    Source:
        1. Casper et al. 2021, appendix D, which lists 64, 64, 128 and 256 maps for these five
           parts: the fifth has 512, as in the code.
        2. The code published with it; He et al. 2016, arXiv:1512.03385, table 1.

    Raises:
        DataError: ``shape`` is not the shape of an image.

    Example:
        >>> net = resnet18((3, 224, 224), 1001, 0.25, ResNetOptions("reference"))
        >>> sum(p.numel() for p in net.parameters())  # Casper et al. 2021, figure E1
        831513
    """
    channels, height, breadth = image("resnet18", shape, 1)
    paper = options.protocol == "paper"
    norm, first = _norm(options), scaled(64, width)
    maps = [first, *(scaled(units, width) for units in (64, 128, 256, 512))]
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=NormedConv(channels, first, (7, 7), norm, stride=2),
        pool1=halving_pool((height + 1) // 2, (breadth + 1) // 2),
    )
    kernel, strides = (7, (2, 2, 2, 2)) if paper else (3, (1, 2, 2, 2))
    parts |= _stages(maps, 2, kernel, strides, norm)
    return _with_output(parts, maps[-1], classes, options)


def _norm(options: ResNetOptions) -> Norm:
    return Norm() if options.protocol == "paper" else Norm(momentum=0.003)


def _stages(
    maps: Sequence[int], blocks: int, kernel: int, strides: Sequence[int], norm: Norm
) -> dict[str, nn.Module]:
    """Return the stages from each number of ``maps`` to the next, each with its first stride."""
    stages: dict[str, nn.Module] = {}
    for number, (before, after) in enumerate(pairwise(maps)):
        first = Block(before, after, kernel, norm, stride=strides[number], projected=True)
        row: OrderedDict[str, nn.Module] = OrderedDict(block1=first)
        for index in range(2, blocks + 1):
            row[f"block{index}"] = Block(after, after, kernel, norm)
        stages[f"stage{number + 1}"] = nn.Sequential(row)
    return stages


def _with_output(
    parts: OrderedDict[str, nn.Module], maps: int, classes: int, options: ResNetOptions
) -> nn.Module:
    parts["mean"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["output"] = nn.Linear(maps, classes)
    net = nn.Sequential(parts)
    default: tuple[Init, Init] = ("glorot-normal", "glorot-normal")
    if options.protocol == "reference":
        default = ("lecun-normal", "glorot-uniform")
    inner, outer = default if options.init == "protocol" else (options.init, options.init)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            initialise_(layer.weight, inner)
        elif isinstance(layer, nn.Linear):
            initialise_(layer.weight, outer)
            nn.init.zeros_(layer.bias)
    return channels_last(net)


def _layers(stages: int, blocks: int) -> tuple[str, ...]:
    """Return the names of ``conv1`` and of the last layer of each stage."""
    return ("conv1", *(f"stage{stage + 1}.block{blocks}.conv2" for stage in range(stages)))


RESNET56 = Architecture(resnet56, ResNetOptions, layers=_layers(3, 9))
RESNET20 = Architecture(resnet20, ResNetOptions, layers=_layers(3, 3))
RESNET18 = Architecture(resnet18, ResNetOptions, layers=_layers(4, 2))
