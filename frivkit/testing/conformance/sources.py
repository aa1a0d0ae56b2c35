"""The rules of data sources."""

import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Dataset, DataSource, DataSpec, SourceFactory, TensorSpec
from frivkit.data.source import taken
from frivkit.errors import FrivkitError, UsageError
from frivkit.testing.conformance.rules import Rules, named

MOST = 64
"""Examples that are read, at most."""
NO_SUCH_KEY = "no-such-key"


def check_data_source(
    factory: SourceFactory,
    spec: str | DataSpec,
    *,
    inputs: Sequence[TensorSpec] = (),
    other: str | DataSpec | None = None,
) -> int:
    """Check that a data source reads the same rows however it is asked, and describes them.

    - ``columns``: each has its name, its number type and a full shape, and rows come so.
    - ``batches``: rows have the same bytes whatever range they are read in, when some are taken,
      and in a copy that went through ``pickle``.
    - ``digest``: 64 hexadecimal digits, the same on opening again, and another for other content.
    - ``keys``: a key that the source does not know is a UsageError.
    - ``labels``: whole numbers from 0, fewer than ``classes`` if the source has that attribute.
    - ``dataset``: frivkit can prepare the rows for the inputs.

    Args:
        factory: The target; it need not be registered.
        spec: A data spec that it can open, such as ``"halves?n=8"``.
        inputs: The inputs of a model, for sources that take their shapes from it.
        other: A spec of other content, such as another seed; None if the source has only one.

    Returns:
        The number of examples that were read.

    Raises:
        LawError: a rule is broken.
    """
    spec = DataSpec.parse(spec) if isinstance(spec, str) else spec
    rules = Rules("data_sources", f"spec {spec}")
    rules.shape(factory)
    source = factory(spec, tuple(inputs))
    _check_columns(rules, source)
    count = min(MOST, source.examples)
    rows = _read(rules, source, 0, count)
    _check_batches(rules, source, rows, count)
    _check_digest(rules, source, factory(spec, tuple(inputs)))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301  # made in the line before
    _same(rules, rows, _read(rules, copy, 0, count), "in a copy that went through pickle")
    if other is not None:
        different = DataSpec.parse(other) if isinstance(other, str) else other
        _check_other(rules, source, factory(different, tuple(inputs)), rows, str(different))
    _check_keys(rules, factory, spec, inputs)
    _check_labels(rules, source, rows)
    _check_dataset(rules, spec, source, inputs, count)
    return count


def _check_columns(rules: Rules, source: DataSource) -> None:
    examples = source.examples
    rules.require(
        isinstance(examples, int) and examples >= 1,
        "columns",
        f"expected at least 1 example, found {examples!r}",
    )
    rules.require(source.columns, "columns", "it has no columns")
    for name, column in source.columns.items():
        rules.require(
            isinstance(column, TensorSpec) and column.name == name,
            "columns",
            f"column {name!r} is described by {column!r}",
        )
        full = all(isinstance(size, int) and size >= 0 for size in column.shape)
        rules.require(full, "columns", f"column {name!r} has the shape {column.shape}: sizes open")
        try:
            np.dtype(column.dtype)
        except TypeError as error:
            raise rules.broken("columns", f"column {name!r} has type {column.dtype!r}") from error


def _read(rules: Rules, source: DataSource, start: int, stop: int) -> Mapping[str, NDArray[Any]]:
    rows = source.read(start, stop)
    for name, column in source.columns.items():
        array = rows.get(name)
        rules.require(
            array is not None, "columns", f"column {name!r} of examples {start} to {stop} is gone"
        )
        expected = (stop - start, *column.shape)
        rules.require(
            isinstance(array, np.ndarray)
            and array.shape == expected
            and array.dtype == column.dtype,
            "columns",
            f"column {name!r} of examples {start} to {stop}: expected {column.dtype} {expected}, "
            f"found {getattr(array, 'dtype', type(array).__name__)} "
            f"{getattr(array, 'shape', '')}",
        )
    return rows


def _same(
    rules: Rules,
    expected: Mapping[str, NDArray[Any]],
    actual: Mapping[str, NDArray[Any]],
    when: str,
) -> None:
    for name, array in expected.items():
        rules.require(
            array.tobytes() == actual[name].tobytes(),
            "batches",
            f"column {name!r} has other bytes {when}",
        )


def _check_batches(
    rules: Rules, source: DataSource, rows: Mapping[str, NDArray[Any]], count: int
) -> None:
    for size in {1, 3, max(1, count // 2)}:
        starts = list(range(0, count, size))
        parts = {
            start: _read(rules, source, start, min(start + size, count))
            for start in reversed(starts)  # ranges may be read in any order
        }
        whole = {name: np.concatenate([parts[start][name] for start in starts]) for name in rows}
        _same(rules, rows, whole, f"in batches of {size}")
    _same(rules, rows, _read(rules, source, 0, count), "when it is read again")
    chosen = np.flatnonzero(np.arange(count) % 3 != 1)
    some = {name: array[chosen] for name, array in rows.items()}
    _same(rules, some, taken(source, chosen), "when some examples are taken")


def _check_digest(rules: Rules, source: DataSource, again: DataSource) -> None:
    proper = isinstance(source.digest, str) and re.fullmatch(r"[0-9a-f]{64}", source.digest)
    rules.require(proper, "digest", f"expected 64 hexadecimal digits, found {source.digest!r}")
    rules.require(
        source.digest == again.digest, "digest", "it is another one when the spec is opened again"
    )


def _check_other(
    rules: Rules,
    source: DataSource,
    other: DataSource,
    rows: Mapping[str, NDArray[Any]],
    spec: str,
) -> None:
    count = min(len(next(iter(rows.values()))), other.examples)
    there = _read(rules, other, 0, count)
    same = rows.keys() == there.keys() and all(
        rows[name][:count].tobytes() == there[name].tobytes() for name in rows
    )
    rules.require(not same, "digest", f"{spec} has the same rows; give a spec of other content")
    rules.require(
        source.digest != other.digest, "digest", f"{spec} has other rows and the same digest"
    )


def _check_keys(
    rules: Rules, factory: SourceFactory, spec: DataSpec, inputs: Sequence[TensorSpec]
) -> None:
    try:
        factory(spec.with_options(**{NO_SUCH_KEY: "1"}), tuple(inputs))
    except UsageError as error:
        rules.one_line(error, "an unknown key")
    except Exception as error:  # a source may raise anything
        reason = f"an unknown key is a {type(error).__name__}, not a UsageError"
        raise rules.broken("keys", reason) from error
    else:
        raise rules.broken("keys", f"the unknown key {NO_SUCH_KEY!r} is silently ignored")


def _check_labels(rules: Rules, source: DataSource, rows: Mapping[str, NDArray[Any]]) -> None:
    classes = getattr(source, "classes", None)
    if classes is None or "y" not in rows:
        return
    labels = rows["y"]
    fits = labels.min() >= 0 and labels.max() < classes
    rules.require(
        fits, "labels", f"labels from {labels.min()} to {labels.max()} of {classes} classes"
    )


def _check_dataset(
    rules: Rules, spec: DataSpec, source: DataSource, inputs: Sequence[TensorSpec], count: int
) -> None:
    try:
        data = Dataset(spec, source, tuple(inputs) or None)
        batch = data.read(0, min(count, data.examples))
    except FrivkitError as error:
        raise rules.broken("dataset", f"{named(type(error), 'error')}: {error}") from error
    for tensor in data.inputs:
        actual = batch.inputs[tensor.name].shape[1:]
        rules.require(
            actual == tensor.shape,
            "dataset",
            f"input {tensor.name!r} is prepared in shape {actual}, not {tensor.shape}",
        )
