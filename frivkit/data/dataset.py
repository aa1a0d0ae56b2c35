"""Data: examples read lazily in batches, prepared as the spec says, fitted to a model's inputs.

A source (a plugin's offer) turns a :class:`DataSpec` into :class:`DataSource`, stored examples of
which any rows can be read.  A :class:`Dataset` prepares them and fits them to a model.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from frivkit.data.adapt import (
    InputAdapter,
    adapt_column,
    check_labels,
    class_labels,
    full,
    size_in_bytes,
)
from frivkit.data.preprocess import Augmentation
from frivkit.data.random_labels import with_random_labels
from frivkit.data.source import Array, Batch, DataSource, SourceFactory, TensorSpec, input_columns
from frivkit.data.spec import DataSpec
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
"""About how many stored or prepared bytes are handled at a time; 32 MiB."""


class Dataset:
    """Examples as a model takes them.

    It can be pickled, and read in any process, by one thread at a time.

    Args:
        spec: What was asked for; its shared keys are applied here.
        records: The stored examples.
        inputs: The model's inputs; None to take the columns as prepared, as float32 or what
            ``dtype=`` says.

    Attributes:
        spec: The spec in canonical form.
        examples: How many examples there are, ``n=`` applied; at least 1.
        inputs: What :meth:`read` gives: each input with its number type and full shape.
        has_labels: Whether batches carry labels.
        warnings: What the user should know, one line each.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: there are no examples, or they do not fit the inputs; the message names both.
    """

    def __init__(
        self, spec: DataSpec, records: DataSource, inputs: Sequence[TensorSpec] | None = None
    ) -> None:
        self.spec = str(spec)
        self._options = {key: value for key, value in spec.options.items() if key != "n"}
        self._records = records = with_random_labels(spec, records)
        self.examples = records.examples
        if "n" in spec.options:
            self.examples = min(self.examples, spec.whole("n", default=1, least=1))
        if self.examples < 1:
            raise DataError(f"data {self.spec} has no examples; give data that has some")
        feeding = input_columns(inputs or (), records.columns)
        self.has_labels = "y" in records.columns and "y" not in feeding.values()
        if self.has_labels:
            check_labels(spec, records.columns["y"])
        wanted = {tensor.name: tensor for tensor in inputs or ()}
        self._feeds = {
            name: adapt_column(spec, column, records.columns[column], wanted.get(name))
            for name, column in feeding.items()
        }
        self.inputs = tuple(each.tensor for each in self._feeds.values())
        self.warnings = tuple(_warnings(self._feeds.values()))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the content and of everything that changes what is read."""
        read = [
            (each.column, each.tensor.dtype, each.tensor.shape) for each in self._feeds.values()
        ]
        told = json.dumps(
            [self._records.digest, self.examples, self._options, read], sort_keys=True
        )
        return hashlib.sha256(told.encode()).hexdigest()

    def read(self, start: int, stop: int) -> Batch:
        """Return examples ``start`` to ``stop`` - 1; only these are read from the source.

        Beyond the batch itself, memory is bounded whatever its size.

        Raises:
            DataError: the source cannot be read, or holds numbers that the inputs cannot take;
                the message names the first such example and its column.
            ValueError: the range does not lie within 0 to :attr:`examples`.
        """
        if not 0 <= start <= stop <= self.examples:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        inputs = {
            name: np.empty((stop - start, *full(each.tensor)), each.tensor.dtype)
            for name, each in self._feeds.items()
        }
        labels = np.empty(stop - start, np.int64) if self.has_labels else None
        for first in range(start, stop, self._rows):
            last = min(first + self._rows, stop)
            stored = self._stored(first, last)
            rows = slice(first - start, last - start)
            for name, each in self._feeds.items():
                inputs[name][rows] = each(stored[each.column], first)
            if labels is not None:
                labels[rows] = class_labels(stored["y"], first)
        return Batch(inputs, labels, start)

    def read_raw(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 as they are stored, by column.

        Raises:
            DataError: the source cannot be read.
            ValueError: the range does not lie within 0 to :attr:`examples`, or is empty.
        """
        if not 0 <= start < stop <= self.examples:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        return self._stored(start, stop)

    def preprocess(
        self, stored: Mapping[str, Array], augment: Augmentation | None = None, first: int = 0
    ) -> Batch:
        """Prepare examples that :meth:`read_raw` gave, or any choice among them.

        Args:
            stored: Examples by column, shapes (n, ...).
            augment: Distorts images, which then are not cropped; None to prepare them as
                :meth:`read` does.
            first: Index of the first example, for messages.

        Raises:
            DataError: the inputs cannot take a number; the message names the example, counted from
                ``first``, and its column.
        """
        inputs = {
            name: np.array(each(stored[each.column], first, augment))  # the caller's to change
            for name, each in self._feeds.items()
        }
        return Batch(inputs, class_labels(stored["y"], first) if self.has_labels else None, first)

    @property
    def images(self) -> bool:
        """Whether all inputs are prepared from images, which can be distorted."""
        return all(each.preparation.layout for each in self._feeds.values())

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
    def _rows(self) -> int:
        """How many examples are handled at a time."""
        stored = sum(map(size_in_bytes, self._records.columns.values()))
        return max(1, READ_BYTES // max(stored, sum(map(size_in_bytes, self.inputs))))

    def _stored(self, start: int, stop: int) -> Mapping[str, Array]:
        try:
            rows = self._records.read(start, stop)
        except FrivkitError:
            raise
        except Exception as error:  # a source may raise anything
            raise _failure(self.spec, error) from error
        for name, column in self._records.columns.items():
            due = (stop - start, *column.shape)
            if name not in rows or rows[name].shape != due:
                got = rows[name].shape if name in rows else "nothing"
                raise DataError(
                    f"data {self.spec}: {name!r} of examples {start} to {stop - 1} should come in "
                    f"shape {due} but is {got}; its source is at fault"
                )
        return rows


def open_data(
    spec: str | DataSpec,
    inputs: Sequence[TensorSpec] | None,
    registry: Registry | None = None,
    examples: int | None = None,
) -> Dataset:
    """Open the data that a spec names.

    Args:
        spec: ``NAME[:PATH][?key=value&...]``, or parsed.  Where two plugins offer NAME, it is
            written ``PLUGIN:NAME``.
        inputs: The model's inputs, to which examples are fitted; None for training, which takes
            columns as prepared, as float32.
        registry: Where sources are looked up; that of this environment by default.
        examples: Read no more than so many; the smaller of this and the spec's ``n`` holds.

    Raises:
        UsageError: the spec is malformed, or names what no plugin offers or the source lacks.
        DataError: the data cannot be read or does not fit.
        PluginError: the source cannot be loaded.

    Example:
        >>> data = open_data("digits?split=test&scale=1/16", None)
        >>> data.examples, data.inputs[0].shape, float(data.read(0, 9).inputs["x"].max())
        (597, (1, 8, 8), 1.0)
    """
    registry = registry or installed()
    spec = DataSpec.parse(spec) if isinstance(spec, str) else spec
    if examples is not None:
        if examples < 1:
            raise UsageError(f"{examples} examples are asked for; ask for 1 or more")
        spec = spec.with_options(n=min(examples, spec.whole("n", default=examples, least=1)))
    name, local = _resolved(spec, registry)
    source: SourceFactory = registry.load("data_sources", name)
    try:
        records = source(local, tuple(inputs or ()))
    except FrivkitError:
        raise
    except Exception as error:  # a source may raise anything
        raise _failure(str(spec), error) from error
    return Dataset(spec, records, inputs)


def _resolved(spec: DataSpec, registry: Registry) -> tuple[str, DataSpec]:
    """Return the offer's name and the spec that its source is to see."""
    plugins = {plugin.name for plugin in registry.plugins}
    if spec.path is None or spec.name not in plugins - set(registry.offers("data_sources")):
        return spec.name, spec
    name, colon, path = spec.path.partition(":")
    return f"{spec.name}:{name}", DataSpec(name, path if colon else None, spec.options)


def _warnings(feeds: Iterable[InputAdapter]) -> Iterator[str]:
    for each in feeds:
        if len(each.preparation.shape) == 1 < sum(size > 1 for size in full(each.tensor)):
            yield f"flat examples of {each.column!r} are read as {each.tensor.shape}, row by row"


def _failure(spec: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return DataError(f"data {spec} cannot be read: {type(error).__name__}: {reason}")
