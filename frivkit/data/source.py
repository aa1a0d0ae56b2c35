"""The types of data: a data source, a batch of examples, and the spec of one tensor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.data.spec import DataSpec
from frivkit.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model input or a column: name, NumPy dtype name, shape of one example (None: any size)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Consecutive examples.

    Attributes:
        inputs: Arrays of shape (n, *example) by input name, owned by the caller.
        labels: Class labels, shape (n,), int64, at least 0; None if the data have none.
        first: Index of the first example.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    first: int


class DataSource(Protocol):
    """Stored examples with random access.

    Attributes:
        examples: The number of examples.
        columns: Stored number type and full shape of one example, by column name: ``x`` for the
            single input, the model's input names for several, ``y`` for labels if there are any.
        digest: SHA-256 of the content in hexadecimal, independent of the preprocessing.

    Two attributes are optional.  ``classes`` is the number of classes; without it, labels are read
    to count them when ``labels=random`` needs the number.  ``byte_columns`` names columns that hold
    8-bit values, 0 to 255, in another number type than uint8, as resized images do.

    A method is optional, too: ``take(indices)`` returns what ``read`` does for the examples of some
    indices, int64, at least one, increasing.  A source that has none is read run by run of
    consecutive examples.
    """

    @property
    def examples(self) -> int: ...  # noqa: D102  # described above

    @property
    def columns(self) -> Mapping[str, TensorSpec]: ...  # noqa: D102  # described above

    @property
    def digest(self) -> str: ...  # noqa: D102  # described above

    def read(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1, at least one, of every column.

        A row has the same bytes in every read.  Threads take turns; it is not always the same one.
        """
        ...


def taken(source: DataSource, indices: NDArray[np.int64]) -> Mapping[str, Array]:
    """Return the examples of some indices of every column of a source.

    Args:
        source: The source.
        indices: Indices, at least one, increasing; shape (n,).
    """
    take: Any = getattr(source, "take", None)
    if take is not None:
        found: Mapping[str, Array] = take(indices)
        return found
    parts = [source.read(first, last) for first, last in runs_of(indices)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def runs_of(indices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first index of each run of consecutive indices, and the one behind its last.

    Args:
        indices: Increasing indices, shape (n,).

    Example:
        >>> runs_of(np.array([0, 1, 5, 7, 8]))
        [(0, 2), (5, 6), (7, 9)]
    """
    if not indices.size:
        return []
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(indices, breaks)]


SourceFactory = Callable[[DataSpec, Sequence[TensorSpec]], DataSource]
"""Open a spec for the inputs of a model; no inputs mean a single column ``x``.

A source calls :meth:`~frivkit.data.spec.DataSpec.check_keys` with its own keys, so that no
other key is silently ignored.  It need not apply ``n``, which the dataset does.

A factory may have an attribute ``scalars``, a function from a spec to single numbers by name, which
inputs without an axis for examples take.
"""


def input_columns(inputs: Sequence[TensorSpec], available: Iterable[str]) -> dict[str, str]:
    """Return the column for each input, by input name.

    A single input takes ``x``, else the column of its own name; of several inputs, each takes the
    column of its name.  Without inputs, ``x`` is read.

    Raises:
        DataError: a column is missing.

    Example:
        >>> input_columns([TensorSpec("input.1", "float32", (64,))], ["x", "y"])
        {'input.1': 'x'}
    """
    columns = sorted(available)
    if len(inputs) <= 1 and "x" in columns:
        return {inputs[0].name if inputs else "x": "x"}
    names = [tensor.name for tensor in inputs] or ["x"]
    for name in names:
        if name not in columns:
            wanted = f"{name!r}, an input of the model" if len(names) > 1 else "'x'"
            raise DataError(
                f"no array is named {wanted}; there are {', '.join(columns) or 'none'}; rename them"
            )
    return {name: name for name in names}
