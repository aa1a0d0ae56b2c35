"""Detectors: boxes that both networks find.

The original's own boxes are the truth.  An example agrees by 2 × matched / (boxes of both): the F1
of its boxes, 1 where neither network finds any.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.tasks.classify import SIGMOIDS, single
from frivkit_tasks.boxes import matched, present
from frivkit_tasks.heads import Layout, Role, layout_of, read_separate, read_whole, role_of

PARTNERS = 0.5
"""The least intersection over union of two boxes that are the same, as in PASCAL VOC."""
STRIDES = (4, 8, 16, 32, 64, 128)
"""Sizes of a cell of the grids on which heads predict, in pixels."""
ANCHORS = (1, 2, 3)
"""Boxes that are predicted in a cell."""
NAMES = ("output0", "detections", "detection", "dets", "det")
"""Names that exporters give to the output of a detector."""


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """Reads boxes, and compares them with those of the original.

    Attributes:
        names: The names of the outputs.
        layout: How they hold boxes.
        roles: What each of several outputs holds; empty for one.
    """

    names: tuple[str, ...]
    layout: Layout
    roles: tuple[Role, ...] = ()
    of_set: bool = field(default=False, init=False)
    spread_needed: bool = field(default=False, init=False)

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> "FoundBoxes":
        """Return itself: nothing is learnt."""
        return self

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return boxes by falling score, shape (n, boxes, 6); NaN for an example that holds NaN."""
        clean = [
            np.nan_to_num(each, nan=0.0) if each.dtype.kind == "f" else each for each in outputs
        ]
        if self.layout == "separate":
            boxes = read_separate(clean, self.roles, self.names[0])
        else:
            boxes = read_whole(clean[0], self.layout, self.names[0])
        for each in outputs:
            if each.dtype.kind == "f":
                boxes[np.isnan(each).reshape(len(each), -1).any(axis=1)] = np.nan
        return boxes

    def positions(self, predictions: NDArray[Any]) -> int:
        """Return 0: an example agrees by the share of its boxes."""
        return 0

    def undefined(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """Return 1 for an example whose outputs hold NaN, shape (n,)."""
        found: NDArray[np.int64] = np.isnan(predictions).any(axis=(1, 2)).astype(np.int64)
        return found

    def agreement(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        """Return the F1 of the boxes of each example, shape (n,)."""
        both, of_one, of_other = _counts(original, other)
        whole = of_one + of_other
        share = np.where(whole > 0, 2 * both / np.where(whole > 0, whole, 1), 1.0)
        found: NDArray[np.float64] = np.where(self.undefined(other) > 0, 0.0, share)
        return found

    def figures(self) -> "BoxCounts":
        """Return precision and recall."""
        return BoxCounts(self)


class BoxCounts:
    """Precision and recall against the boxes of the original, over all examples.

    Args:
        reader: Reads boxes.
    """

    def __init__(self, reader: FoundBoxes) -> None:
        self._reader = reader
        self._both = self._original = self._other = 0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        both, of_one, of_other = _counts(self._reader.read(original), self._reader.read(other))
        self._both += int(both.sum())
        self._original += int(of_one.sum())
        self._other += int(of_other.sum())

    def result(self) -> Mapping[str, float | None]:
        """Return precision, recall and the numbers of boxes; None for a share of no boxes."""
        return {
            "precision": self._both / self._other if self._other else None,
            "recall": self._both / self._original if self._original else None,
            "boxes_of_the_original": self._original,
            "boxes_found": self._other,
        }


def _counts(
    original: NDArray[Any], other: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how many boxes match, how many the original has, and how many the other, (n,) each."""
    both = matched(original, other, PARTNERS)
    return both, present(original).sum(axis=1), present(other).sum(axis=1)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        if not output.is_float or layout_of(output) is None:
            continue
        evidence, reason = _evidence(output, inputs)
        claims.append(single(output, evidence, reason))
    group = _group(outputs)
    if group:
        reason = f"outputs are named {', '.join(group)}"
        claims.append(Claim(group, Evidence.GRAPH, reason))
    return claims


def _evidence(output: ModelOutput, inputs: Sequence[TensorSpec]) -> tuple[Evidence, str]:
    shape = output.shape or ()
    layout = layout_of(output)
    boxes = shape[2] if layout == "columns" else shape[1]
    picture = any(len(each.shape) == 3 and each.dtype != "int64" for each in inputs)
    if picture and boxes is not None and _on_grids(boxes, inputs):
        return Evidence.GRAPH, f"it has an entry for each of {boxes} cells of grids on the picture"
    if layout == "columns" and _joins_boxes_and_scores(output):
        return Evidence.GRAPH, "it joins four numbers and the sigmoids of others at each place"
    if picture and output.name.lower() in NAMES and len(shape) == 3:
        return Evidence.NAME, "of its name and its shape"
    return Evidence.NONE, "it may hold boxes"


def _on_grids(boxes: int, inputs: Sequence[TensorSpec]) -> bool:
    """Whether there are as many boxes as cells of two or more grids, or some for each cell."""
    for each in inputs:
        if len(each.shape) != 3:
            continue
        for height, width in (each.shape[1:], each.shape[:2]):
            if not height or not width:
                continue
            cells = [
                (height // stride) * (width // stride)
                if not (height % stride or width % stride)
                else 0
                for stride in STRIDES
            ]
            for first in range(len(cells)):
                for last in range(first + 2, len(cells) + 1):
                    some = cells[first:last]
                    if all(some) and any(boxes == anchors * sum(some) for anchors in ANCHORS):
                        return True
    return False


def _joins_boxes_and_scores(output: ModelOutput) -> bool:
    """Whether the last Concat joins boxes (4 of them at each place) and what ends in a sigmoid."""
    sizes = [part.sizes for part in output.parts]
    four = any(each is not None and len(each) >= 2 and each[1] == 4 for each in sizes)
    scores = any(part.operator in SIGMOIDS for part in output.parts)
    return len(output.parts) == 2 and four and scores


def _group(outputs: Sequence[ModelOutput]) -> tuple[str, ...]:
    """Return outputs that hold boxes and their scores by their names, boxes first; else none."""
    by_role: dict[Role, ModelOutput] = {}
    for output in outputs:
        role = role_of(output.name)
        if role is not None:
            by_role.setdefault(role, output)
    boxes, scores = by_role.get("boxes"), by_role.get("scores")
    if boxes is None or scores is None or boxes.shape is None or scores.shape is None:
        return ()
    if len(boxes.shape) != 3 or boxes.shape[2] not in (4, None) or len(scores.shape) not in (2, 3):
        return ()
    if len(scores.shape) == 2 and prod(size or 2 for size in scores.shape[1:]) < 2:
        return ()
    found = [boxes, scores]
    if len(scores.shape) == 2:
        found += [by_role[role] for role in ("classes", "count") if role in by_role]
    return tuple(each.name for each in found)


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    names = tuple(output.name for output in outputs)
    if len(outputs) > 1:
        roles = tuple(role for name in names if (role := role_of(name)) is not None)
        return FoundBoxes(names, "separate", roles)
    layout = layout_of(outputs[0], options.axis)
    return FoundBoxes(names, layout or "columns")


DETECT = Task("boxes", _claims, _comparer)
"""Boxes of the same class that overlap by half or more."""
