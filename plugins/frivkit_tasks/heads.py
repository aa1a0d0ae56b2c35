"""Heads of detectors whose output holds whole detections: from an output to boxes.

==========  ==============================  =====================================================
layout      shape                           an entry holds
==========  ==============================  =====================================================
columns     (n, 4 + classes + more, boxes)  x, y of the middle, width, height, a score a class
rows        (n, boxes, 5 + classes + more)  the same, with a score of being an object before these
final       (n, boxes, 6) or (n, boxes, 7)  corners, score, class: after suppression
==========  ==============================  =====================================================

``columns`` is the head of YOLOv8 and later, ``rows`` that of YOLOv5 and YOLOX, ``final`` that of
YOLOv10 and of exports with suppression in the graph.  Behind the scores there may be the weights of
a mask, key points or an angle: no shape tells how many classes there are.  So the numbers of the
original do: scores stay between 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.plugin import ModelOutput
from frivkit_tasks.boxes import MORE, Boxes, best, present, without_overlaps
from frivkit_tasks.parts import MASKS, Parts, key_points, mask_bits, other_numbers

Layout = Literal["columns", "rows", "final"]
SCORE = 0.25
"""The least score of a box that counts, as in the commands of YOLOv5 and YOLOv8."""
OVERLAP = 0.7
"""The overlap beyond which the weaker of two boxes is suppressed, as in YOLOv8's prediction."""
FINAL = 1000
"""Boxes up to which six columns are those of boxes after suppression."""
SOUND = 0.9
"""The share of boxes that must have an area in the way in which they are read."""
WHOLE = 2.0
"""Coordinates up to which boxes are given in shares of the picture."""
SLACK = 1e-3
"""How far beyond 0 and 1 a score may lie, for rounding."""


class Head(Protocol):
    """Reads boxes from the outputs of a detector.

    Attributes:
        parts: What else there is of an object; None if there is only its box.
    """

    @property
    def parts(self) -> Parts | None: ...  # noqa: D102

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "Head":
        """Return a head that has seen some outputs of the original, each of shape (n, ...)."""

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes by falling score, shape (n, ``MOST``, 6 + more).

        Args:
            arrays: The outputs, each of shape (n, ...), without NaN.

        Raises:
            ModelError: they have other shapes.
        """


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
    if output.varying:
        return "final" if last in (6, 7) else None
    if axis is not None:
        return "columns" if axis % 3 == 1 else "rows"
    if last == 6 and first is not None and 6 < first <= FINAL:
        return "final"
    if first is not None and first >= 5 and (last is None or last > first):
        return "columns"
    return "rows" if last is not None and last >= 6 else None


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """Return 1 / (1 + exp(-logits)), whatever their size."""
    found: NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * logits))
    return found


def are_shares(numbers: NDArray[Any]) -> bool:
    """Whether all numbers lie between 0 and 1, but for rounding."""
    return numbers.size == 0 or bool(numbers.min() >= -SLACK and numbers.max() <= 1 + SLACK)


@dataclass(frozen=True, slots=True)
class DenseHead:
    """Reads ``columns`` and ``rows``: a box for each cell of grids, suppressed here.

    Attributes:
        name: The name of the output, for messages.
        layout: Which.
        maps: How many maps a second output has, of which masks are sums; 0 if there is none.
        shrunk: What one pixel of these maps is along x and y, in the unit of the boxes.
        classes: How many classes there are; None for all columns behind the box.
        logits: Whether scores are logits.
        parts: What stands behind the scores.
    """

    name: str
    layout: Layout
    maps: int = 0
    shrunk: tuple[float, float] = (4.0, 4.0)
    classes: int | None = None
    logits: bool = False
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> Head:
        """Return a head that knows how many columns are scores, and what the others are."""
        entries = self._entries(sample[0])
        if self.layout == "rows" and entries.shape[2] in ORDERS and entries.shape[1] <= FINAL:
            final = FinalHead(self.name).fitted(sample[:1])
            if final.order is not None:  # the first column is the number of the example
                return final
        shares = [are_shares(entries[..., i]) for i in range(4, entries.shape[2])]
        fitted = replace(self, logits=not shares[0])
        shares = shares[self._first - 4 :]
        if self.maps:
            classes = len(shares) - self.maps
            return replace(fitted, classes=classes, parts=MASKS, shrunk=self._shrunk(*sample))
        count = shares.index(False) if False in shares else len(shares)
        if fitted.logits or count in (0, len(shares)):
            return fitted
        return fitted._with_parts(count, len(shares) - count, sample)

    def _with_parts(self, classes: int, more: int, sample: Sequence[NDArray[Any]]) -> "DenseHead":
        """Return a head that knows what the columns behind the scores are."""
        found = replace(self, classes=classes, parts=other_numbers(np.ones(more)))
        for size in (3, 2):
            if more % size == 0:
                return replace(found, parts=key_points(size))
        rows = found.read(sample)
        rows = rows[present(rows)]
        return (
            replace(found, parts=other_numbers(rows[:, MORE:].std(axis=0))) if len(rows) else found
        )

    def _shrunk(self, boxes: NDArray[Any], maps: NDArray[Any]) -> tuple[float, float]:
        """Return how much smaller maps are than what boxes are given in."""
        shares = np.abs(self._entries(boxes)[..., :4]).max(initial=0.0) <= WHOLE
        return (1 / maps.shape[3], 1 / maps.shape[2]) if shares else self.shrunk

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes, shape (n, ``MOST``, 6 + more)."""
        entries = self._entries(arrays[0])
        last = entries.shape[2] if self.classes is None else self._first + self.classes
        scores = sigmoid(entries[..., 4:last]) if self.logits else entries[..., 4:last]
        if self.layout == "rows":
            scores = scores[..., 1:] * scores[..., :1]
        more = None if self.parts is None else entries[..., last:]
        found = suppressed(corners(entries), scores, more)
        if not self.maps or self.parts is None:
            return found
        bits = mask_bits(
            found[..., :4], found[..., MORE:], arrays[1].astype(np.float32), self.shrunk
        )
        bits[~present(found)] = 0
        return np.concatenate([found[..., :MORE], bits], axis=2)

    @property
    def _first(self) -> int:
        """The first column that is the score of a class."""
        return 4 if self.layout == "columns" else 5

    def _entries(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return an entry for each box, shape (n, boxes, columns)."""
        least = self._first + 1 + self.maps
        entries = array.astype(np.float32)
        if entries.ndim == 3 and self.layout == "columns":
            entries = entries.swapaxes(1, 2)
        if entries.ndim != 3 or entries.shape[2] < least:
            raise without_boxes(self.name, array)
        return entries


Columns = tuple[slice, tuple[int, ...], int | None]
"""Where the corners, the scores (whose product counts) and the class are, if there is one."""
ORDERS: dict[int, tuple[Columns, ...]] = {
    5: ((slice(0, 4), (4,), None),),
    6: (
        (slice(0, 4), (4,), 5),
        (slice(0, 4), (5,), 4),
        (slice(2, 6), (1,), 0),
    ),
    7: (
        (slice(1, 5), (6,), 5),
        (slice(1, 5), (5,), 6),
        (slice(3, 7), (2,), 1),
        (slice(0, 4), (4, 5), 6),
    ),
}
"""Orders of the columns of boxes after suppression, by their number; of seven the first may be the
number of the example."""


@dataclass(frozen=True, slots=True)
class FinalHead:
    """Reads ``final``: boxes that were suppressed in the graph.

    Attributes:
        name: The name of the output, for messages.
        order: Where corners, scores and classes are; None for the usual order.
        parts: None: there is nothing else.
    """

    name: str
    order: Columns | None = None
    parts: Parts | None = None

    def fitted(self, sample: Sequence[NDArray[Any]]) -> "FinalHead":
        """Return a head that knows which columns are scores and which classes."""
        entries = self._entries(sample)
        rows = entries.reshape(-1, entries.shape[2])
        rows = rows[rows[:, :5].any(axis=1)]
        fits = (order for order in ORDERS[rows.shape[1]] if len(rows) and _fits(rows, order))
        return replace(self, order=next(fits, None))

    def read(self, arrays: Sequence[NDArray[Any]]) -> Boxes:
        """Return boxes, shape (n, ``MOST``, 6)."""
        entries = self._entries(arrays)
        place, scores, label = self.order or ORDERS[entries.shape[2]][0]
        score = entries[..., list(scores)].prod(axis=2)
        classes = np.zeros_like(score) if label is None else np.rint(entries[..., label])
        return best(entries[..., place], score, classes, SCORE)

    def _entries(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return a row for each box, shape (n, boxes, columns); classes come last."""
        entries, *labels = (each.astype(np.float32) for each in arrays)
        if entries.ndim == 3 and labels:
            entries = np.concatenate([entries, labels[0].reshape(*entries.shape[:2], 1)], axis=2)
        if entries.ndim != 3 or entries.shape[2] not in ORDERS:
            raise without_boxes(self.name, arrays[0])
        return entries


def _fits(rows: NDArray[np.float32], order: Columns) -> bool:
    """Whether rows hold corners, scores and classes in an order."""
    place, scores, label = order
    corner, given = rows[:, place], rows[:, list(scores)]
    sound = (corner[:, 2:] > corner[:, :2]).all(axis=1).mean() >= SOUND
    whole = label is None or np.array_equal(rows[:, label], np.rint(rows[:, label]))
    return bool(sound and whole and are_shares(given))


def without_boxes(name: str, array: NDArray[Any]) -> ModelError:
    """Return the error that an output holds no boxes."""
    return ModelError(
        f"output {name!r} has shape {('n', *array.shape[1:])}, in which there are no boxes: "
        "give another --task"
    )


def corners(entries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x1, y1, x2, y2 of middles and sizes, shape (n, k, 4)."""
    middle, half = entries[..., :2], entries[..., 2:4] / 2
    return np.concatenate([middle - half, middle + half], axis=2)


def suppressed(
    places: NDArray[np.float32], scores: NDArray[np.float32], more: NDArray[Any] | None = None
) -> Boxes:
    """Return the best boxes, without those that overlap better ones of their class.

    Args:
        places: Corners, shape (n, k, 4).
        scores: Shape (n, k, classes).
        more: What else there is of each box, shape (n, k, more); None for nothing.
    """
    found = best(places, scores.max(axis=2), scores.argmax(axis=2), SCORE, more)
    return without_overlaps(found, OVERLAP)
