"""Heads of detectors whose boxes and scores are outputs of their own.

=========  =================================================================================
head       outputs
=========  =================================================================================
separate   boxes (n, k, 4); scores (n, k) or a score or logit a class; classes; their number
maps       (n, anchors × (5 + classes), h, w) or (n, anchors, h, w, 5 + classes), one a scale
indices    (n, rows, 3): the number of the example, the class and the number of the box
=========  =================================================================================

``separate`` is DETR, SSD and exports with suppression in the graph; ``maps`` the training head of
YOLOv3 to v7; ``indices`` what the operator NonMaxSuppression gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from frivkit.errors import ModelError
from frivkit.plugin import ModelOutput
from frivkit_tasks.boxes import Boxes, best
from frivkit_tasks.heads import (
    FINAL,
    SCORE,
    SOUND,
    are_shares,
    corners,
    sigmoid,
    suppressed,
    without_boxes,
)
from frivkit_tasks.parts import Parts

Role = Literal["boxes", "scores", "classes", "count"]
WORDS: dict[Role, tuple[str, ...]] = {
    "count": ("num", "count", "valid"),
    "boxes": ("box", "bbox"),
    "scores": ("score", "conf", "prob", "logit"),
    "classes": ("class", "label", "cls"),
}
"""Parts of the names of outputs, by their role."""
ONE = 1e-3
"""How far the scores of all classes may be from 1 together, for rounding."""
SIZE = 4.0
"""The side of an anchor in cells: about that of the anchors of YOLOv5."""


def role_of(name: str) -> Role | None:
    """Return what an output of a detector with several outputs holds, by its name."""
    lower = name.lower()
    for role, parts in WORDS.items():
        if any(part in lower for part in parts):
            return role
    return None


def roles_of(outputs: Sequence[ModelOutput]) -> tuple[Role, ...]:
    """Return what each of several outputs holds, the boxes first: by its place and its name."""
    more: list[Role] = [
        "count" if role_of(output.name) == "count" else "classes" for output in outputs[2:]
    ]
    return ("boxes", "scores", *more)


@dataclass(frozen=True, slots=True)
class SeparateHead:
    """Reads boxes from one output, and their scores and classes from others.

    Attributes:
        name: The name of the output of boxes, for messages.
        roles: What each output holds.
        places: Whether boxes are given by their corners, by their middle and size, or relative to
            anchors that are not known; then only boxes at the same place are partners.
        scores: Whether there are scores, logits of each class, or logits of which one is largest.
        nothing: Where the class of no object is, 0 or -1; None if there is none.
        parts: None: there is nothing else.
    """

    name: str
    roles: tuple[Role, ...]
    places: Literal["corners", "middle", "anchors"] = "corners"
    scores: Literal["shares", "sigmoid", "softmax"] = "shares"
    nothing: int | None = None
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "SeparateHead":
        """Return a head that knows how boxes are given, and whether a class stands for none."""
        boxes, scores = self._checked(sample)
        if scores.ndim == 2:
            return self._with_places(boxes, scores)
        nothing, kind = None, self.scores
        if not are_shares(scores):
            low = bool((scores.max(axis=2) < 0).mean() >= 0.5)  # a class is seen rarely, by itself
            kind = "sigmoid" if low or scores.shape[2] == 1 else "softmax"
        if kind == "softmax" or self._sum_to_one(scores):
            top = scores.argmax(axis=2)
            often = [(top == at).mean() for at in (0, scores.shape[2] - 1)]
            nothing = 0 if often[0] > 0.5 > often[1] else -1
        fitted = replace(self, scores=kind, nothing=nothing)
        return fitted._with_places(boxes, fitted._read_scores(scores).max(axis=2))

    @staticmethod
    def _sum_to_one(scores: NDArray[Any]) -> bool:
        several = scores.shape[2] > 1 and scores.size > 0
        return several and bool((np.abs(scores.sum(axis=2) - 1) <= ONE).all())

    def _with_places(self, boxes: NDArray[Any], scores: NDArray[Any]) -> "SeparateHead":
        counted = boxes[scores >= SCORE]
        some = counted if len(counted) else boxes.reshape(-1, 4)
        some = some[some.any(axis=1)]
        if not len(some) or (some[:, 2:] > some[:, :2]).all(axis=1).mean() >= SOUND:
            return self
        sized = (some[:, 2:] > 0).all(axis=1).mean() >= SOUND
        return replace(self, places="middle" if sized else "anchors")

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes, shape (n, ``MOST``, 6)."""
        boxes, scores = self._checked(arrays)
        if scores.ndim == 3:
            scores = self._read_scores(scores)
        if self.places == "anchors":
            return self._read_anchors(boxes, scores)
        places = corners(boxes) if self.places == "middle" else boxes
        if scores.ndim == 3 and self._one_a_place(scores):
            return best(places, scores.max(axis=2), scores.argmax(axis=2), SCORE)
        if scores.ndim == 3:
            return suppressed(places, scores)
        by_role = dict(zip(self.roles, arrays, strict=True))
        classes = by_role.get("classes", np.zeros_like(scores)).astype(np.float32)
        if "count" in by_role:
            valid = np.arange(scores.shape[1]) < by_role["count"].reshape(len(scores), 1)
            scores = np.where(valid, scores, -1.0)
        return best(places, scores, np.rint(classes.reshape(scores.shape)), SCORE)

    def _one_a_place(self, scores: NDArray[Any]) -> bool:
        """Whether the network itself gives each object once, as DETR does."""
        few = scores.shape[1] <= FINAL
        return few and (self.scores != "shares" or self.nothing == -1) and self.nothing != 0

    def _read_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a score for each class, without that of no object."""
        if self.scores == "sigmoid":
            scores = sigmoid(scores)
        elif self.scores == "softmax":
            scores = softmax(scores, axis=2)
        if self.nothing is None or scores.shape[2] < 2:
            return scores
        return scores[..., 1:] if self.nothing == 0 else scores[..., :-1]

    def _read_anchors(self, boxes: NDArray[Any], scores: NDArray[Any]) -> Boxes:
        """Return boxes relative to anchors of side 1, in a class for each place."""
        scores = scores if scores.ndim == 3 else scores[..., np.newaxis]
        half = np.exp(np.clip(boxes[..., 2:], -9, 9)) / 2
        places = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=2)
        return at_places(places, scores)

    def _checked(
        self, arrays: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes, shape (n, k, 4), and scores, shape (n, k) or (n, k, classes)."""
        by_role = dict(zip(self.roles, arrays, strict=True))
        boxes, scores = by_role["boxes"].astype(np.float32), by_role["scores"].astype(np.float32)
        count = boxes.shape[1] if boxes.ndim == 3 else -1
        if scores.ndim == 3 and scores.shape[1] != count:
            scores = scores.swapaxes(1, 2)
        if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape[1:2] != (count,):
            raise ModelError(
                f"output {self.name!r} has shape {('n', *by_role['boxes'].shape[1:])} and scores "
                f"have shape {('n', *by_role['scores'].shape[1:])}, which do not fit: give another "
                "--task"
            )
        return boxes, scores


@dataclass(frozen=True, slots=True)
class MapsHead:
    """Reads objects cell by cell from maps of several scales.

    The sizes of anchors are no part of the network.  So boxes are relative to anchors of ``SIZE``
    cells, and only those of the same anchor in the same cell are partners.

    Attributes:
        names: The names of the outputs.
        anchors: Boxes that are predicted in a cell.
        logits: Whether all numbers are logits.
        parts: None: there is nothing else.
    """

    names: tuple[str, ...]
    anchors: int
    logits: bool = True
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "MapsHead":
        """Return a head that knows whether its numbers are behind a sigmoid."""
        return replace(self, logits=not all(map(are_shares, sample)))

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes, shape (n, ``MOST``, 6)."""
        entries = np.concatenate(
            [self._entries(*each) for each in zip(self.names, arrays, strict=True)], axis=1
        )
        shares = sigmoid(entries) if self.logits else entries
        middle = 2 * shares[..., :2]
        half = SIZE * (2 * shares[..., 2:4]) ** 2 / 2
        places = np.concatenate([middle - half, middle + half], axis=2)
        return at_places(places, shares[..., 4:5] * shares[..., 5:])

    def _entries(self, name: str, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return an entry for each anchor in each cell, shape (n, entries, 5 + classes)."""
        if array.ndim == 4 and array.shape[1] % self.anchors == 0:
            n, channels, *cells = array.shape
            array = array.reshape(n, self.anchors, channels // self.anchors, *cells)
            array = np.moveaxis(array, 2, -1)
        if array.ndim != 5 or array.shape[-1] < 6:
            raise without_boxes(name, array)
        return array.reshape(len(array), -1, array.shape[-1]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class IndicesHead:
    """Reads which boxes a suppression selects: the same only if number and class are.

    Attributes:
        name: The name of the output, for messages.
        parts: None: there is nothing else.
    """

    name: str
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "IndicesHead":
        """Return itself: nothing is learnt."""
        return self

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return a box of side 1 at a place of its own for each selected box."""
        (array,) = arrays
        if array.ndim != 3 or array.shape[2] != 3:
            raise without_boxes(self.name, array)
        low = 2.0 * array[..., 2:].repeat(2, axis=2).astype(np.float32)
        scores = np.where(array[..., 1] >= 0, 1.0, 0.0)  # rows that fill up hold -1
        return best(np.concatenate([low, low + 1], axis=2), scores, array[..., 1], SCORE)


def at_places(boxes: NDArray[Any], scores: NDArray[Any]) -> Boxes:
    """Return the best boxes, of which only those of one class at one place can be partners.

    Args:
        boxes: Corners, shape (n, places, 4).
        scores: Shape (n, places, classes).
    """
    labels = np.arange(scores.shape[1]) * scores.shape[2] + scores.argmax(axis=2)
    return best(boxes, np.max(scores, axis=2), labels, SCORE)
