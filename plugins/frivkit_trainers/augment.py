"""Augmentation: random changes of training images before preprocessing."""

import numpy as np

from frivkit.data import Array
from frivkit.errors import DataError
from frivkit_trainers.random_resized_crop import random_resized_crop
from frivkit_trainers.settings import LabOptions


class Augmenter:
    """Pad, crop, mirror, brighten and change the contrast of images, each image differently.

    Operations that the options do not request draw no random numbers.  Values are in the units of
    the stored image, usually 0 to 255, and are not clipped.

    Args:
        options: ``pad``, ``crop``, ``flip``, ``brightness`` and ``contrast``.
        random: Source of all random numbers.

    Source:
        The code published with Casper et al. 2021, arXiv:1912.04783, in that order.  As there, the
        contrast of each channel changes about its mean.  For ``crop=proportions`` see
        :func:`~frivkit_trainers.random_resized_crop.random_resized_crop`.
    """

    def __init__(self, options: LabOptions, random: np.random.Generator) -> None:
        self.random = random
        self._options = options

    def __call__(self, batch: Array, layout: str, size: tuple[int, int]) -> Array:
        """Return augmented images of height and width ``size``.

        Args:
            batch: Shape (n, *example).
            layout: Letters of an example's axes: ``hw``, ``hwc`` or ``chw``.
            size: Height and width of the result.

        Returns:
            A new array with the same axes; float32 if brightness or contrast change, or if images
            are resized (float64 if float32 cannot represent their numbers).

        Raises:
            DataError: padded images are smaller than ``size``, and are not resized.
        """
        images = batch[:, None] if layout == "hw" else np.moveaxis(batch, layout.index("c") + 1, 1)
        if self._options.crop == "proportions":
            images = random_resized_crop(images, size, self.random)
        else:
            images = self._cropped(images, size)
        count = len(images)
        if self._options.flip:
            mirrored = self.random.random(count) < 0.5
            images[mirrored] = images[mirrored, ..., ::-1]
        shape = (count, 1, 1, 1)
        if self._options.brightness:
            added = self.random.uniform(-1, 1, shape) * self._options.brightness
            images = images.astype(np.float32) + added.astype(np.float32)
        if self._options.contrast:
            factor = 1 + self.random.uniform(-1, 1, shape) * self._options.contrast
            images = images.astype(np.float32)
            mean = images.mean(axis=(2, 3), keepdims=True)
            images = (images - mean) * factor.astype(np.float32) + mean
        return images[:, 0] if layout == "hw" else np.moveaxis(images, 1, layout.index("c") + 1)

    def _cropped(self, images: Array, size: tuple[int, int]) -> Array:
        """Return padded and cropped images, shape (n, channels, height, width), in a new array."""
        height, width = size
        if self._options.pad:
            around = (self._options.pad, self._options.pad)
            images = np.pad(images, ((0, 0), (0, 0), around, around))
        margins = (images.shape[2] - height, images.shape[3] - width)
        if min(margins) < 0:
            raise DataError(
                f"images of {images.shape[2:]} are too small for crops of {size}; give larger ones"
            )
        tops, lefts = (np.full(len(images), margin // 2) for margin in margins)
        if self._options.crop == "yes":
            tops, lefts = (self.random.integers(0, margin + 1, len(images)) for margin in margins)
        windows = np.lib.stride_tricks.sliding_window_view(images, size, axis=(2, 3))
        cropped: Array = windows[np.arange(len(images)), :, tops, lefts]
        return cropped
