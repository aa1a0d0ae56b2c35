"""Arrays in memory, and other Python objects, as data."""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence, Sized
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from frivkit.data.dataset import Dataset, open_data
from frivkit.data.source import Array, TensorSpec
from frivkit.data.spec import ARRAYS, DataSpec
from frivkit.data.subset import Subset
from frivkit.errors import DataError, UsageError
from frivkit.hooks.registry import Registry

if TYPE_CHECKING:  # torch takes a second to import
    from torch import Tensor
    from torch.utils.data import DataLoader
    from torch.utils.data import Dataset as TorchDataset

ArrayLike: TypeAlias = Union[Array, "Tensor"]

Data: TypeAlias = Union[
    str,
    "os.PathLike[str]",
    Dataset,
    ArrayLike,
    Sequence[Any],
    Mapping[str, ArrayLike],
    "DataLoader[Any]",
    "TorchDataset[Any]",
]
"""The kinds of data that :func:`as_dataset` takes."""

IN_MEMORY = 2**34
"""Largest number of bytes that are collected from a torch dataset or loader; 16 GiB."""

EXAMPLES_PER_PART = 256
"""Examples of a torch dataset that are joined to one array."""


class ArraySource:
    """A data source of arrays in memory.

    The arrays are not copied, so they must not change while the source is in use.

    Args:
        columns: By column name, one or more arrays whose first axes together count the examples;
            arrays of one column have the same number type and shape after the first axis.

    Raises:
        DataError: there are no columns, or they differ in their number of examples.

    Example:
        >>> source = ArraySource({"x": [np.zeros((2, 3)), np.ones((1, 3))]})
        >>> source.examples, source.read(1, 3)["x"].tolist()
        (3, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self, columns: Mapping[str, Sequence[Array]]) -> None:
        lengths = {name: sum(map(len, parts)) for name, parts in columns.items()}
        if len(set(lengths.values())) != 1:
            counts = ", ".join(f"{length} in {name!r}" for name, length in lengths.items())
            raise DataError(
                f"the arrays differ in their number of examples ({counts or 'there are none'}); "
                "the first axis must count the examples of each"
            )
        self.examples = next(iter(lengths.values()))
        self.columns = {
            name: TensorSpec(name, parts[0].dtype.name, parts[0].shape[1:])
            for name, parts in columns.items()
        }
        self._parts = {name: tuple(parts) for name, parts in columns.items()}
        self._starts = {
            name: tuple(accumulate(map(len, parts), initial=0)) for name, parts in columns.items()
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of names, number types, shapes and values of the columns."""
        whole = hashlib.sha256()
        for name, parts in sorted(self._parts.items()):
            column = self.columns[name]
            header = [name, parts[0].dtype.str, self.examples, column.shape]
            whole.update(json.dumps(header).encode())
            for part in parts:
                whole.update(np.ascontiguousarray(part).data)
        return whole.hexdigest()

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        return {name: self._rows(name, start, stop) for name in self._parts}

    def take(self, indices: NDArray[np.int64]) -> dict[str, Array]:
        """Return the examples of increasing indices of every column."""
        found = {}
        for name, parts in self._parts.items():
            numbers = [indices - start for start in self._starts[name]]
            within = [
                at[(at >= 0) & (at < len(part))] for at, part in zip(numbers, parts, strict=False)
            ]
            found[name] = np.concatenate([part[at] for at, part in zip(within, parts, strict=True)])
        return found

    def _rows(self, name: str, start: int, stop: int) -> Array:
        parts, starts = self._parts[name], self._starts[name]
        rows = np.empty((stop - start, *parts[0].shape[1:]), parts[0].dtype)
        at = start
        while at < stop:
            number = bisect_right(starts, at) - 1
            end = min(stop, starts[number + 1])
            rows[at - start : end - start] = parts[number][
                at - starts[number] : end - starts[number]
            ]
            at = end
        return rows


def as_dataset(
    data: Data,
    inputs: Sequence[TensorSpec] | None,
    *,
    registry: Registry | None = None,
    examples: int | None = None,
) -> Dataset:
    """Return data in any of the supported forms as a dataset.

    1. A text or a path is opened by :func:`~frivkit.data.open_data`.
    2. A :class:`~frivkit.data.Dataset` is adapted to the inputs.
    3. An array or tensor of shape (n, ...) has the examples of the single input.
    4. A tuple or list has one array for each input, in order, and may have another for the class
       labels, shape (n,): ``(x, y)`` for a single input.
    5. A mapping has arrays by the names of the inputs, or ``x`` for a single one, and may have
       class labels under ``y``.
    6. A torch ``DataLoader`` gives batches of the forms 3 to 5, a torch ``Dataset`` single examples
       without the axis n.  It is iterated once and its examples are kept in memory.  Parts after
       the inputs that are no class labels are left out, with a warning.

    Numbers are not preprocessed.  bfloat16 becomes float32.  Arrays are not copied.

    Args:
        data: The data.
        inputs: The model's inputs; None for one input ``x`` as float32.
        registry: Provides the sources of a text or path; that of this environment by default.
        examples: The most examples to read; a loader is not iterated beyond them.

    Raises:
        UsageError: ``examples`` is below 1, or a text is malformed.
        DataError: the data are of another kind, cannot be read, do not fit the inputs, or take more
            than 16 GiB when they are collected from a loader.

    Example:
        >>> data = as_dataset((np.zeros((5, 3)), np.arange(5)), None)
        >>> data.examples, data.inputs[0].shape, data.read(3, 5).labels.tolist()
        (5, (3,), [3, 4])
    """
    if examples is not None and examples < 1:
        raise UsageError(f"{examples} examples are requested; request 1 or more")
    if isinstance(data, os.PathLike):
        data = Path(data)
    if isinstance(data, str | Path):
        return open_data(data, inputs, registry, examples)
    if isinstance(data, Dataset):
        return _first(data.adapted_to(inputs), examples)
    names = [tensor.name for tensor in inputs or ()] or ["x"]
    torch_data = torch_examples(data)
    if torch_data is None:
        columns = {name: [array] for name, array in _columns(data, names).items()}
        dropped: list[str] = []
    else:
        columns, dropped = _collected(torch_data, names, examples)
    for name, parts in columns.items():
        if not parts[0].ndim:
            raise DataError(f"{name!r} is a single number; the first axis must count the examples")
    dataset = Dataset(DataSpec(ARRAYS), ArraySource(columns), inputs)
    dataset.warnings += tuple(dropped)
    return _first(dataset, examples)


def _first(data: Dataset, examples: int | None) -> Dataset:
    if examples is None or examples >= data.examples:
        return data
    return Subset(data, np.arange(examples), f"the first {examples}")


def _columns(data: object, names: Sequence[str]) -> dict[str, Array]:
    """Return one batch by column: ``x`` for a single input, else by input name; labels as ``y``."""
    columns = _input_columns(names)
    if isinstance(data, Mapping):
        known = {*names, *columns, "y"}
        for name in data:
            if name not in known:
                raise DataError(
                    f"there are data for {name!r}, but the inputs are {', '.join(names)}; labels "
                    "are named y"
                )
        if len(names) == 1 and {"x", names[0]} <= set(data) and names[0] != "x":
            raise DataError(f"there are data for 'x' and {names[0]!r}, but one input; give one")
        by_name = {str(name): as_array(part, str(name)) for name, part in data.items()}
        if len(names) == 1 and names[0] in by_name:
            by_name["x"] = by_name.pop(names[0])
        return by_name
    parts = list(data) if isinstance(data, tuple | list) else [data]
    if len(parts) == 2 and isinstance(parts[0], tuple | list | Mapping):  # (inputs, labels)
        return _columns(parts[0], names) | {"y": as_array(parts[1], "y")}
    if len(parts) not in (len(columns), len(columns) + 1):
        raise DataError(
            f"there are {len(parts)} arrays for {len(columns)} input{'s' * (len(columns) > 1)}; "
            "give one array of all examples for each input, and at most one more for the labels"
        )
    if len(parts) > len(columns) and "y" in columns:
        raise DataError("there is an array for labels, but an input is named y; leave labels out")
    return {name: as_array(part, name) for name, part in zip([*columns, "y"], parts, strict=False)}


def _input_columns(names: Sequence[str]) -> list[str]:
    """Return the names of the columns of arrays that are given in order."""
    return ["x"] if len(names) == 1 else list(names)


def as_array(part: object, name: str) -> Array:
    """Return an array or tensor, or anything that converts itself to an array, as an array.

    Raises:
        DataError: it is something else, or does not hold numbers.
    """
    if _from_torch(part):
        import torch

        if isinstance(part, torch.Tensor):
            tensor = part.detach().cpu().resolve_conj().resolve_neg()
            if tensor.dtype == torch.bfloat16:
                tensor = tensor.float()
            return np.asarray(tensor.numpy())
    if not (hasattr(part, "__array__") or isinstance(part, int | float | bool)):
        raise DataError(
            f"{name!r} is a {type(part).__name__}; give a numpy array, a torch tensor, or a data "
            "spec"
        )
    array: Array = np.asarray(part)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(f"{name!r} is an array of {array.dtype}; give numbers of at most 64 bits")
    return array


def _from_torch(data: object) -> bool:
    """Whether an object is an instance of a class of torch, which then has been imported."""
    return any(each.__module__.partition(".")[0] == "torch" for each in type(data).__mro__)


def torch_examples(data: Any) -> Iterator[tuple[Any, bool]] | None:
    """Return the batches of a torch loader or the examples of a torch dataset; None for others.

    Each comes with whether it is a batch.
    """
    if not _from_torch(data):
        return None
    from torch.utils.data import DataLoader, IterableDataset
    from torch.utils.data import Dataset as TorchDataset

    if isinstance(data, DataLoader):
        batched = data.batch_size is not None or data.batch_sampler is not None
        return ((each, batched) for each in data)
    if isinstance(data, TorchDataset):
        untyped: Any = data  # torch's class has neither __len__ nor __iter__
        if isinstance(data, IterableDataset) or not isinstance(data, Sized):
            return ((each, False) for each in untyped)
        return ((untyped[index], False) for index in range(len(untyped)))
    return None


def _collected(
    examples: Iterator[tuple[Any, bool]], names: Sequence[str], most: int | None
) -> tuple[dict[str, list[Array]], list[str]]:
    """Return the arrays of each column, in parts, and warnings about parts that are left out."""
    columns: dict[str, list[Array]] = {}
    pending: dict[str, list[Array]] = {}
    labels, warnings = True, []
    count = size = 0
    for each, batched in examples:
        parts = _labelled_columns(each, names)
        has_labels = labels and "y" not in _input_columns(names)
        note = _no_labels(parts.get("y"), batched=batched) if has_labels else None
        if note:
            labels = False
            warnings.append(note)
            columns.pop("y", None)
            pending.pop("y", None)
        if not labels:
            parts.pop("y", None)
        rows = {
            name: np.array(part if batched else part[np.newaxis]) for name, part in parts.items()
        }
        if pending or columns:
            _check_same(rows, pending or columns, count)
        for name, part in rows.items():
            pending.setdefault(name, []).append(part)
            size += part.nbytes
        count += len(next(iter(rows.values())))
        if size > IN_MEMORY:
            raise DataError(
                f"the first {count} examples take over {IN_MEMORY >> 30} GiB of memory; give "
                "examples=N for fewer, or write them to an .npz or HDF5 file"
            )
        if batched or len(next(iter(pending.values()))) >= EXAMPLES_PER_PART:
            _join(pending, columns)
        if most is not None and count >= most:
            break
    _join(pending, columns)
    if not columns:
        raise DataError("the torch data have no examples; give data with examples")
    return columns, warnings


def _labelled_columns(each: object, names: Sequence[str]) -> dict[str, Array]:
    """Return the columns of a batch or example, without labels that are no numbers."""
    if isinstance(each, tuple | list) and len(each) == len(names) + 1:
        inputs = _columns(tuple(each[:-1]), names)
        try:
            return inputs | {"y": as_array(each[-1], "y")}
        except DataError:
            return inputs | {"y": np.empty(0, object)}
    return _columns(each, names)


def _no_labels(labels: Array | None, *, batched: bool) -> str | None:
    """Return a warning if the part after the inputs is not one class label per example."""
    if labels is None or (labels.ndim == int(batched) and labels.dtype.kind in "biu"):
        return None
    return (
        f"the part after the inputs holds {labels.dtype} of shape {labels.shape}, not one class "
        "label per example, and is left out"
    )


def _check_same(
    rows: Mapping[str, Array], earlier: Mapping[str, Sequence[Array]], count: int
) -> None:
    for name, parts in earlier.items():
        before = (parts[0].dtype, parts[0].shape[1:])
        if name not in rows or (rows[name].dtype, rows[name].shape[1:]) != before:
            now = (
                f"{rows[name].dtype} of shape {rows[name].shape[1:]}" if name in rows else "nothing"
            )
            raise DataError(
                f"{name!r} of example {count} is {now}, but {before[0]} of shape {before[1]} in "
                "example 0; give examples of one shape and number type"
            )


def _join(pending: dict[str, list[Array]], columns: dict[str, list[Array]]) -> None:
    for name, parts in pending.items():
        columns.setdefault(name, []).append(np.concatenate(parts) if len(parts) > 1 else parts[0])
    pending.clear()
