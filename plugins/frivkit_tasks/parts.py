"""What detectors give of an object beside its box: a mask, key points, or other numbers.

It stands in the columns of a row behind the box (``frivkit_tasks.boxes``).  Of two boxes that are
partners, *kept* says how much of it is the same, from 0 to 1, and *distance* how much differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit_tasks.boxes import MORE

GRID = 28
"""Places along each side of a box at which its mask is kept, as in Mask R-CNN."""
BITS = 16
"""Places of a mask in one number: whole numbers up to 2 ** 16 are exact in 32 bits."""
SAME_MASK = 0.5
"""The least intersection over union of two masks that are the same."""
NEAR = 0.1
"""The share of the longer side of the box by which a key point that is the same may move."""
SEEN = 0.5
"""The score from which on a key point is seen."""
CLOSE = 0.1
"""The share of its standard deviation by which any other number that is the same may move."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands behind a box, and how that of two partners is compared.

    Attributes:
        name: What it is, as in the names of figures: ``"mask_iou"``, ``"key_point_distance"``.
        compare: From rows of the original and of the other network, each of shape (pairs, columns),
            to what is kept in [0, 1] and to the figure, shape (pairs,) each.
    """

    name: str
    compare: Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


def mask_bits(
    boxes: NDArray[Any], weights: NDArray[Any], maps: NDArray[Any], shrunk: tuple[float, float]
) -> NDArray[np.float32]:
    """Return where the mask of each box is, at ``GRID`` by ``GRID`` places inside of the box.

    A mask is where the weighted sum of some maps that all boxes share is above 0.

    Args:
        boxes: Corners x1, y1, x2, y2, shape (n, k, 4).
        weights: The weights of the maps, shape (n, k, maps).
        maps: Shape (n, maps, height, width).
        shrunk: What one pixel of the maps is along x and y, in the unit of the boxes.

    Returns:
        Bits in whole numbers, shape (n, k, ``GRID`` ** 2 / ``BITS``).

    Source:
        D. Bolya et al., YOLACT, ICCV 2019, section 3.2.
    """
    places = (np.arange(GRID) + 0.5) / GRID
    low, size = boxes[..., :2], boxes[..., 2:4] - boxes[..., :2]
    limits = np.array([maps.shape[3], maps.shape[2]]) - 1
    found = np.empty((*boxes.shape[:2], GRID * GRID // BITS), np.float32)
    for row in range(len(boxes)):  # one example at a time keeps the logits of all places small
        at = (
            low[row, :, np.newaxis] + places[:, np.newaxis] * size[row, :, np.newaxis]
        ) / np.array(shrunk)
        at = np.clip(np.nan_to_num(np.floor(at)), 0, limits).astype(int)
        taken = maps[row][:, at[:, :, np.newaxis, 1], at[:, np.newaxis, :, 0]]
        inside = np.einsum("km,mkyx->kyx", weights[row], taken) > 0
        packed = np.packbits(inside.reshape(len(inside), -1), axis=1).astype(np.float32)
        found[row] = packed[:, ::2] * 256 + packed[:, 1::2]
    return found


def mask_overlaps(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of the masks of pairs of boxes, in [0, 1].

    Both masks are looked up on one grid over the smallest box around both.

    Args:
        one: Rows with masks, shape (pairs, columns).
        other: Likewise.

    Returns:
        Shape (pairs,); 1 where neither box has a mask.
    """
    low, high = np.minimum(one[:, :2], other[:, :2]), np.maximum(one[:, 2:4], other[:, 2:4])
    places = (np.arange(2 * GRID) + 0.5) / (2 * GRID)
    points = low[:, np.newaxis] + places[:, np.newaxis] * (high - low)[:, np.newaxis]
    first, second = (_looked_up(rows, points) for rows in (one, other))
    both = (first & second).sum(axis=(1, 2))
    either = (first | second).sum(axis=(1, 2))
    found: NDArray[np.float64] = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    return found


def _looked_up(rows: NDArray[Any], points: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where masks are at points of x and of y, shape (pairs, places, places)."""
    whole = rows[:, MORE:].astype(np.int64)
    packed = np.stack([whole // 256, whole % 256], axis=2).reshape(len(rows), -1).astype(np.uint8)
    masks = np.unpackbits(packed, axis=1).reshape(len(rows), GRID, GRID).astype(bool)
    size = np.maximum(rows[:, 2:4] - rows[:, :2], np.finfo(np.float32).tiny)
    at = np.floor((points - rows[:, np.newaxis, :2]) / size[:, np.newaxis] * GRID)
    inside = (at >= 0) & (at < GRID)
    at = np.clip(at, 0, GRID - 1).astype(int)
    pair = np.arange(len(rows))[:, np.newaxis, np.newaxis]
    within = inside[:, :, np.newaxis, 1] & inside[:, np.newaxis, :, 0]
    found: NDArray[np.bool_] = (
        masks[pair, at[:, :, np.newaxis, 1], at[:, np.newaxis, :, 0]] & within
    )
    return found


def _compare_masks(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    shared = mask_overlaps(one, other)
    return (shared >= SAME_MASK).astype(np.float64), shared


MASKS = Parts("mean_mask_iou", _compare_masks)
"""Masks are the same if they overlap by half or more."""


def key_points(size: int) -> Parts:
    """Return key points: the same if they move by a tenth of the longer side of the box or less.

    Args:
        size: Numbers of a key point: 2 for x and y, 3 with a score; those that the original does
            not see do not count.

    Source:
        Y. Yang, D. Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, PAMI
        35(12), 2013: percentage of correct key points.
    """

    def compare(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        first, second = (x[:, MORE:].reshape(len(x), -1, size).astype(float) for x in (one, other))
        side = (one[:, 2:4] - one[:, :2]).max(axis=1)[:, np.newaxis]
        moved = np.linalg.norm(first[..., :2] - second[..., :2], axis=2) / side
        seen = first[..., 2] >= SEEN if size == 3 else np.ones(moved.shape, bool)
        count = seen.sum(axis=1)
        kept = ((moved <= NEAR) & seen).sum(axis=1)
        mean = np.where(seen, moved, 0.0).sum(axis=1) / np.maximum(count, 1)
        return np.where(count > 0, kept / np.maximum(count, 1), 1.0), mean

    return Parts("mean_key_point_distance", compare)


def other_numbers(spread: NDArray[np.float64]) -> Parts:
    """Return numbers of which nothing is known: the same within a tenth of their spread.

    Args:
        spread: The standard deviation of each over boxes, shape (columns,).
    """

    def compare(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        moved = np.abs(one[:, MORE:].astype(float) - other[:, MORE:])
        same = (moved <= CLOSE * spread).mean(axis=1)
        return same, same

    return Parts("other_numbers_kept", compare)
