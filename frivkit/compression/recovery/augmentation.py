"""Changed images: mirrored, or shifted, each differently."""

from collections.abc import Collection

import numpy as np

from frivkit.data import Array
from frivkit.data.preprocess import Augmentation, crop_axis

MARGIN = 8
"""Images are shifted by up to one in this many of their positions, edges repeated."""


def augmentation(kinds: Collection[str], seed: tuple[int, ...]) -> Augmentation:
    """Return a change of images that draws the same for every batch that it is called with.

    Inputs that belong together so are changed alike.

    Args:
        kinds: ``flip`` mirrors every second image, left to right; ``crop`` cuts each somewhere out
            of itself with its edges repeated, or out of the larger image that the data spec crops.
        seed: The seed of what is drawn.

    Example:
        >>> change = augmentation(["flip"], (3,))
        >>> change(np.array([[[1, 2]], [[3, 4]], [[5, 6]]]), "hw", (1, 2)).tolist()
        [[[2, 1]], [[4, 3]], [[5, 6]]]
    """

    def changed(batch: Array, layout: str, size: tuple[int, int]) -> Array:
        random = np.random.default_rng(seed)
        axes = [layout.index(letter) + 1 for letter in "hw"]
        places = random.random((len(batch), 2))
        mirrored = random.random(len(batch)) < 0.5
        if "crop" in kinds:
            batch = _cropped(batch, axes, size, places)
        else:
            for axis, length in zip(axes, size, strict=True):
                batch = crop_axis(batch, axis, length)
        if "flip" in kinds:
            batch = batch.copy()
            batch[mirrored] = np.flip(batch[mirrored], axes[1])
        return batch

    return changed


def _cropped(batch: Array, axes: list[int], size: tuple[int, int], places: Array) -> Array:
    """Return crops of images.

    Args:
        batch: Shape (n, *example).
        axes: The axes of height and width.
        size: Height and width of the crops.
        places: Where each begins, from 0 to 1 of what is left, shape (n, 2).
    """
    images = np.moveaxis(batch, axes, (1, 2))
    around = [
        length // MARGIN if images.shape[axis] == length else 0
        for axis, length in enumerate(size, start=1)
    ]
    rest = [(0, 0)] * (images.ndim - 3)
    images = np.pad(images, [(0, 0), *((pad, pad) for pad in around), *rest], mode="edge")
    margins = np.array(images.shape[1:3]) - size
    starts = (places * (margins + 1)).astype(np.intp)
    cut = [
        image[top : top + size[0], left : left + size[1]]
        for image, (top, left) in zip(images, starts, strict=True)
    ]
    return np.ascontiguousarray(np.moveaxis(np.stack(cut), (1, 2), axes))
