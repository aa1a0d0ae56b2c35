"""Cuts of random size and shape, the augmentation of networks for ImageNet."""

from math import log

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Array
from frivkit.data.preprocess import resize_axis

AREA = (0.08, 1.0)  # smallest and largest share of the image
RATIO = (3 / 4, 4 / 3)  # smallest and largest width / height
TRIES = 10  # at sides that fit into the image; of a square image, 9 in 10 tries do


def random_resized_crop(images: Array, size: tuple[int, int], random: np.random.Generator) -> Array:
    """Cut a random rectangle out of each image and resize it.

    Args:
        images: Shape (n, channels, height, width).
        size: Height and width to give.
        random: Decides the rectangles, by the same number of draws for any images of that shape.

    Returns:
        Shape (n, channels, *size), bilinear, as :func:`frivkit.data.preprocess.resize_axis` makes
        it; float32, or float64 where float32 cannot hold the numbers of ``images``.

    Source:
        C. Szegedy et al. 2015, "Going Deeper with Convolutions", section 6: areas are distributed
        evenly from 8 to 100 % of the image, width / height lies between 3/4 and 4/3.

    Example:
        >>> images = np.zeros((2, 3, 60, 80), np.uint8)
        >>> random_resized_crop(images, (32, 32), np.random.default_rng(0)).shape
        (2, 3, 32, 32)
    """
    cuts = rectangles(len(images), images.shape[2:], random)
    made = np.empty((*images.shape[:2], *size), np.result_type(images, np.float32))
    for image, (top, left, height, width), target in zip(images, cuts, made, strict=True):
        cut = image[:, top : top + height, left : left + width]
        target[...] = resize_axis(resize_axis(cut, 1, size[0]), 2, size[1])
    return made


def rectangles(
    count: int, shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rectangles that lie inside images of one shape.

    1. Area and logarithm of width / height are even between :data:`AREA` and :data:`RATIO`, the
       place is even among those where the rectangle fits.  Sides are rounded to whole places.
    2. Sides that do not fit are drawn again, up to :data:`TRIES` times in all.
    3. Images for which none fitted, which are long and thin, give the largest rectangle that does
       and whose width / height is the nearest to theirs.

    Args:
        count: How many.
        shape: Height and width of the images.
        random: Decides the rectangles.

    Returns:
        Top, left, height and width of each, shape (count, 4).

    Source:
        :func:`random_resized_crop`.  Where we differ: the text leaves open how width / height is
        drawn, and the code published with Casper et al. 2021, arXiv:1912.04783, draws it, and then
        the height, evenly.

    Example:
        >>> rectangles(2, (100, 400), np.random.default_rng(0))[:, 2:].max(axis=0) <= (100, 400)
        array([ True,  True])
    """
    height, width = shape
    areas = height * width * random.uniform(*AREA, (TRIES, count))
    ratios = np.exp(random.uniform(log(RATIO[0]), log(RATIO[1]), (TRIES, count)))
    places = random.random((2, count))
    sides = np.stack([np.sqrt(areas / ratios), np.sqrt(areas * ratios)], axis=-1)
    sides = np.maximum(np.rint(sides).astype(np.int64), 1)
    fits = (sides <= shape).all(axis=-1)
    chosen = sides[fits.argmax(axis=0), np.arange(count)]
    ratio = np.clip(width / height, *RATIO)
    largest = np.minimum(shape, np.rint((width / ratio, height * ratio)).astype(np.int64))
    chosen = np.where(fits.any(axis=0)[:, None], chosen, np.maximum(largest, 1))
    corners = places.T * (np.array(shape) - chosen + 1)
    return np.concatenate([corners.astype(np.int64), chosen], axis=1)
