"""The HDF5 file while it is being written.

All tables of the file are written when it is created, with space for every chunk.  After that only
numbers are written into allocated space, so the file can be opened after a kill at any moment.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from frivkit.activation_files.layout import TYPE, VERSION, FileLayout, StoredArray
from frivkit.cache.entry import reason
from frivkit.errors import FrivkitError
from frivkit.files import sync

DONE = "done"
"""The scalar that holds the number of examples in the file."""


class Part:
    """An unfinished activation file, a context manager.

    Args:
        path: The file.
        create: The layout of a new file; None opens a file that was created before.
        compression: A filter for the chunks; such a file cannot be resumed after a kill.
    """

    def __init__(
        self, path: Path, create: FileLayout | None, compression: str | None = None
    ) -> None:
        self._path = path
        # Without a chunk cache, a full disk fails the call that writes the data.  With one, it
        # fails close(), after which HDF5 2.0.0 crashes the process at its exit.
        mode = "r+" if create is None else "w"
        with _disk_errors(path):
            self._file = h5py.File(path, mode, rdcc_nbytes=0, locking=False)
            try:
                if create is not None:
                    _create_arrays(self._file, create, compression)
                    self._file.flush()
            except BaseException:
                self._file.close()
                raise

    @property
    def done(self) -> int:
        """The number of examples whose data are on the disk."""
        return int(self._file[DONE][()])

    def write(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows of an array from row ``start`` on.

        Raises:
            FrivkitError: the disk is full or fails.
        """
        with _disk_errors(self._path):
            self._file[name][start : start + len(rows)] = rows

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop`` - 1 of an array.

        Raises:
            FrivkitError: the disk fails.
        """
        with _disk_errors(self._path):
            rows: NDArray[Any] = self._file[name][start:stop]
        return rows

    def mark(self, done: int) -> None:
        """Record the number of finished examples, once their data are on the disk.

        Raises:
            FrivkitError: the disk is full or fails.
        """
        with _disk_errors(self._path):
            self._file.flush()
            sync(self._path)
            self._file[DONE][()] = done
            self._file.flush()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with _disk_errors(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_key(path: Path) -> Mapping[str, Any] | None:
    """Return the key in an activation file; None if it is no activation file of this version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if (file.attrs["encoding-type"], file.attrs["encoding-version"]) != (TYPE, VERSION):
                return None
            key = json.loads(file.attrs["key"])
    except Exception:  # h5py and json raise many classes at damaged files
        return None
    return key if isinstance(key, dict) else None


def has_layout(path: Path, layout: FileLayout) -> bool:
    """Whether a file holds exactly the arrays of a layout, itself and in full size."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            links: dict[str, Any] = {}
            file.visititems_links(links.__setitem__)
            arrays = {array.name: array for array in layout.arrays}
            folders = {str(parent) for name in arrays for parent in Path(name).parents} - {"."}
            if set(links) != set(arrays) | folders | {DONE}:
                return False
            if not all(isinstance(link, h5py.HardLink) for link in links.values()):
                return False
            whole = all(_matches(file[name], array) for name, array in arrays.items())
            return whole and 0 <= int(file[DONE][()]) <= layout.examples
    except Exception:  # as above
        return False


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn failures of the disk into one line; h5py raises several classes for them.

    Raises:
        FrivkitError: the block failed.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise FrivkitError(
            f"{path} cannot be written: {reason(error)}; what was finished is kept, so mend that "
            "and run again"
        ) from error


def _matches(dataset: Any, array: StoredArray) -> bool:
    return (
        isinstance(dataset, h5py.Dataset)
        and (dataset.shape, dataset.dtype, dataset.chunks)
        == (array.shape, array.dtype, array.chunk)
        and not (dataset.external or dataset.is_virtual or dataset.compression)
    )


def _create_arrays(file: Any, layout: FileLayout, compression: str | None) -> None:
    head = {"encoding-type": TYPE, "encoding-version": VERSION, "key": layout.key_text}
    file.attrs.update(head | dict(layout.about))
    file.create_dataset(DONE, data=np.int64(0))
    for array in layout.arrays:
        dataset = _create_array(file, array, compression)
        dataset.attrs.update(array.attrs)
        for axis, label in enumerate(array.labels):
            dataset.dims[axis].label = label
        if array.values is not None:
            dataset[...] = array.values
            dataset.make_scale(array.name.rpartition("/")[2])
        for scale in array.scales:
            dataset.dims[0].attach_scale(file[scale])


def _create_array(file: Any, array: StoredArray, compression: str | None) -> Any:
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
