"""Total variation of images and of their spectra: how much structure a visualisation has.

Source: Casper et al., "Frivolous Units", AAAI 2021, appendix E.
"""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.floating]


def total_variation(images: Images) -> NDArray[np.float64]:
    """Return the sum of the absolute differences of neighbouring pixels, by image.

    This is what the paper describes ("the sum of the absolute-valued gradients").

    Args:
        images: Shape (n, channels, h, w); real or complex.

    Returns:
        Shape (n,), 0 or more, in the units of the images.

    Example:
        >>> total_variation(np.array([[[[0.0, 1.0], [1.0, 0.0]]]])).tolist()
        [4.0]
    """
    down, right = _differences(images)
    axes = (1, 2, 3)
    return np.asarray(np.abs(down).sum(axis=axes) + np.abs(right).sum(axis=axes), np.float64)


def printed_total_variation(images: Images) -> NDArray[np.float64]:
    """Return the total variation by the paper's formula, which sums before it takes the modulus.

    The sums telescope, so only the first and last row and column of a channel count.

    Example:
        >>> printed_total_variation(np.array([[[[0.0, 1.0], [1.0, 0.0]]]])).tolist()
        [0.0]
    """
    down, right = _differences(images)
    by_channel = np.abs(down.sum(axis=(2, 3))) + np.abs(right.sum(axis=(2, 3)))
    return np.asarray(by_channel.sum(axis=1), np.float64)


def spectra(images: Images) -> NDArray[np.float64]:
    """Return the magnitudes of the Fourier transforms of images, frequency 0 in the middle.

    The paper applies its total variation to "the Fourier transform"; magnitudes are our reading.

    Returns:
        The shape of the images; the transform is orthonormal.
    """
    transformed = np.fft.fft2(np.asarray(images, np.float64), norm="ortho")
    return np.abs(np.fft.fftshift(transformed, axes=(-2, -1)))


def _differences(images: Images) -> tuple[Images, Images]:
    values = np.asarray(images)
    values = values.astype(np.result_type(values, np.float64))
    return np.diff(values, axis=2), np.diff(values, axis=3)
