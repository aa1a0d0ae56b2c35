"""Arrays in files, read by ranges of rows."""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Array, DataSource, DataSpec, TensorSpec
from frivkit.data.source import runs_of
from frivkit.errors import DataError

PIECE = 2**20  # bytes per read of a stream


class Stream(Protocol):
    """Bytes that are read in order."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102  # as in the io module

    def close(self) -> None: ...  # noqa: D102  # as in the io module


class Rows(Protocol):
    """An array whose first axis counts examples."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102  # of the whole array

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102  # as stored

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        ...

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices, at least one, as an array of their own."""
        ...


@dataclass(frozen=True, slots=True)
class MappedRows:
    """An array whose bytes are in a file, memory-mapped for each read.

    A read maps its rows only (the whole array if it is in Fortran order), and fails if the file has
    become too short.  The file does not stay open, so any process may read.

    Attributes:
        path: The file.
        offset: Position of the first byte of the array in the file.
        shape: Shape of the whole array.
        dtype: Its number type as stored.
        fortran: Whether it is in Fortran order.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool = False

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        if self.fortran:
            whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
            return np.array(whole[start:stop], order="C")
        offset = self.offset + start * row_bytes(self)
        return np.array(
            np.memmap(self.path, self.dtype, "r", offset, (stop - start, *self.shape[1:]))
        )

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices as an array of their own."""
        if self.fortran:
            whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
            return np.array(whole[indices], order="C")
        first, last = int(indices[0]), int(indices[-1])
        offset = self.offset + first * row_bytes(self)
        shape = (last + 1 - first, *self.shape[1:])
        return np.asarray(np.memmap(self.path, self.dtype, "r", offset, shape)[indices - first])


class StreamedRows:
    """An array in a compressed stream, which is read from its start again when a read goes back.

    Args:
        open_stream: Opens the stream; called in each process that reads.
        offset: Position of the first byte of the array in the stream.
        shape: Shape of the whole array, in C order.
        dtype: Its number type as stored.
        name: Name of the array, for messages.
    """

    def __init__(
        self,
        open_stream: Callable[[], Stream],
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        name: str,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._open_stream = open_stream
        self._offset = offset
        self._name = name
        self._stream: Stream | None = None
        self._closing: finalize[[], StreamedRows] | None = None
        self._process = 0
        self._next = 0  # the row at the position of the stream

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_stream": None, "_closing": None}

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        try:
            stream = self._at(start)
            _fill(rows.reshape(-1).view(np.uint8).data, stream)
        except (OSError, EOFError, BadZipFile, zlib.error) as error:
            self._close()
            raise DataError(f"{self._name} is damaged or cut short ({error})") from error
        self._next = stop
        if stop == self.shape[0]:
            self._close()
        return rows

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices as an array of their own."""
        return np.concatenate([self.read(first, last) for first, last in runs_of(indices)])

    def _at(self, row: int) -> Stream:
        # After a fork both processes share one file position, so the child opens its own stream.
        if self._stream is None or self._process != os.getpid() or row < self._next:
            self._close()
            self._stream, self._process, self._next = self._open_stream(), os.getpid(), 0
            self._closing = finalize(self, self._stream.close)
            _skip(self._offset, self._stream)
        _skip((row - self._next) * row_bytes(self), self._stream)
        return self._stream

    def _close(self) -> None:
        if self._closing is not None:
            self._closing()
        self._stream = self._closing = None


@dataclass(frozen=True, slots=True)
class FileFactory:
    """A source factory for files that may hold single numbers beside the examples.

    Attributes:
        opened: Opens a spec for the inputs of a model.
        scalars: Returns the single numbers of a spec by name.
    """

    opened: Callable[[DataSpec, Sequence[TensorSpec]], DataSource]
    scalars: Callable[[DataSpec], Mapping[str, float]]

    def __call__(self, spec: DataSpec, inputs: Sequence[TensorSpec]) -> DataSource:
        """Open a spec for the inputs of a model."""
        return self.opened(spec, inputs)


class FileSource:
    """A data source of arrays in files, whose digest is that of the files' bytes.

    Args:
        spec: The data spec, for messages.
        columns: The arrays by column name.
        files: The files whose bytes are the content.
        classes: The number of classes; None if it is unknown.

    Raises:
        DataError: columns differ in their number of rows.
    """

    def __init__(
        self,
        spec: DataSpec,
        columns: Mapping[str, Rows],
        files: Sequence[Path],
        classes: int | None = None,
    ) -> None:
        self.examples = agreed_length(spec, {name: rows.shape[0] for name, rows in columns.items()})
        self.columns = {
            name: TensorSpec(name, rows.dtype.name, rows.shape[1:])
            for name, rows in columns.items()
        }
        self.classes = classes
        self._rows = columns
        self._files = tuple(files)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files, one after the other, in hexadecimal."""
        return sha256(self._files)

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        return {name: rows.read(start, stop) for name, rows in self._rows.items()}

    def take(self, indices: NDArray[np.int64]) -> dict[str, Array]:
        """Return the examples of increasing indices of every column."""
        return {name: rows.take(indices) for name, rows in self._rows.items()}


def _fill(buffer: memoryview, stream: Stream) -> None:
    at = 0
    while at < len(buffer):
        part = stream.read(min(len(buffer) - at, PIECE))
        if not part:
            raise EOFError("the data ends early")
        buffer[at : at + len(part)] = part
        at += len(part)


def _skip(size: int, stream: Stream) -> None:
    while size:
        skipped = memoryview(bytearray(min(size, PIECE)))
        _fill(skipped, stream)
        size -= len(skipped)


def row_bytes(rows: Rows) -> int:
    """Return the number of bytes of one row."""
    return rows.dtype.itemsize * prod(rows.shape[1:])


def agreed_length(spec: DataSpec, lengths: Mapping[str, int]) -> int:
    """Return the number of examples that all columns have.

    Raises:
        DataError: they differ.
    """
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} in {name!r}" for name, length in lengths.items())
        raise DataError(f"data {spec}: the numbers of examples differ: {counts}; make them equal")
    return max(lengths.values())


def sha256(files: Iterable[Path]) -> str:
    """Return the SHA-256 over the digests of files, in hexadecimal."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def regular_file(spec: DataSpec) -> Path:
    """Return the path of a file to read; ``~`` is the home folder.

    Raises:
        UsageError: the spec has no path.
        DataError: there is no such file, or it is empty, or a folder, a pipe or a device.
    """
    path = Path(spec.needed_path("a file")).expanduser()
    if not path.exists():
        raise DataError(f"data {spec}: there is no file {str(path)!r}; give the path of one")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise DataError(f"data {spec}: {str(path)!r} is {what}; give the path of a file")
    if path.stat().st_size == 0:
        raise DataError(f"data {spec}: {str(path)!r} is empty; write or fetch it again")
    return path


def existing_folder(spec: DataSpec, what: str) -> Path:
    """Return the path of a folder; ``~`` is the home folder.

    Args:
        spec: The data spec.
        what: The kind of folder, for messages, such as ``"a folder of IDX files"``.

    Raises:
        UsageError: the spec has no path.
        DataError: there is no such folder.
    """
    path = Path(spec.needed_path(what)).expanduser()
    if not path.is_dir():
        problem = "is no folder" if path.exists() else "does not exist"
        raise DataError(f"data {spec}: {str(path)!r} {problem}; give {what}")
    return path


def numeric(spec: DataSpec, name: str, dtype: np.dtype[Any]) -> None:
    """Raise if an array does not hold real numbers of at most 64 bits.

    Raises:
        DataError: it holds text, objects, records, complex numbers or longer floats.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise DataError(
            f"data {spec}: {name!r} holds {dtype}, which is not read; store plain numbers of at "
            "most 64 bits"
        )
