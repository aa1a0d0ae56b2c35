"""Images of which only the phase is free; the magnitude of each frequency is that of real images.

Source: Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
Optimization", NeurIPS 2023, arXiv:2306.06805.  There the magnitudes are those of ImageNet; here
they are the means over the user's data.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from frivkit_featurevis.fourier import ValueRange


class PhaseImages(torch.nn.Module):
    """Images given by the phases of their Fourier coefficients.

    Args:
        magnitudes: Magnitudes as :func:`mean_magnitudes` returns them, shape
            (channels, h, w // 2 + 1).
        mean: The mean of each channel as a share of the range, shape (channels,).
        size: Height and width.
        pixels: The range of the pixels.
        generators: One generator for each image.

    Attributes:
        phases: In radians, shape (n, channels, h, w // 2 + 1).
    """

    def __init__(
        self,
        magnitudes: Tensor,
        mean: Tensor,
        size: tuple[int, int],
        pixels: ValueRange,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        drawn = [torch.rand(magnitudes.shape, generator=each) for each in generators]
        self.phases = torch.nn.Parameter((2 * torch.stack(drawn) - 1) * torch.pi)
        self._magnitudes = magnitudes
        self._mean = mean[:, None, None]
        self._size = size
        self._pixels = pixels

    def forward(self) -> Tensor:
        """Return the images, shape (n, channels, h, w), within the range of the pixels.

        Values beyond the range are cut, and gradients pass as if they were not.
        """
        spectrum = torch.polar(self._magnitudes.expand_as(self.phases), self.phases)
        decorrelated = torch.fft.irfft2(spectrum, s=self._size)
        shares = torch.einsum("dc,nchw->ndhw", self._pixels.colours, decorrelated) + self._mean
        shares = shares + (shares.clamp(0, 1) - shares).detach()
        low, high = self._pixels.low[:, None, None], self._pixels.high[:, None, None]
        return low + (high - low) * shares


def mean_magnitudes(images: Tensor, pixels: ValueRange) -> tuple[Tensor, Tensor]:
    """Return the mean magnitude of each coefficient over images, and the mean of each channel.

    Args:
        images: As the model takes them, shape (n, channels, h, w).
        pixels: The range of the pixels, with the colours that channels are decorrelated by.

    Returns:
        Magnitudes of decorrelated channels without their means, shape (channels, h, w // 2 + 1),
        and means as shares of the range, shape (channels,).
    """
    shares = pixels.shares(images).clamp(0, 1)
    mean = shares.mean(dim=(0, 2, 3))
    inverse = torch.linalg.pinv(pixels.colours)
    decorrelated = torch.einsum("dc,nchw->ndhw", inverse, shares - mean[:, None, None])
    magnitudes = torch.fft.rfft2(decorrelated).abs().mean(dim=0)
    magnitudes[:, 0, 0] = 0  # the mean of a channel is fixed
    return magnitudes, mean
