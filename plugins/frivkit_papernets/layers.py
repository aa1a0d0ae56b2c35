"""Layers of the convolutional networks."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from frivkit.errors import DataError


def image(name: str, shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """Return the shape of an example that is an image of sufficient size.

    Args:
        name: Name of the network, for the message.
        shape: Shape of an example.
        least: Smallest height and width.

    Returns:
        Channels, height and width.

    Raises:
        DataError: it is not an image, or is too small.

    Example:
        >>> image("cnn", (1, 8, 8), 4)
        (1, 8, 8)
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        raise DataError(
            f"{name} needs images (channels, height, width) of at least {least} x {least}, but "
            f"the data have shape {shape}; use mlp, or data of another layout"
        )
    channels, height, breadth = shape
    return channels, height, breadth


def halving_pool(height: int, breadth: int) -> nn.MaxPool2d:
    """Return 3 x 3 max-pooling with stride 2 that halves height and width, rounded up.

    The padding is that of TensorFlow's ``SAME``: after the image, and also before it if its size is
    odd.

    Example:
        >>> halving_pool(8, 5)(torch.zeros(1, 1, 8, 5)).shape
        torch.Size([1, 1, 4, 3])
    """
    return nn.MaxPool2d(3, 2, padding=(height % 2, breadth % 2), ceil_mode=True)


def channels_last(network: nn.Module) -> nn.Module:
    """Return the same network, with the channels of a place side by side in memory.

    Its convolutions, pooling and batch norms are then faster, and what it computes is the same but
    for rounding.

    Example:
        >>> channels_last(nn.Conv2d(3, 8, 5)).weight.stride()
        (75, 1, 15, 3)
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack it


@dataclass(frozen=True, slots=True)
class Norm:
    """Settings of a network's batch norm.

    Attributes:
        momentum: Weight of a batch in the running mean and variance.
        eps: Number added to the variance.
        scaled: Whether each channel has a trainable scale besides its shift.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    scaled: bool = True

    def build(self, channels: int) -> nn.BatchNorm2d:
        """Return the batch norm of a layer; without ``scaled``, its scale stays 1."""
        norm = nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)
        norm.weight.requires_grad_(self.scaled)
        return norm


class NormedConv(nn.Conv2d):
    """A convolution without bias, batch norm and an optional ReLU, as one layer.

    Args:
        inputs: The number of input maps.
        outputs: The number of output maps.
        kernel: Height and width of the kernel.
        norm: Settings of the batch norm.
        stride: Stride of the convolution.
        padded: Whether the input is padded by half the kernel.
        relu: Whether a ReLU follows the batch norm.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        norm: Norm,
        *,
        stride: int = 1,
        padded: bool = True,
        relu: bool = True,
    ) -> None:
        around = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        super().__init__(inputs, outputs, kernel, stride, around, bias=False)
        self.norm = norm.build(outputs)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, outputs, ...)."""
        activations: Tensor = self.relu(self.norm(super().forward(x)))
        return activations


class LocalResponseNorm(nn.Module):
    """Divide each map by (1 + ``alpha`` x the sum of squares of the 5 nearest maps)^``beta``.

    Source:
        Krizhevsky et al. 2012, section 3.3, with the numbers of Casper et al. 2021, appendix D.
        The operators of torch and ONNX divide ``alpha`` by the number of maps.
    """

    def __init__(self, alpha: float = 2e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, maps, height, width) to the same shape."""
        if torch.onnx.is_in_onnx_export():
            normalized = _Lrn.apply(x, self.alpha, self.beta)  # type: ignore[no-untyped-call]
            return cast(Tensor, normalized)
        return _normalized(x, self.alpha, self.beta)


def _normalized(x: Tensor, alpha: float, beta: float) -> Tensor:
    # A 1 x 1 convolution adds up neighbours faster on a CPU than torch's pooling in 3 dimensions.
    map_ = torch.arange(x.shape[1], device=x.device)
    near = (map_[:, None] - map_).abs() <= 2
    sums = functional.conv2d(x.square(), near.to(x.dtype)[:, :, None, None])
    return x / (1 + alpha * sums) ** beta


class _Lrn(torch.autograd.Function):
    """The norm as one LRN node when exported, through which units can be propagated."""

    @staticmethod
    def forward(_: Any, x: Tensor, alpha: float, beta: float) -> Tensor:
        return _normalized(x, alpha, beta)

    @staticmethod
    def symbolic(graph: Any, x: Any, alpha: float, beta: float) -> Any:
        node = graph.op("LRN", x, size_i=5, alpha_f=5 * alpha, beta_f=beta, bias_f=1.0)
        return node.setType(x.type())
