"""Arrays in memory, and arrays split over several files, as rows."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Array
from frivkit_datasets.rows import Rows


@dataclass(frozen=True, slots=True, eq=False)
class InMemoryRows:
    """An array in memory."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the whole array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return its number type."""
        return self.array.dtype

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        return self.array[start:stop].copy()

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices as an array of their own."""
        return self.array[indices]


class ConcatenatedRows:
    """A range of the rows of several arrays, one after the other.

    Args:
        parts: At least one array; their rows have the same shape and number type.
        first: The first row, counted over all parts.
        end: One more than the last row.
    """

    def __init__(self, parts: Sequence[Rows], first: int, end: int) -> None:
        self.shape = (end - first, *parts[0].shape[1:])
        self.dtype = parts[0].dtype
        self._parts = tuple(parts)
        self._first = first
        self._starts = tuple(accumulate((part.shape[0] for part in parts), initial=0))

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        row, end = self._first + start, self._first + stop
        filled = 0
        while row < end:
            number = bisect_right(self._starts, row) - 1
            begin = self._starts[number]
            last = min(end, self._starts[number + 1])
            rows[filled : filled + last - row] = self._parts[number].read(row - begin, last - begin)
            filled, row = filled + last - row, last
        return rows

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices as an array of their own."""
        ends = np.searchsorted(indices + self._first, self._starts)
        return np.concatenate(
            [
                part.take(indices[first:last] + self._first - start)
                for part, start, first, last in zip(
                    self._parts, self._starts, ends, ends[1:], strict=False
                )
                if first < last
            ]
        )
