"""Detectors: objects that both networks find.

The original's own boxes are the truth.  An example agrees by 2 × kept / (boxes of both): the F1 of
its boxes, 1 where neither network finds any.  Two boxes that are partners are kept, or as much as
is the same of the mask or of the key points behind them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Comparer, LabelOptions, ModelOutput, Task
from frivkit_tasks.boxes import NONE, partners, present
from frivkit_tasks.detect_claims import claims, head_of
from frivkit_tasks.heads import Head

PARTNERS = 0.5
"""The least intersection over union of two boxes that are the same, as in PASCAL VOC."""
SEEN = 64
"""Examples of the original by which a head learns how its outputs are read."""


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """Reads boxes, and compares them with those of the original.

    Attributes:
        head: How outputs hold boxes.
        spread_needed: Whether the head has to see outputs of the original first.
    """

    head: Head
    spread_needed: bool = True
    of_set: bool = field(default=False, init=False)

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> "FoundBoxes":
        """Return a comparer whose head has seen the first ``SEEN`` examples."""
        parts: list[list[NDArray[Any]]] = []
        for batch in outputs:
            parts.append(
                _without_nan(each[: SEEN - sum(len(p[0]) for p in parts)] for each in batch)
            )
            if sum(len(part[0]) for part in parts) >= SEEN:
                break
        sample = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return replace(self, head=self.head.fitted(sample), spread_needed=False)

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return boxes by falling score, shape (n, boxes, 6 + more); NaN where an output is."""
        boxes = self.head.read(_without_nan(outputs))
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
        found = self.matched(original, other)
        whole = found.of_original + found.of_other
        share = np.where(whole > 0, 2 * found.kept / np.where(whole > 0, whole, 1), 1.0)
        result: NDArray[np.float64] = np.where(self.undefined(other) > 0, 0.0, share)
        return result

    def matched(self, original: NDArray[Any], other: NDArray[Any]) -> "Matches":
        """Return what boxes match.

        Args:
            original: Boxes of the original, shape (n, k, 6 + more).
            other: Boxes of the other network, likewise.
        """
        found = partners(original, other, PARTNERS)
        row, at = np.nonzero(found != NONE)
        parts, kept = self.head.parts, np.ones(len(row))
        figure = None if parts is None else np.zeros(0)
        if parts is not None and len(row):
            kept, figure = parts.compare(original[row, found[row, at]], other[row, at])
        return Matches(
            np.bincount(row, weights=kept, minlength=len(original)).astype(np.float64),
            present(original).sum(axis=1),
            present(other).sum(axis=1),
            figure,
        )

    def figures(self) -> "BoxCounts":
        """Return precision and recall."""
        return BoxCounts(self)


@dataclass(frozen=True, slots=True)
class Matches:
    """What matches of the boxes of some examples.

    Attributes:
        kept: How many boxes are kept, shape (n,); parts of one count where masks or key points do.
        of_original: How many the original has, shape (n,).
        of_other: How many the other network has, shape (n,).
        figure: How the masks or key points of partners compare, shape (pairs,); None without them.
    """

    kept: NDArray[np.float64]
    of_original: NDArray[np.int64]
    of_other: NDArray[np.int64]
    figure: NDArray[np.float64] | None


class BoxCounts:
    """Precision and recall against the boxes of the original, over all examples.

    Args:
        reader: Reads boxes.
    """

    def __init__(self, reader: FoundBoxes) -> None:
        self._reader = reader
        self._kept, self._original, self._other = 0.0, 0, 0
        self._total, self._pairs = 0.0, 0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        found = self._reader.matched(self._reader.read(original), self._reader.read(other))
        self._kept += float(found.kept.sum())
        self._original += int(found.of_original.sum())
        self._other += int(found.of_other.sum())
        if found.figure is not None:
            self._total += float(found.figure.sum())
            self._pairs += len(found.figure)

    def result(self) -> Mapping[str, float | None]:
        """Return precision, recall and the numbers of boxes; None for a share of no boxes.

        Where there is more of an object than its box, its mean over the boxes that are partners.
        """
        figures: dict[str, float | None] = {
            "precision": self._kept / self._other if self._other else None,
            "recall": self._kept / self._original if self._original else None,
            "boxes_of_the_original": self._original,
            "boxes_found": self._other,
        }
        parts = self._reader.head.parts
        if parts is not None:
            figures[parts.name] = self._total / self._pairs if self._pairs else None
        return figures


def _without_nan(outputs: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.nan_to_num(each, nan=0.0) if each.dtype.kind == "f" else each for each in outputs]


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    return FoundBoxes(head_of(outputs, options))


DETECT = Task("boxes", claims, _comparer, reads_varying=True)
"""Boxes of the same class that overlap by half or more."""
