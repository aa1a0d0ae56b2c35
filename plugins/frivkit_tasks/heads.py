"""Heads of detectors: from their outputs to boxes.

==========  ==============================  =====================================================
layout      shape                           an entry holds
==========  ==============================  =====================================================
columns     (n, 4 + classes, boxes)         x, y of the middle, width, height, a score a class
rows        (n, boxes, 5 + classes)         the same, with a score of being an object before these
final       (n, boxes, 6)                   x1, y1, x2, y2, score, class: after suppression
separate    several outputs                 boxes (n, k, 4), scores (n, k) or a score a class
==========  ==============================  =====================================================

``columns`` is the head of YOLOv8 and later, ``rows`` that of YOLOv5 and YOLOX, ``final`` that of
YOLOv10 and of exports with suppression in the graph.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.plugin import ModelOutput
from frivkit_tasks.boxes import Boxes, best, without_overlaps

Layout = Literal["columns", "rows", "final", "separate"]
SCORE = 0.25
"""The least score of a box that counts, as in the commands of YOLOv5 and YOLOv8."""
OVERLAP = 0.7
"""The overlap beyond which the weaker of two boxes is suppressed, as in YOLOv8's prediction."""
FINAL = 1000
"""Boxes up to which six columns are those of boxes after suppression."""
Role = Literal["boxes", "scores", "classes", "count"]
WORDS: dict[Role, tuple[str, ...]] = {
    "count": ("num", "count", "valid"),
    "boxes": ("box", "bbox"),
    "scores": ("score", "conf", "prob"),
    "classes": ("class", "label", "cls"),
}
"""Parts of the names of outputs, by their role."""


def role_of(name: str) -> Role | None:
    """Return what an output of a detector with several outputs holds, by its name."""
    lower = name.lower()
    for role, parts in WORDS.items():
        if any(part in lower for part in parts):
            return role
    return None


def layout_of(output: ModelOutput, axis: int | None = None) -> Layout | None:
    """Return the layout of an output that holds whole detections, None if it can hold none.

    Args:
        output: The output.
        axis: The axis of coordinates and scores, if a user gives it.
    """
    shape = output.shape
    if shape is None or len(shape) != 3:
        return None
    first, last = shape[1], shape[2]
    if axis is not None:
        return "columns" if axis % 3 == 1 else "rows"
    if last == 6 and first is not None and 6 < first <= FINAL:
        return "final"
    if first is not None and first >= 5 and (last is None or last > first):
        return "columns"
    return "rows" if last is not None and last >= 6 else None


def read_whole(array: NDArray[Any], layout: Layout, name: str) -> Boxes:
    """Return the boxes of an output that holds whole detections, shape (n, k, 6).

    Args:
        array: Shape (n, ..., ...).
        layout: Its layout.
        name: The name of the output, for messages.

    Raises:
        ModelError: it has another shape.
    """
    entries = array.astype(np.float32)
    least = 5 if layout == "columns" else 6
    if entries.ndim == 3 and layout == "columns":
        entries = entries.swapaxes(1, 2)
    if entries.ndim != 3 or entries.shape[2] < least:
        raise ModelError(
            f"output {name!r} has shape {('n', *array.shape[1:])}, in which there are no boxes: "
            "give another --task"
        )
    if layout == "final":
        return best(entries[..., :4], entries[..., 4], np.rint(entries[..., 5]), SCORE)
    scores = entries[..., 4:]
    if layout == "rows":
        scores = entries[..., 5:] * entries[..., 4:5]
    return _suppressed(_corners(entries), scores)


def read_separate(arrays: Sequence[NDArray[Any]], roles: Sequence[Role], name: str) -> Boxes:
    """Return the boxes of several outputs, shape (n, k, 6).

    Args:
        arrays: The outputs, each of shape (n, ...).
        roles: What each of them holds.
        name: The name of the first output, for messages.

    Raises:
        ModelError: they do not fit each other.
    """
    by_role = dict(zip(roles, arrays, strict=True))
    corners, scores = by_role["boxes"].astype(np.float32), by_role["scores"].astype(np.float32)
    count = corners.shape[1] if corners.ndim == 3 else -1
    if scores.ndim == 3 and scores.shape[1] != count:
        scores = scores.swapaxes(1, 2)
    if corners.ndim != 3 or corners.shape[2] != 4 or scores.shape[1:2] != (count,):
        raise ModelError(
            f"output {name!r} has shape {('n', *by_role['boxes'].shape[1:])} and scores have shape "
            f"{('n', *by_role['scores'].shape[1:])}, which do not fit: give another --task"
        )
    if scores.ndim == 3:
        return _suppressed(corners, scores)
    classes = by_role.get("classes", np.zeros_like(scores))
    if "count" in by_role:
        valid = np.arange(count) < by_role["count"].reshape(len(scores), 1)
        scores = np.where(valid, scores, -1.0)
    return best(corners, scores, np.rint(classes.astype(np.float32)), SCORE)


def _corners(entries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x1, y1, x2, y2 of middles and sizes, shape (n, k, 4)."""
    middle, half = entries[..., :2], entries[..., 2:4] / 2
    return np.concatenate([middle - half, middle + half], axis=2)


def _suppressed(corners: NDArray[np.float32], scores: NDArray[np.float32]) -> Boxes:
    found = best(corners, scores.max(axis=2), scores.argmax(axis=2), SCORE)
    return without_overlaps(found, OVERLAP)
