"""Images of units as pictures: one by one for a page, and as a grid for a file."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frivkit.errors import FrivkitError
from frivkit_featurevis.total_variation import spectra

LEAST = 96
"""Smallest side of an image in a grid, in pixels: smaller ones are enlarged."""
GAP = 4
"""Pixels between the images of a grid."""


def picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image as red, green and blue.

    Args:
        image: Shares of the range of the data, from 0 to 1, shape (channels, h, w).  One channel is
            shown in grey and three as colours; with any other number, the channels are shown in
            grey, side by side.

    Returns:
        Shape (h, w, 3), or (h, channels × w, 3).
    """
    if len(image) == 3:
        shown = np.moveaxis(image, 0, -1)
    else:
        shown = np.repeat(np.concatenate(list(image), axis=1)[:, :, np.newaxis], 3, axis=2)
    return np.asarray(np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8)


def spectrum_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the spectrum of an image in grey, frequency 0 in the middle.

    Brightness is the logarithm of the mean magnitude over the channels, without their means.
    """
    centred = image - image.mean(axis=(1, 2), keepdims=True)
    magnitude = np.log1p(spectra(centred[np.newaxis])[0].mean(axis=0))
    highest = float(magnitude.max())
    shares = magnitude / highest if highest > 0 else magnitude
    return picture(shares[np.newaxis].astype(np.float32))


def grid(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> bytes:
    """Return rows of pictures of one size as a PNG file, enlarged if they are small.

    Args:
        rows: Pictures of shape (h, w, 3); at least one.
    """
    height, width = rows[0][0].shape[:2]
    factor = max(1, -(-LEAST // min(height, width)))
    tall, wide = height * factor + GAP, width * factor + GAP
    canvas = np.full((tall * len(rows) + GAP, wide * max(map(len, rows)) + GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, each in enumerate(row):
            large = each.repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = GAP + i * tall, GAP + j * wide
            canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    return _encoded(canvas, "PNG")


def small_file(shown: NDArray[np.uint8]) -> bytes:
    """Return a picture as a WebP file, a few kB, for a page."""
    return _encoded(shown, "WEBP")


def _encoded(shown: NDArray[np.uint8], kind: str) -> bytes:
    stream = io.BytesIO()
    Image.init()
    if kind not in Image.SAVE:  # Pillow passes over what it cannot load
        raise FrivkitError(
            f"Pillow writes no {kind} pictures here: install one that does, or give the run more "
            "memory"
        )
    Image.fromarray(shown).save(stream, kind, **({"quality": 85} if kind == "WEBP" else {}))
    return stream.getvalue()
