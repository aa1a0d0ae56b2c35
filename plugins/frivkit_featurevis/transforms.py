"""Random views of an image: what a unit sees must survive small shifts, turns and zooms.

Source: the standard transforms of Lucid (``lucid/optvis/transform.py``, Apache-2.0): padding with
mid-grey, a shift of up to 8 pixels, a zoom of 0.9 to 1.1, a turn of up to 10 degrees, a shift of up
to 4.  Those numbers are for images of about 128 pixels, and are taken in proportion.  Here all of
them are one resampling, which keeps the size; what comes into view from outside is mid-grey.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_REFERENCE = 128
"""Side of the images, in pixels, that the numbers are for."""


@dataclass(frozen=True, slots=True)
class RandomViews:
    """Random views of images.

    Attributes:
        shift: Largest shift of the first kind, in pixels, in each direction.
        zoom: Largest change of size, as a share.
        turn: Largest turn, in degrees.
        last_shift: Largest shift after the turn, in pixels.
    """

    shift: int
    zoom: float
    turn: float
    last_shift: int

    def __call__(self, images: Tensor, grey: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of all images, of the same shape; each call draws another.

        Args:
            images: Shape (n, channels, h, w).
            grey: The value around the images by channel, shape (channels,).
            generator: Where numbers are drawn.
        """
        zoom = 1 + self.zoom * _uniform(generator)
        turn = math.radians(self.turn * _uniform(generator))
        shift = [
            self.shift * _uniform(generator) + self.last_shift * _uniform(generator)
            for _ in range(2)
        ]
        height, width = images.shape[-2:]
        cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
        # Coordinates of grid_sample run from -1 to 1 along each side, so turns need the aspect.
        matrix = torch.tensor(
            [
                [cos, -sin * height / width, 2 * shift[0] / width],
                [sin * width / height, cos, 2 * shift[1] / height],
            ]
        )
        around = grey[:, None, None]
        # Padding with grey is a sample outside the image of "image minus grey", which is 0.
        grid = functional.affine_grid(
            matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        moved = functional.grid_sample(images - around, grid, align_corners=False)
        return moved + around


def standard_views(height: int, width: int) -> RandomViews:
    """Return Lucid's transforms for images of a size, in pixels.

    Shifts scale with the smaller side; there are none for images of fewer than 8 pixels.

    Example:
        >>> standard_views(128, 128).shift, standard_views(32, 32).shift
        (8, 2)
    """
    share = min(height, width) / _REFERENCE
    if min(height, width) < 8:
        return RandomViews(0, 0.0, 0.0, 0)
    return RandomViews(
        shift=round(8 * share),
        zoom=0.1,
        turn=10.0,
        last_shift=round(4 * share),
    )


def _uniform(generator: torch.Generator) -> float:
    """Return a number drawn from -1 to 1."""
    return 2 * torch.rand((), generator=generator).item() - 1
