"""Numbers: an entry counts as the same while it moves by no more than a share of its spread."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.tasks.classify import single

TOLERANCE = 0.1
"""The share of its standard deviation that an entry may move by, unless another is given."""
PIECE = 1 << 18
"""Numbers that are compared at a time."""
CONSTANT = 1e-9
"""Standard deviation, as a share of the largest, below which an entry counts as constant."""
NAMES = ("box", "bbox", "boxes", "bboxes", "landmark", "landmarks", "depth", "offset", "offsets",
         "reconstruction", "denoised", "flow", "present")  # fmt: skip
"""Names of outputs that hold numbers; present keys and values are those of earlier tokens."""
SCALED = ("Sigmoid", "Tanh", "HardSigmoid")
"""Operators at the end of an autoencoder of rows."""


def rows_of(outputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return outputs of shape (n, ...) in float64, shape (n, entries)."""
    return outputs.reshape(len(outputs), -1).astype(np.float64)


def spread_of(outputs: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the standard deviation of each entry over all examples, shape (entries,).

    That of an entry that never changes counts as the mean of the others, or as 1.

    Args:
        outputs: Batches of outputs, each of shape (n, ...).

    Example:
        >>> spread_of([np.array([[1.0, 5.0]]), np.array([[3.0, 5.0]])]).tolist()
        [1.0, 1.0]
    """
    count, shift, total, squares = 0, None, np.zeros(1), np.zeros(1)
    for batch in outputs:
        rows = rows_of(batch)
        shift = rows[:1] if shift is None else shift  # sums of squares stay small
        moved = rows - shift
        count += len(rows)
        total, squares = total + moved.sum(axis=0), squares + (moved**2).sum(axis=0)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - (total / max(count, 1)) ** 2, 0.0))
    small = spread <= CONSTANT * spread.max(initial=0.0)
    usual = spread[~small].mean() if (~small).any() else 1.0
    result: NDArray[np.float64] = np.where(small, usual, spread)
    return result


class Errors:
    """R², the relative error and the largest share of an entry's numbers that is left unexplained.

    Sums are in float64.
    """

    def __init__(self) -> None:
        self._count = 0
        self._shift: NDArray[np.float64] | None = None
        self._total = self._squares = self._error = np.zeros(1)
        self._size = 0.0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        first, second = rows_of(original[0]), rows_of(other[0])
        if self._shift is None:
            self._shift = first[:1]
        moved = first - self._shift
        self._count += len(first)
        self._total = self._total + moved.sum(axis=0)
        self._squares = self._squares + (moved**2).sum(axis=0)
        self._error = self._error + ((second - first) ** 2).sum(axis=0)
        self._size += float((first**2).sum())

    def result(self) -> Mapping[str, float | None]:
        """Return R² and the relative error.

        - ``r2``: 1 - squared errors / squared distances of the original's numbers from their means
          over the examples, both summed over all entries that change: the mean of the R² of the
          entries, weighted by their variance.  At most 1; None if no entry changes.
        - ``relative_error``: The norm of all errors over that of the original's numbers; None if
          these are all 0.
        """
        spread = self._squares - self._total**2 / max(self._count, 1)
        changes = spread > CONSTANT**2 * spread.max(initial=0.0)
        around = float(spread[changes].sum())
        error = float(self._error.sum())
        r2 = 1 - float(self._error[changes].sum()) / around if around > 0 else None
        relative = (error / self._size) ** 0.5 if self._size > 0 else None
        return {"r2": r2, "relative_error": relative}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Reads the numbers themselves.

    Attributes:
        tolerance: The share of its standard deviation that an entry may move by.
        spread: The standard deviation of each entry, shape (entries,); None before it is known.
    """

    tolerance: float = TOLERANCE
    spread: NDArray[np.float64] | None = field(default=None, compare=False)
    of_set: bool = field(default=False, init=False)

    @property
    def spread_needed(self) -> bool:
        """Whether the spread is not known yet."""
        return self.spread is None

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> "Numbers":
        """Return a comparer that knows the spread of the original's outputs."""
        return replace(self, spread=spread_of(each[0] for each in outputs))

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the numbers, shape (n, entries), as floats of at most 32 bits."""
        rows = outputs[0].reshape(len(outputs[0]), -1)
        return rows if rows.dtype == np.float16 else rows.astype(np.float32)

    def positions(self, predictions: NDArray[Any]) -> int:
        """Return how many entries an example has."""
        return int(predictions.shape[1])

    def undefined(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many entries of each example are NaN, shape (n,)."""
        count: NDArray[np.int64] = np.isnan(predictions).sum(axis=1)
        return count

    def agreement(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of entries of each example within the tolerance, shape (n,)."""
        if self.spread is None:
            raise ValueError("the spread of the original's outputs is not known yet")
        limit = self.tolerance * self.spread
        share = np.empty(len(original))
        step = max(1, PIECE // max(1, original.shape[1]))
        for first in range(0, len(original), step):  # so that copies in float64 stay small
            was, now = original[first : first + step], other[first : first + step]
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.abs(now.astype(np.float64) - was)
            share[first : first + step] = ((gap <= limit) | (now == was)).mean(axis=1)
        return share

    def figures(self) -> Errors:
        """Return R² and the relative error."""
        return Errors()


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        words = output.name.lower().replace("/", "_").replace(".", "_").split("_")
        if not output.is_float:
            evidence, reason = Evidence.NONE, "it holds whole numbers"
        elif any(word in NAMES for word in words):
            evidence, reason = Evidence.NAME, "of its name"
        elif _like_an_input(output, inputs):
            evidence, reason = Evidence.NAME, "it has the shape of an input"
        else:
            evidence, reason = Evidence.NONE, "it holds numbers"
        claims.append(single(output, evidence, reason))
    return claims


def _like_an_input(output: ModelOutput, inputs: Sequence[TensorSpec]) -> bool:
    """Whether an output has the shape of an input, or that of a larger picture.

    So have pictures, sound, states of recurrent layers and autoencoders.  Rows of numbers are taken
    for classes unless they end in what scales numbers, and rows of several numbers at each place
    unless there are two spatial axes or other inputs.
    """
    shape = output.shape
    if shape is None or len(shape) < 2 or output.softmax_axis is not None:
        return False
    if len(shape) == 2 and (output.operator not in SCALED or (shape[1] or 0) < 2):
        return False
    if len(shape) == 3 and shape[1] != 1 and len(inputs) == 1:
        return False
    numbers = [each.shape for each in inputs if np.dtype(each.dtype).kind in "fu"]
    return any(each == shape[1:] and shape[1] is not None for each in numbers) or any(
        _is_enlarged(each, shape[1:]) for each in numbers
    )


def _is_enlarged(given: tuple[int | None, ...], made: tuple[int | None, ...]) -> bool:
    """Whether a picture of one or three channels becomes a larger one of as many."""
    if len(given) != 3 or len(made) != 3 or None in (*given, *made):
        return False
    channels, *sizes = (size or 0 for size in given)
    same, *larger = (size or 0 for size in made)
    return (
        channels == same
        and channels in (1, 3)
        and all(new > old and new % old == 0 for new, old in zip(larger, sizes, strict=True))
    )


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    return Numbers(TOLERANCE if options.tolerance is None else options.tolerance)


REGRESS = Task("entries", _claims, _comparer)
"""Entries that move by no more than a share of their standard deviation over the data."""
