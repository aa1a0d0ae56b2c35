"""Outputs of which an example has as many rows as its input makes it have, such as boxes.

Such a model is run example by example, and the rows are filled up to a number that all examples
have, so that whatever reads outputs finds a row for each example.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError

ROWS = 1000
"""Rows of an example; of more, the first count."""


def varying_axis(shapes: Sequence[tuple[int, ...]], sizes: Sequence[int | None]) -> int | None:
    """Return the axis along which the rows of an output lie that vary, None if none can.

    Args:
        shapes: The shapes of the output in some runs of one example each; none if there was none,
            so that the file's own word counts.
        sizes: The sizes that the file declares, None where one is open; empty if it does not say.

    Example:
        >>> varying_axis([(3, 7), (5, 7)], [None, 7]), varying_axis([(1, 0, 6)] * 2, [1, None, 6])
        (0, 1)
    """
    if len({len(shape) for shape in (*shapes, sizes) if len(shape)}) != 1:
        return None
    rank = len(shapes[0] if shapes else sizes)
    moved = [axis for axis in range(rank) if len({shape[axis] for shape in shapes}) > 1]
    axis = next(iter(moved or [axis for axis, size in enumerate(sizes) if size is None]), None)
    if len(moved) > 1 or axis is None or axis > 1:
        return None
    return axis if axis == 0 or all(shape[0] == 1 for shape in (shapes or (sizes,))) else None


def with_rows(name: str, array: Any, axis: int) -> NDArray[Any]:
    """Return the rows of one example, filled up: zeros, or -1 where they are whole numbers.

    Args:
        name: The name of the output, for messages.
        array: What a run of one example gave.
        axis: The axis of the rows: 0, or 1 behind the example.

    Returns:
        Shape (1, ``ROWS``, ...).

    Raises:
        ModelError: it is no tensor with such an axis.

    Example:
        >>> with_rows("y", np.ones((2, 3), np.float32), 0).sum(axis=2)[0, :4].tolist()
        [3.0, 3.0, 0.0, 0.0]
    """
    if not isinstance(array, np.ndarray) or array.ndim <= axis or (axis and len(array) != 1):
        shape = getattr(array, "shape", type(array).__name__)
        raise ModelError(f"tensor {name!r} has shape {shape} for one example, with no such rows")
    rows = array[np.newaxis] if axis == 0 else array
    fill = -1 if rows.dtype.kind == "i" else 0
    found = np.full((1, ROWS, *rows.shape[2:]), fill, rows.dtype)
    count = min(ROWS, rows.shape[1])
    found[:, :count] = rows[:, :count]
    return found
