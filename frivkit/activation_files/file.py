"""The HDF5 file in the making.

All tables of the file are written when it is created, with room for every chunk.  From then on
only numbers are written into places that exist, so that the file opens after a kill at any moment.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from frivkit.activation_files.plan import TYPE, VERSION, FileLayout, StoredArray
from frivkit.cache.entry import reason
from frivkit.errors import FrivkitError

DONE = "done"
"""The array without axes that says how many examples are in the file."""


class Part:
    """An activation file that is not finished.  Use it as a context manager.

    Args:
        path: The file.
        create: What to lay out in a new file; None opens one that was created before.
        compression: A filter for the chunks; such a file does not survive a kill.
    """

    def __init__(
        self, path: Path, create: FileLayout | None, compression: str | None = None
    ) -> None:
        self._path = path
        # Without a chunk cache, data meets the disk inside the call that writes it: a full disk is
        # met there and not in close(), after which HDF5 2.0.0 crashes the process at its exit.
        mode = "r+" if create is None else "w"
        with _clear(path):
            self._file = h5py.File(path, mode, rdcc_nbytes=0, locking=False)
            try:
                if create is not None:
                    _lay_out(self._file, create, compression)
                    self._file.flush()
            except BaseException:
                self._file.close()
                raise

    @property
    def done(self) -> int:
        """The number of examples that are surely in the file."""
        return int(self._file[DONE][()])

    def write(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows of an array from row ``start`` on."""
        with _clear(self._path):
            self._file[name][start : start + len(rows)] = rows

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows of an array."""
        with _clear(self._path):
            found: NDArray[Any] = self._file[name][start:stop]
        return found

    def mark(self, done: int) -> None:
        """Say that so many examples are in the file, once they are on the disk."""
        with _clear(self._path):
            self._file.flush()
            sync(self._path)
            self._file[DONE][()] = done
            self._file.flush()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with _clear(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_key(path: Path) -> Mapping[str, Any] | None:
    """Return the key in an activation file; None when the file is no such file of this version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if (file.attrs["encoding-type"], file.attrs["encoding-version"]) != (TYPE, VERSION):
                return None
            key = json.loads(file.attrs["key"])
    except Exception:  # h5py and json raise many classes at damaged files
        return None
    return key if isinstance(key, dict) else None


def is_sound(path: Path, plan: FileLayout) -> bool:
    """Whether a file holds the plan's arrays, itself and in full size, and nothing beyond."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            found: dict[str, Any] = {}
            file.visititems_links(found.__setitem__)
            due = {array.name: array for array in plan.arrays}
            folders = {str(parent) for name in due for parent in Path(name).parents} - {"."}
            if set(found) != set(due) | folders | {DONE}:
                return False
            if not all(isinstance(link, h5py.HardLink) for link in found.values()):
                return False
            whole = all(_fits(file[name], array) for name, array in due.items())
            return whole and 0 <= int(file[DONE][()]) <= plan.examples
    except Exception:  # as above
        return False


def sync(path: Path) -> None:
    """Wait until what was written to a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _clear(path: Path) -> Iterator[None]:
    """Return in one line what of the disk failed; h5py raises several classes for it."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise FrivkitError(
            f"{path} cannot be written: {reason(error)}; what was finished is kept, so mend that "
            "and run again"
        ) from error


def _fits(found: Any, due: StoredArray) -> bool:
    return (
        isinstance(found, h5py.Dataset)
        and (found.shape, found.dtype, found.chunks) == (due.shape, due.dtype, due.chunk)
        and not (found.external or found.is_virtual or found.compression)
    )


def _lay_out(file: Any, plan: FileLayout, compression: str | None) -> None:
    head = {"encoding-type": TYPE, "encoding-version": VERSION, "key": plan.key_text}
    file.attrs.update(head | dict(plan.about))
    file.create_dataset(DONE, data=np.int64(0))
    for array in plan.arrays:
        made = _created(file, array, compression)
        made.attrs.update(array.attrs)
        for axis, label in enumerate(array.labels):
            made.dims[axis].label = label
        if array.values is not None:
            made[...] = array.values
            made.make_scale(array.name.rpartition("/")[2])
        for scale in array.scales:
            made.dims[0].attach_scale(file[scale])


def _created(file: Any, array: StoredArray, compression: str | None) -> Any:
    if compression is not None:
        return file.create_dataset(
            array.name,
            array.shape,
            array.dtype,
            chunks=array.chunk,
            compression=compression,
            shuffle=True,
        )
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return file.create_dataset(
        array.name, array.shape, array.dtype, chunks=array.chunk, dcpl=properties
    )
