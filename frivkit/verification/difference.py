"""The difference between outputs, accumulated batch by batch."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 18
"""Numbers that are compared at a time, so that the float64 copies stay small."""


class Difference:
    """The largest and the relative difference of all outputs that were added.

    Sums are in float64, whatever the type of the outputs.

    Example:
        >>> difference = Difference()
        >>> difference.add(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
        >>> difference.max_abs, difference.relative_l2
        (0.5, 0.1)
    """

    def __init__(self) -> None:
        self._largest = self._gap = self._size = 0.0

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Add outputs of the original and of the other model, of the same shape."""
        first, second = a.reshape(-1), b.reshape(-1)
        for start in range(0, first.size, PIECE):
            x = first[start : start + PIECE].astype(np.float64)
            y = second[start : start + PIECE].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                gap = np.where(x == y, 0.0, y - x)  # an infinity does not differ from itself
                self._largest = float(np.maximum(self._largest, np.abs(gap).max()))
                self._gap += float(gap @ gap)
                self._size += float(x @ x)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference; NaN or infinite if an output is."""
        return self._largest

    @property
    def relative_l2(self) -> float:
        """The norm of all differences over that of the original's outputs.

        NaN if an output is not finite, or if the original's are all 0 and the other's are not.
        """
        if self._gap == 0 and math.isfinite(self._size):
            return 0.0
        if not (0 < self._size < math.inf and self._gap < math.inf):
            return math.nan
        return math.sqrt(self._gap / self._size)
