"""Boxes: their overlap, the suppression of overlapping ones, and the partners of two sets.

Every set is an array of shape (n, k, 6 + more), for each example rows of x1, y1, x2, y2, score,
class by falling score, and of what else there is of an object.  Rows beyond the last box have the
score ``ABSENT``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
ABSENT = -1.0
"""The score of a row that is no box."""
SCORE, CLASS, MORE = 4, 5, 6
"""Columns of a row; from the last one on stands what else there is."""
MOST = 100
"""Boxes of an example that count: as many as COCO's evaluation takes."""
NONE = -1
"""The partner of a box that has none."""


def overlaps(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of each pair of boxes, in [0, 1].

    Args:
        one: Corners x1, y1, x2, y2, shape (..., k, 4).
        other: Likewise, shape (..., m, 4).

    Returns:
        Shape (..., k, m); 0 where both have no area.

    Example:
        >>> a = np.array([[0, 0, 2, 2]])
        >>> overlaps(a, np.array([[1, 0, 3, 2], [0, 0, 2, 2]])).round(3).tolist()
        [[0.333, 1.0]]
    """
    a, b = one[..., :, np.newaxis, :].astype(np.float64), other[..., np.newaxis, :, :]
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:4], b[..., 2:4])
        shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
        areas = [np.prod(np.maximum(x[..., 2:4] - x[..., :2], 0.0), axis=-1) for x in (a, b)]
        union = areas[0] + areas[1] - shared
        found: NDArray[np.float64] = np.where(union > 0, shared / np.where(union > 0, union, 1), 0)
    return found


def present(boxes: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are boxes, shape (n, k)."""
    found: NDArray[np.bool_] = boxes[..., SCORE] >= 0
    return found


def best(
    corners: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    least: float,
    more: NDArray[Any] | None = None,
) -> Boxes:
    """Return the boxes of highest score, at most ``MOST`` an example.

    Args:
        corners: x1, y1, x2, y2, shape (n, k, 4).
        scores: Shape (n, k).
        classes: Shape (n, k).
        least: The least score; boxes without area do not count either.
        more: What else there is of each box, shape (n, k, more); None for nothing.
    """
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(corners).all(axis=2) & (corners[..., 2:] > corners[..., :2]).all(axis=2)
        kept = np.where(sound & (scores >= least), scores, ABSENT)
    count = min(MOST, kept.shape[1])
    order = np.argsort(-kept, axis=1, kind="stable")[:, :count, np.newaxis]
    columns = [corners, kept[..., np.newaxis], classes[..., np.newaxis]]
    columns += [] if more is None else [more]
    rows = [np.take_along_axis(each, order, axis=1).astype(np.float32) for each in columns]
    found = np.concatenate(rows, axis=2)
    empty = np.zeros(found.shape[2], np.float32)
    empty[SCORE] = ABSENT
    found[found[..., SCORE] < 0] = empty
    missing = np.tile(empty, (len(found), MOST - count, 1))
    return np.concatenate([found, missing], axis=1)


def without_overlaps(boxes: Boxes, most: float) -> Boxes:
    """Return boxes without those that overlap one of the same class and of a higher score.

    This is greedy non-maximum suppression.  A box stays unless one before it that stays overlaps
    it; that is repeated for all boxes at once until nothing changes.

    Args:
        boxes: Shape (n, k, 6 + more), by falling score.
        most: The largest intersection over union that is left.
    """
    same = boxes[..., :, np.newaxis, CLASS] == boxes[..., np.newaxis, :, CLASS]
    there = present(boxes)
    earlier = np.tri(boxes.shape[1], k=-1, dtype=bool)
    covered = same & (overlaps(boxes[..., :4], boxes[..., :4]) > most) & earlier
    covered &= there[..., np.newaxis, :]
    stays = there.copy()
    for _ in range(boxes.shape[1]):
        found = there & ~(covered & stays[..., np.newaxis, :]).any(axis=-1)
        if np.array_equal(found, stays):
            break
        stays = found
    scores = np.where(stays, boxes[..., SCORE], ABSENT)
    return best(boxes[..., :4], scores, boxes[..., CLASS], 0.0, boxes[..., MORE:])


def partners(truth: Boxes, found: Boxes, least: float) -> NDArray[np.int64]:
    """Return the partner of each found box, shape (n, m): a row of the truth, or ``NONE``.

    By falling score, each found box takes the box of the truth that it overlaps most, of the same
    class and not taken yet.

    Args:
        truth: Shape (n, k, 6 + more).
        found: Shape (n, m, 6 + more).
        least: The least intersection over union of partners.

    Source:
        T.-Y. Lin et al., Microsoft COCO, ECCV 2014, and its evaluation code, for one threshold.
    """
    pairs = overlaps(found[..., :4], truth[..., :4])
    fits = found[..., :, np.newaxis, CLASS] == truth[..., np.newaxis, :, CLASS]
    fits &= present(found)[..., :, np.newaxis] & present(truth)[..., np.newaxis, :]
    pairs = np.where(fits & (pairs >= least), pairs, 0.0)
    at, taken_by = np.arange(len(truth)), np.full(found.shape[:2], NONE, np.int64)
    for row in range(found.shape[1]):
        partner = pairs[:, row].argmax(axis=1)
        taken = pairs[at, row, partner] > 0
        if not taken.any() and not fits[:, row:].any():
            break
        taken_by[taken, row] = partner[taken]
        pairs[at[taken], :, partner[taken]] = 0.0
    return taken_by
