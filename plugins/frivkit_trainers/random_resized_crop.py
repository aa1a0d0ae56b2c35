"""Random resized crops, the augmentation of networks for ImageNet."""

from math import log

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Array
from frivkit.data.preprocess import resize_axis

AREA = (0.08, 1.0)  # smallest and largest share of the image
RATIO = (3 / 4, 4 / 3)  # smallest and largest width / height
TRIES = 10  # at a rectangle that fits into the image; in a square image, 9 in 10 tries do


def random_resized_crop(images: Array, size: tuple[int, int], random: np.random.Generator) -> Array:
    """Crop a random rectangle from each image and resize it.

    Args:
        images: Shape (n, channels, height, width).
        size: Height and width of the result.
        random: Determines the rectangles; the number of draws depends on the shape of ``images``.

    Returns:
        Shape (n, channels, *size), resized by :func:`frivkit.data.preprocess.resize_axis`; float32,
        or float64 if float32 cannot represent the numbers of ``images``.

    Source:
        C. Szegedy et al. 2015, "Going Deeper with Convolutions", section 6: the area is uniform
        between 8 and 100 % of the image, width / height lies between 3/4 and 4/3.

    Example:
        >>> images = np.zeros((2, 3, 60, 80), np.uint8)
        >>> random_resized_crop(images, (32, 32), np.random.default_rng(0)).shape
        (2, 3, 32, 32)
    """
    crops = rectangles(len(images), images.shape[2:], random)
    resized = np.empty((*images.shape[:2], *size), np.result_type(images, np.float32))
    for image, (top, left, height, width), target in zip(images, crops, resized, strict=True):
        crop = image[:, top : top + height, left : left + width]
        target[...] = resize_axis(resize_axis(crop, 1, size[0]), 2, size[1])
    return resized


def rectangles(
    count: int, shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rectangles inside images of one shape.

    1. The area and the logarithm of width / height are uniform within :data:`AREA` and
       :data:`RATIO`, the position is uniform.  Sides are rounded to whole pixels.
    2. Rectangles that do not fit are drawn again, up to :data:`TRIES` times in all.
    3. If none fits, as in very elongated images, the rectangle is the largest one whose width /
       height is nearest to that of the image.

    Args:
        count: The number of rectangles.
        shape: Height and width of the images.
        random: Determines the rectangles.

    Returns:
        Top, left, height and width of each, shape (count, 4).

    Source:
        :func:`random_resized_crop`.  Where we differ: the text does not define the distribution of
        width / height; the code published with Casper et al. 2021, arXiv:1912.04783, draws it, and
        then the height, from uniform distributions.

    Example:
        >>> rectangles(2, (100, 400), np.random.default_rng(0))[:, 2:].max(axis=0) <= (100, 400)
        array([ True,  True])
    """
    height, width = shape
    areas = height * width * random.uniform(*AREA, (TRIES, count))
    ratios = np.exp(random.uniform(log(RATIO[0]), log(RATIO[1]), (TRIES, count)))
    positions = random.random((2, count))
    sizes = np.stack([np.sqrt(areas / ratios), np.sqrt(areas * ratios)], axis=-1)
    sizes = np.maximum(np.rint(sizes).astype(np.int64), 1)
    fits = (sizes <= shape).all(axis=-1)
    chosen = sizes[fits.argmax(axis=0), np.arange(count)]
    ratio = np.clip(width / height, *RATIO)
    largest = np.minimum(shape, np.rint((width / ratio, height * ratio)).astype(np.int64))
    chosen = np.where(fits.any(axis=0)[:, None], chosen, np.maximum(largest, 1))
    corners = positions.T * (np.array(shape) - chosen + 1)
    return np.concatenate([corners.astype(np.int64), chosen], axis=1)
