"""Write cache files (``docs/file-format.md``).

A file is written under a temporary name, closed, synced and renamed, so that no file is incomplete
under its own name.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frivkit.cache.entry import CHUNK_BYTES, TYPE, VERSION, contents_of, read_name, stored_name
from frivkit.digests import append_digest
from frivkit.errors import CacheError
from frivkit.files import largest_file, put_in_place

RESERVE_BYTES = 16 << 20
"""Bytes that a writer leaves free on the disk, for other programs and for HDF5's tables."""
TABLE_BYTES = 64 << 10
"""Bytes that the tables of a file take at most beside its arrays, where a file may not grow."""
_UNBOUNDED = 1 << 62
P = ParamSpec("P")


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the shape of chunks of at most 1 MiB that span the last axes and waste little space.

    Args:
        shape: The shape of an array with at least one axis and one element.
        itemsize: The bytes of one element.

    Example:
        >>> chunk_shape((50_000, 1024), itemsize=4)
        (256, 1024)
        >>> chunk_shape((8, 64, 224, 224), itemsize=4)
        (1, 5, 224, 224)
    """
    elements, chunk = CHUNK_BYTES // itemsize, []
    for size in reversed(shape):
        blocks = -(-size // max(1, elements))
        chunk.append(-(-size // blocks))
        elements //= chunk[-1]
    return tuple(reversed(chunk))


@dataclass(slots=True)
class _Growing:
    """An array that grows along axis 0: waiting rows, and a dataset once there is a chunk."""

    dtype: np.dtype[Any]
    tail: tuple[int, ...]
    waiting: list[NDArray[Any]] = field(default_factory=list)
    waiting_bytes: int = 0
    dataset: Any = None

    def take(self, step: int) -> NDArray[Any]:
        """Return the waiting rows but for a remainder of less than ``step`` rows, which stays."""
        rows = self.waiting[0] if len(self.waiting) == 1 else np.concatenate(self.waiting)
        ready = len(rows) - len(rows) % step
        self.waiting = [rows[ready:].copy()] if ready < len(rows) else []
        self.waiting_bytes = sum(part.nbytes for part in self.waiting)
        return rows[:ready]


class Writer:
    """A cache file that is being written.  A failure to write is not raised to the caller.

    After a failure :attr:`alive` is False, the temporary file is removed, ``failed`` was called
    once with the error, and further calls do nothing.

    Args:
        path: The temporary file, which must not exist; None for a writer that is not alive.
        key: The JSON text of the file's key.
        room: The largest size of the file in bytes.
        failed: A function that is called with the error that ended the writing.
    """

    def __init__(
        self, path: Path | None, key: str, room: int, failed: Callable[[Exception], None]
    ) -> None:
        self.alive = path is not None
        self._path = path or Path()
        self._room = room
        self._failed = failed
        self._file: Any = None
        self._written = 0
        self._names: set[str] = set()
        self._growing: dict[str, _Growing] = {}
        self._attempt(self._open, key)

    def put(self, name: str, array: ArrayLike) -> None:
        """Store a whole array.

        Raises:
            TypeError: the array is not of booleans, integers or real numbers.
            ValueError: the name is empty or taken.
        """
        values = _numeric(name, array)
        self._claim(name)
        self._attempt(self._create, name, values)

    def append(self, name: str, array: ArrayLike) -> None:
        """Append rows along axis 0; the first call sets the dtype and the other axes.

        Raises:
            TypeError: the array is not of booleans, integers or real numbers.
            ValueError: the array has no axis or does not fit the rows before it, or the name is
                empty or that of an array that was put.
        """
        rows = _numeric(name, array)
        if rows.ndim == 0:
            raise ValueError(f"array {name!r} has no axis to grow along")
        if name not in self._growing:
            self._claim(name)
            self._growing[name] = _Growing(rows.dtype, rows.shape[1:])
        growing = self._growing[name]
        if (rows.dtype, rows.shape[1:]) != (growing.dtype, growing.tail):
            raise ValueError(
                f"array {name!r} grows by rows of {growing.dtype}{list(growing.tail)}, "
                f"not of {rows.dtype}{list(rows.shape[1:])}"
            )
        self._attempt(self._grow, name, growing, rows)

    def commit(self, path: Path) -> bool:
        """Finish the file and rename it to a path in the same folder.

        Returns:
            Whether the file was written.
        """
        return self._attempt(self._finish, path)

    def discard(self) -> None:
        """Remove the temporary file; after :meth:`commit` this does nothing."""
        if not self.alive:
            return
        self.alive = False
        for growing in self._growing.values():
            growing.waiting.clear()
        if self._file is not None:
            # On a full disk, HDF5 can write its tables and close only after space is freed.
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
            with contextlib.suppress(Exception):  # there is nothing left to save
                self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _attempt(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        if not self.alive:
            return False
        try:
            step(*args, **kwargs)
        except Exception as error:  # h5py turns failed writes into several classes
            self.discard()
            self._failed(error)
            return False
        return True

    def _open(self, key: str) -> None:
        import h5py

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._check_limit()
        # Without a chunk cache, data meets the disk inside the call that writes it.  With one, a
        # full disk is met in close(), after which HDF5 2.0.0 crashes the process at its exit.
        # No other process opens this file, and some network file systems have no locks.
        self._file = h5py.File(self._path, "x", rdcc_nbytes=0, locking=False)
        head = {"encoding-type": TYPE, "encoding-version": VERSION, "key": key}
        self._file.attrs.update(head)

    def _grow(self, name: str, growing: _Growing, rows: NDArray[Any]) -> None:
        growing.waiting_bytes += rows.nbytes
        if growing.waiting_bytes < CHUNK_BYTES:
            growing.waiting.append(rows.copy())  # the caller may use its buffer again
            return
        growing.waiting.append(rows)
        chunk = chunk_shape((_UNBOUNDED, *growing.tail), rows.itemsize)
        ready = growing.take(chunk[0])
        if growing.dataset is None:
            growing.dataset = self._create(name, ready, chunk)
        else:
            self._extend(growing.dataset, ready)

    def _finish(self, path: Path) -> None:
        for name, growing in self._growing.items():
            if growing.dataset is None:
                self._create(name, growing.take(1))
            elif growing.waiting:
                self._extend(growing.dataset, growing.take(1))
        contents = contents_of({read_name(stored): item for stored, item in self._file.items()})
        self._file.attrs["contents"] = json.dumps(contents, sort_keys=True)
        self._file.flush()
        self._file.close()
        append_digest(self._path)
        if self._path.stat().st_size > self._room:
            raise _too_large()
        put_in_place(self._path, path)
        self.alive = False

    def _create(self, name: str, values: NDArray[Any], chunk: tuple[int, ...] | None = None) -> Any:
        self._need(values.nbytes)
        options: dict[str, Any] = {}
        if chunk is not None:
            options = {"chunks": chunk, "maxshape": (None, *values.shape[1:]), "fletcher32": True}
        elif values.ndim and values.size:  # HDF5 cannot chunk, and so not check, the others
            chunks = chunk_shape(values.shape, values.itemsize)
            options = {"chunks": chunks, "fletcher32": True}
        return self._file.create_dataset(stored_name(name), data=values, **options)

    def _extend(self, dataset: Any, rows: NDArray[Any]) -> None:
        self._need(rows.nbytes)
        before = len(dataset)
        dataset.resize(before + len(rows), axis=0)
        dataset[before:] = rows

    def _need(self, size: int) -> None:
        self._written += size
        if self._written > self._room:
            raise _too_large()
        if shutil.disk_usage(self._path.parent).free < size + RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._check_limit()

    def _check_limit(self) -> None:
        """Raise an error if the system lets no file grow as large as this one."""
        most = largest_file()
        if most is not None and most < self._written + TABLE_BYTES:
            raise CacheError(f"files may have {most} bytes at most: ulimit -f")

    def _claim(self, name: str) -> None:
        if not name or name in self._names:
            raise ValueError(f"array name {name!r} is {'taken' if name else 'empty'}")
        self._names.add(name)


def _too_large() -> OSError:
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _numeric(name: str, array: ArrayLike) -> NDArray[Any]:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"array {name!r} is of {values.dtype}; a cache file holds numbers only")
    return values
