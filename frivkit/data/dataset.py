"""A dataset: examples read lazily in batches, preprocessed, and adapted to a model's inputs.

A source factory (offered by a plugin) opens a :class:`DataSpec` as a :class:`DataSource`, stored
examples with random access.  A :class:`Dataset` preprocesses them and adapts them to a model.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from frivkit.data.adapt import (
    InputAdapter,
    adapt_column,
    check_labels,
    class_labels,
    full,
    size_in_bytes,
)
from frivkit.data.bare_path import read_spec
from frivkit.data.preprocess import Augmentation
from frivkit.data.random_labels import with_random_labels
from frivkit.data.source import (
    Array,
    Batch,
    DataSource,
    SourceFactory,
    TensorSpec,
    input_columns,
    taken,
)
from frivkit.data.spec import ARRAYS, DataSpec
from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.hooks.registry import Registry, installed

__all__ = [
    "Array",
    "Batch",
    "DataSource",
    "DataSpec",
    "Dataset",
    "SourceFactory",
    "TensorSpec",
    "input_columns",
    "open_data",
]

READ_BYTES = 2**25
"""Approximate bytes of stored or preprocessed examples that are handled at a time; 32 MiB."""

_turns = [RLock()]
"""Held while a source is read: sources are made for one thread at a time."""
if hasattr(os, "register_at_fork"):  # the thread that holds it is not in a fork
    os.register_at_fork(after_in_child=lambda: _turns.__setitem__(0, RLock()))

SCALING_KEYS = ("scale", "mean", "std", "standardise")
"""The keys that bring pixel values of 0 to 255 to another range."""


class Dataset:
    """Examples in the form of a model's inputs.

    A dataset can be pickled, and read in any process.  Threads that read take turns.

    Args:
        spec: The data spec; its shared keys are applied here.
        source: The stored examples.
        inputs: The model's inputs; None for the columns as preprocessed, as float32 or as the
            number type of the key ``dtype``.

    Attributes:
        spec: The spec in canonical form; :meth:`DataSpec.parse` reads it.
        examples: The number of examples, at least 1, with the key ``n`` applied.
        inputs: The inputs in the batches of :meth:`read`, with their number types and full shapes.
        has_labels: Whether batches have labels.
        warnings: Notes on the data for the user, one line each.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: there are no examples, or they do not fit the inputs; the message names both.
    """

    def __init__(
        self, spec: DataSpec, source: DataSource, inputs: Sequence[TensorSpec] | None = None
    ) -> None:
        self.spec = str(spec)
        self._data_spec = spec
        self._options = {key: value for key, value in spec.options.items() if key != "n"}
        self._source = source = with_random_labels(spec, source)
        self.examples = source.examples
        if "n" in spec.options:
            self.examples = min(self.examples, spec.whole("n", default=1, least=1))
        if self.examples < 1:
            raise DataError(f"data {self.spec} has no examples; give data with examples")
        columns = input_columns(inputs or (), source.columns)
        self.has_labels = "y" in source.columns and "y" not in columns.values()
        if self.has_labels:
            check_labels(spec, source.columns["y"])
        wanted = {tensor.name: tensor for tensor in inputs or ()}
        self._adapters = {
            name: adapt_column(spec, column, source.columns[column], wanted.get(name))
            for name, column in columns.items()
        }
        self.inputs = tuple(each.tensor for each in self._adapters.values())
        self.warnings = tuple(_warnings(spec, source, list(self._adapters.values())))

    @property
    def description(self) -> str:
        """The spec, followed by the selection of examples in words if this is a subset."""
        return self.spec

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the content and of everything that changes what is read."""
        columns = [
            (each.column, each.tensor.dtype, each.tensor.shape) for each in self._adapters.values()
        ]
        identity = json.dumps(
            [self._source.digest, self.examples, self._options, columns], sort_keys=True
        )
        return hashlib.sha256(identity.encode()).hexdigest()

    def adapted_to(self, inputs: Sequence[TensorSpec] | None) -> "Dataset":
        """Return the same examples for other inputs; this dataset if it has these inputs already.

        Raises:
            DataError: the examples do not fit the inputs; the message names both.
        """
        if inputs is None or tuple(inputs) == self.inputs:
            return self
        return Dataset(self._data_spec, self._source, inputs)

    def read(self, start: int, stop: int) -> Batch:
        """Return examples ``start`` to ``stop`` - 1; no others are read from the source.

        Beyond the batch itself, memory is bounded for any number of examples.

        Raises:
            DataError: the source cannot be read, or has numbers that the inputs cannot take;
                the message names the first such example and its column.
            ValueError: the range is not within 0 to :attr:`examples`.
        """
        if not 0 <= start <= stop <= self.examples:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        return self._read(np.arange(start, stop), start)

    def read_chosen(self, indices: NDArray[np.int64]) -> Batch:
        """Return the examples of some indices, as :meth:`read` returns each of them.

        Args:
            indices: Indices, increasing; shape (n,).

        Returns:
            The examples; the first of them counts as example 0.

        Raises:
            DataError: as for :meth:`read`.
            ValueError: the indices do not increase, or are not within 0 to :attr:`examples`.
        """
        within = not len(indices) or 0 <= indices[0] <= indices[-1] < self.examples
        if not within or (np.diff(indices) < 1).any():
            raise ValueError(f"examples {indices} of {self.examples}")
        return self._read(indices, 0)

    def _read(self, indices: NDArray[np.int64], first: int) -> Batch:
        """Return the examples of increasing indices, the first of which has a number."""
        inputs = {
            name: np.empty((len(indices), *full(each.tensor)), each.tensor.dtype)
            for name, each in self._adapters.items()
        }
        labels = np.empty(len(indices), np.int64) if self.has_labels else None
        for at in range(0, len(indices), self._rows_per_read):
            some = indices[at : at + self._rows_per_read]
            stored = self._stored(some)
            rows = slice(at, at + len(some))
            for name, each in self._adapters.items():
                inputs[name][rows] = each(stored[each.column], some)
            if labels is not None:
                labels[rows] = class_labels(stored["y"], some)
        return Batch(inputs, labels, first)

    def read_raw(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 as they are stored, by column.

        Raises:
            DataError: the source cannot be read.
            ValueError: the range is empty or not within 0 to :attr:`examples`.
        """
        if not 0 <= start < stop <= self.examples:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        return self._stored(np.arange(start, stop))

    def preprocess(
        self, stored: Mapping[str, Array], augment: Augmentation | None = None, first: int = 0
    ) -> Batch:
        """Preprocess examples that :meth:`read_raw` returned, or a selection of them.

        Args:
            stored: Examples by column, shapes (n, ...).
            augment: Augments images, which are then not cropped; None to preprocess them as
                :meth:`read` does.
            first: Index of the first example, for messages.

        Raises:
            DataError: the inputs cannot take a number; the message names the example, counted from
                ``first``, and its column.
        """
        numbers = range(first, first + len(next(iter(stored.values()))))
        inputs = {
            name: np.array(each(stored[each.column], numbers, augment))  # owned by the caller
            for name, each in self._adapters.items()
        }
        labels = class_labels(stored["y"], numbers) if self.has_labels else None
        return Batch(inputs, labels, first)

    @property
    def images(self) -> bool:
        """Whether all inputs come from images, which can be augmented."""
        return all(each.preparation.layout for each in self._adapters.values())

    def batches(self, size: int) -> Iterator[Batch]:
        """Return all examples in order, ``size`` at a time; the last batch may be smaller.

        Raises:
            ValueError: ``size`` is below 1.
        """
        if size < 1:
            raise ValueError(f"batches of {size} examples")
        for start in range(0, self.examples, size):
            yield self.read(start, min(start + size, self.examples))

    @cached_property
    def _rows_per_read(self) -> int:
        stored = sum(map(size_in_bytes, self._source.columns.values()))
        return max(1, READ_BYTES // max(stored, sum(map(size_in_bytes, self.inputs))))

    def _stored(self, indices: NDArray[np.int64]) -> Mapping[str, Array]:
        start, stop = int(indices[0]), int(indices[-1]) + 1
        try:
            with _turns[0]:
                if stop - start == len(indices):
                    rows = self._source.read(start, stop)
                else:
                    rows = taken(self._source, indices)
        except FrivkitError:
            raise
        except Exception as error:  # a source may raise anything
            raise _failure(self.spec, error) from error
        for name, column in self._source.columns.items():
            expected = (len(indices), *column.shape)
            if name not in rows or rows[name].shape != expected:
                actual = rows[name].shape if name in rows else "nothing"
                raise DataError(
                    f"data {self.spec}: {name!r} of examples {start} to {stop - 1} should come in "
                    f"shape {expected} but is {actual}; its source is at fault"
                )
        return rows


def open_data(
    spec: str | Path | DataSpec,
    inputs: Sequence[TensorSpec] | None,
    registry: Registry | None = None,
    examples: int | None = None,
) -> Dataset:
    """Open the data of a spec, or of the path of a file or folder.

    Args:
        spec: ``NAME[:PATH][?key=value&...]``, or parsed.  If two plugins offer NAME, write
            ``PLUGIN:NAME``.  ``PATH[?key=value&...]`` and a :class:`~pathlib.Path` are given the
            source that reads such files, as :func:`~frivkit.data.bare_path.read_spec` says.
        inputs: The model's inputs, to which examples are adapted; None for training, which takes
            columns as preprocessed, as float32.
        registry: Provides the sources; that of this environment by default.
        examples: The most examples to read; the smaller of this and the spec's ``n`` applies.

    Raises:
        UsageError: the spec is malformed, or names an unknown source or key.
        DataError: the data cannot be read or do not fit the inputs.
        PluginError: the source cannot be loaded.

    Example:
        >>> data = open_data("digits?split=test&scale=1/16", None)
        >>> data.examples, data.inputs[0].shape, float(data.read(0, 9).inputs["x"].max())
        (597, (1, 8, 8), 1.0)
    """
    registry = registry or installed()
    spec = read_spec(spec, registry)
    if examples is not None:
        if examples < 1:
            raise UsageError(f"{examples} examples are requested; request 1 or more")
        spec = spec.with_options(n=min(examples, spec.whole("n", default=examples, least=1)))
    name, local = resolved(spec, registry)
    factory: SourceFactory = registry.load("data_sources", name)
    try:
        source = factory(local, tuple(inputs or ()))
    except FrivkitError:
        raise
    except Exception as error:  # a source may raise anything
        raise _failure(str(spec), error) from error
    return Dataset(spec, source, inputs)


def resolved(spec: DataSpec, registry: Registry) -> tuple[str, DataSpec]:
    """Return the name of the offer, and the spec without the name of a plugin."""
    plugins = {plugin.name for plugin in registry.plugins}
    if spec.path is None or spec.name not in plugins - set(registry.offers("data_sources")):
        return spec.name, spec
    name, colon, path = spec.path.partition(":")
    return f"{spec.name}:{name}", DataSpec(name, path if colon else None, spec.options)


def _warnings(
    spec: DataSpec, source: DataSource, adapters: Sequence[InputAdapter]
) -> Iterator[str]:
    if spec.bare_path is not None:
        yield f"{spec.bare_path} is read as {spec.name}:{spec.path}"
    for each in adapters:
        if len(each.preparation.shape) == 1 < sum(size > 1 for size in full(each.tensor)):
            yield f"flat examples of {each.column!r} are read as {each.tensor.shape}, row by row"
    if not any(key in spec.options for key in SCALING_KEYS):
        yield from _unscaled_images(spec, source, adapters)


def _unscaled_images(
    spec: DataSpec, source: DataSource, adapters: Sequence[InputAdapter]
) -> Iterator[str]:
    """Return a warning if 8-bit images go to a float input with their values of 0 to 255."""
    in_bytes = {name for name, column in source.columns.items() if column.dtype == "uint8"}
    in_bytes |= set(getattr(source, "byte_columns", ()))
    unscaled = [
        each
        for each in adapters
        if each.column in in_bytes
        and each.preparation.layout
        and np.dtype(each.tensor.dtype).kind == "f"
    ]
    if unscaled:
        columns = " and ".join(repr(each.column) for each in unscaled)
        advice = "give ?scale=1/255, or mean= and std="
        if spec.name == ARRAYS:
            advice = "divide them by 255, or subtract the mean and divide by the deviation"
        yield (
            f"{columns}: 8-bit images go to a {unscaled[0].tensor.dtype} input as numbers from 0 "
            f"to 255; if the model expects another range, {advice}"
        )


def _failure(spec: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return DataError(f"data {spec} cannot be read: {type(error).__name__}: {reason}")
