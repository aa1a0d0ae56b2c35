"""Heads that give a distribution for each side of a box: those of YOLOv8 without their decoder.

In each cell of a grid there are 16 logits for each of four distances, from the middle of the cell
to the left, upper, right and lower side of its box.  The softmax of 16 logits is a distribution
over distances of 0 to 15 cells, and its mean is the distance (X. Li et al., Generalized Focal Loss,
NeurIPS 2020).  Beside them are a logit for each class.

A scale has one output, in which both are joined, or one for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from frivkit.plugin import ModelOutput
from frivkit_tasks.boxes import Boxes
from frivkit_tasks.heads import are_shares, sigmoid, suppressed, without_boxes
from frivkit_tasks.parts import Parts

BINS = 16
"""Distances of which a distribution is given, as in all released networks."""
SIDES = 4 * BINS
"""Channels that hold the distributions of the four sides."""


def joined_scales(outputs: Sequence[ModelOutput]) -> list[tuple[ModelOutput, ...]]:
    """Return the outputs that join distributions with logits of classes, the finest scale first.

    Empty if there are not several scales, each half as large as the one before.
    """
    return _halved([(each,) for each in outputs if joins_sides_and_classes(each)])


def paired_scales(outputs: Sequence[ModelOutput]) -> list[tuple[ModelOutput, ...]]:
    """Return outputs of distributions, each with that of the classes, the finest scale first.

    Empty if there are not several scales, each half as large as the one before, or if other maps of
    the same size could be meant.
    """
    maps = [each for each in outputs if _is_map(each)]
    pairs: list[tuple[ModelOutput, ...]] = []
    for sides in maps:
        same = [each for each in maps if each is not sides and _size(each) == _size(sides)]
        if _channels(sides) == SIDES and len(same) == 1 and _channels(same[0]) != SIDES:
            pairs.append((sides, same[0]))
    if len({_channels(scores) for _, scores in pairs}) > 1:
        return []
    return _halved(pairs)


def joins_sides_and_classes(output: ModelOutput) -> bool:
    """Whether the graph joins 64 channels, and behind them others, at each place of a map."""
    sizes = [part.sizes or () for part in output.parts]
    channels = [each[1] for each in sizes if len(each) == 4]
    several = len(sizes) == len(channels) == 2 and channels[0] == SIDES and channels[1] is not None
    return several and _is_map(output) and _channels(output) == SIDES + (channels[1] or 0)


def _halved(scales: list[tuple[ModelOutput, ...]]) -> list[tuple[ModelOutput, ...]]:
    found = sorted(scales, key=lambda each: _size(each[0]), reverse=True)
    halved = all(
        _size(large[0]) == tuple(2 * size for size in _size(small[0]))
        for large, small in pairwise(found)
    )
    alike = len({_channels(each[-1]) for each in found}) == 1
    return found if len(found) > 1 and halved and alike else []


def _is_map(output: ModelOutput) -> bool:
    return output.is_float and output.rank == 4 and None not in (output.shape or ())[1:]


def _channels(output: ModelOutput) -> int:
    return (output.shape or ())[1] or 0


def _size(output: ModelOutput) -> tuple[int, ...]:
    return tuple(size or 0 for size in (output.shape or ())[2:])


@dataclass(frozen=True, slots=True)
class DistributionHead:
    """Reads a box for each cell, suppressed here, in cells of the finest grid.

    Attributes:
        names: The names of the outputs.
        paired: Whether the classes of a scale follow in an output of their own.
        logits: Whether the scores of classes are logits.
        parts: None: there is nothing else.
    """

    names: tuple[str, ...]
    paired: bool
    logits: bool = True
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "DistributionHead":
        """Return a head that knows whether scores are behind a sigmoid."""
        shares = all(are_shares(scores) for _, scores in self._scales(sample))
        return DistributionHead(self.names, self.paired, logits=not shares)

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes, shape (n, ``MOST``, 6)."""
        scales = self._scales(arrays)
        finest = scales[0][0].shape[2]
        places = [_places(sides) * (finest / sides.shape[2]) for sides, _ in scales]
        scores = [np.moveaxis(each.reshape(*each.shape[:2], -1), 1, 2) for _, each in scales]
        found = np.concatenate(scores, axis=1)
        return suppressed(np.concatenate(places, axis=1), sigmoid(found) if self.logits else found)

    def _scales(
        self, arrays: Sequence[NDArray[Any]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return distributions (n, 64, h, w) and scores (n, classes, h, w) of each scale."""
        maps = [each.astype(np.float32) for each in arrays]
        for name, each in zip(self.names, maps, strict=True):
            if each.ndim != 4:
                raise without_boxes(name, each)
        if self.paired:
            return list(zip(maps[::2], maps[1::2], strict=True))
        return [(each[:, :SIDES], each[:, SIDES:]) for each in maps]


def _places(sides: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the corners of the box of each cell, in cells, shape (n, cells, 4)."""
    n, _, height, width = sides.shape
    shares = softmax(sides.reshape(n, 4, BINS, height * width), axis=2)
    distances = np.einsum("nsbc,b->ncs", shares, np.arange(BINS, dtype=np.float32))
    rows, columns = np.mgrid[:height, :width].reshape(2, -1) + 0.5
    middles = np.stack([columns, rows], axis=1)
    corners: NDArray[np.float32] = np.concatenate(
        [middles - distances[..., :2], middles + distances[..., 2:]], axis=2
    ).astype(np.float32)
    return corners
