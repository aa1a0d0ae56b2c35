"""The first examples of data whose model is not open yet, so that its inputs are unknown."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.data.arrays import Data, as_array, torch_examples
from frivkit.data.dataset import Dataset, open_data
from frivkit.data.source import Array
from frivkit.errors import DataError


def first_inputs(
    data: Data, count: int, inputs: int | None = None
) -> tuple[Array, ...] | dict[str, Array]:
    """Return the first examples of data, without their labels.

    Args:
        data: Data in any of the forms of :func:`~frivkit.data.as_dataset`.
        count: The most examples to return.
        inputs: The number of inputs that the model takes; None if it is unknown, and then a last
            part that holds one integer per example, or no numbers, has the labels.

    Returns:
        Arrays of shape (n, ...) for each input, in order or by name; n is at most ``count``.

    Raises:
        DataError: the data are of another kind, have no examples or cannot be read.

    Example:
        >>> [part.shape for part in first_inputs((np.zeros((5, 3)), np.arange(5)), 2)]
        [(2, 3)]
    """
    if isinstance(data, str | os.PathLike):
        data = open_data(data if isinstance(data, str) else Path(data), None)
    if isinstance(data, Dataset):
        return tuple(data.read(0, min(count, data.examples)).inputs.values())
    batches = torch_examples(data)
    if batches is None:
        return _inputs_of(data, count, inputs)
    for each, batched in batches:
        return _inputs_of(each, count if batched else None, inputs)
    raise DataError("the torch data have no examples; give data with examples")


def _inputs_of(
    batch: Any, count: int | None, inputs: int | None
) -> tuple[Array, ...] | dict[str, Array]:
    """Return the inputs of a batch; of a single example, with an axis n, if ``count`` is None."""
    if isinstance(batch, Mapping):
        named = {
            str(name): _rows(part, str(name), count) for name, part in batch.items() if name != "y"
        }
        return tuple(named.values()) if [*named] == ["x"] else named
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if len(parts) == 2 and isinstance(parts[0], tuple | list | Mapping):  # (inputs, labels)
        return _inputs_of(parts[0], count, inputs)
    rows = 0 if count is None else 1
    if len(parts) > 1 and (len(parts) - 1 == inputs or _are_labels(parts[-1], rows)):
        parts.pop()
    return tuple(
        _rows(part, "x" if len(parts) == 1 else f"x_{i}", count) for i, part in enumerate(parts)
    )


def _rows(part: object, name: str, count: int | None) -> Array:
    array = as_array(part, name)
    if count is None:
        return array[np.newaxis]
    if not array.ndim:
        raise DataError(f"{name!r} is a single number; the first axis must count the examples")
    return array[:count]


def _are_labels(part: object, axes: int) -> bool:
    """Whether a part holds one integer per example, or no numbers."""
    try:
        array = as_array(part, "y")
    except DataError:
        return True
    return array.ndim == axes and array.dtype.kind in "iu"
