"""Images as decorrelated Fourier coefficients: an image is found faster, and without noise.

Source: Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017 ("decorrelated
space"); the constants are those of the library Lucid (``lucid/optvis/param/spatial.py`` and
``color.py``, Apache-2.0), which the paper used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

INITIAL_DEVIATION = 0.01
"""Standard deviation of the coefficients at the start."""
CONTRAST = 4.0
"""What the synthesised image is divided by."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The values that the pixels of a model's input take, and how its channels vary together.

    Attributes:
        low: The lowest value of each channel, shape (channels,).
        high: The highest value of each channel, shape (channels,), above ``low``.
        colours: A square root of the correlation of the channels, shape (channels, channels), of
            columns at most 1 long.
    """

    low: Tensor
    high: Tensor
    colours: Tensor

    def pixels(self, decorrelated: Tensor) -> Tensor:
        """Return pixels within the range, shape (n, channels, h, w), of free numbers of that shape.

        Channels are mixed by ``colours``; a sigmoid then bounds them.
        """
        mixed = torch.einsum("dc,nchw->ndhw", self.colours, decorrelated)
        span = (self.high - self.low)[:, None, None]
        return self.low[:, None, None] + span * torch.sigmoid(mixed)

    def shares(self, pixels: Tensor) -> Tensor:
        """Return pixels as shares of the range: 0 is ``low`` and 1 is ``high``."""
        return (pixels - self.low[:, None, None]) / (self.high - self.low)[:, None, None]


def value_range(images: Tensor) -> ValueRange:
    """Return the range of images, and the correlation of their channels.

    Args:
        images: Images as the model takes them, shape (n, channels, h, w), n at least 1.

    Returns:
        The 0.5 % and 99.5 % quantiles of each channel, at least 1e-3 apart.  The square root of the
        correlation is that of Lucid: from the eigenvectors of the covariance of channels, scaled so
        that its longest column has length 1; the identity for one channel or constant images.
    """
    channels = images.shape[1]
    flat = images.transpose(0, 1).reshape(channels, -1).to(torch.float64)
    step = max(1, flat.shape[1] // 2**20)
    flat = flat[:, ::step]
    low, high = flat.quantile(0.005, dim=1), flat.quantile(0.995, dim=1)
    high = torch.maximum(high, low + 1e-3)
    shares = (flat - low[:, None]) / (high - low)[:, None]
    return ValueRange(low.float(), high.float(), _colours(shares).float())


def _colours(shares: Tensor) -> Tensor:
    channels = len(shares)
    covariance = shares.cov().reshape(channels, channels)
    if channels == 1 or not float(covariance.diagonal().max()) > 0:
        return torch.eye(channels, dtype=shares.dtype)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    scaled: Tensor = root / root.norm(dim=0).max()
    return scaled


class FourierImages(torch.nn.Module):
    """Images given by Fourier coefficients that count equally, whatever their frequency.

    Args:
        shape: (n, channels, h, w).
        pixels: The range of the pixels.
        generators: One generator for each image, so that an image does not depend on which others
            are made beside it.

    Attributes:
        coefficients: Real and imaginary parts, shape (n, channels, h, w // 2 + 1, 2).
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        pixels: ValueRange,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        _, channels, height, width = shape
        self._size = (height, width)
        self._pixels = pixels
        each = (channels, height, width // 2 + 1, 2)
        drawn = [torch.randn(each, generator=generator) for generator in generators]
        self.coefficients = torch.nn.Parameter(torch.stack(drawn) * INITIAL_DEVIATION)
        self._scale = _amplitudes(height, width)

    def forward(self) -> Tensor:
        """Return the images, shape (n, channels, h, w), within the range of the pixels."""
        spectrum = torch.view_as_complex(self.coefficients) * self._scale
        free = torch.fft.irfft2(spectrum, s=self._size) / CONTRAST
        return self._pixels.pixels(free)


def frequencies(height: int, width: int) -> Tensor:
    """Return the spatial frequency of each coefficient of a real transform, in cycles a pixel.

    Returns:
        Shape (height, width // 2 + 1); 0 at (0, 0), at most sqrt(1/2).
    """
    down, right = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    return torch.hypot(down[:, None], right[None, :])


def _amplitudes(height: int, width: int) -> Tensor:
    """Return the factors of coefficients: amplitudes of natural images fall with frequency."""
    least = 1 / max(height, width)
    scale: float = (height * width) ** 0.5
    return scale / frequencies(height, width).clamp(min=least)
