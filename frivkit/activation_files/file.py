"""The HDF5 file while it is being written.

All tables of the file are written when it is created, with space for every chunk.  After that only
numbers are written into allocated space, so the file can be opened after a kill at any moment.
What was written before is checked when it is opened again (:mod:`part_log`).
"""

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from frivkit.activation_files.layout import TYPE, VERSION, FileLayout, StoredArray
from frivkit.activation_files.part_log import (
    NOTHING,
    Extent,
    Written,
    append_log,
    log_path,
    read_log,
)
from frivkit.cache.entry import reason
from frivkit.errors import FrivkitError
from frivkit.files import sync

DONE = "done"
"""The scalar that holds the number of examples in the file."""

OPEN_FLAGS = (20, 24)
"""Where HDF5 notes that a program has the file open, in version 0 of its superblock.

Source: HDF5 File Format Specification 3.0, II.A,
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""


class Part:
    """An unfinished activation file, a context manager.

    Args:
        path: The file.
        create: The layout of a new file; None opens a file that was created before.
        compression: A filter for the chunks; such a file cannot be resumed after a kill.
        written: What a file that was created before holds already.
    """

    def __init__(
        self,
        path: Path,
        create: FileLayout | None,
        compression: str | None = None,
        *,
        written: Written = NOTHING,
    ) -> None:
        self._path = path
        self._crcs = dict(written.arrays)
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

    def write(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows of an array, which follow those that were written before.

        Raises:
            FrivkitError: the disk is full or fails.
        """
        with _disk_errors(self._path):
            dataset = self._file[name]
            stored = np.ascontiguousarray(rows, dataset.dtype)
            dataset[start : start + len(rows)] = stored
        _, crc = self._crcs.get(name, (0, 0))
        self._crcs[name] = start + len(rows), _crc_of(stored, crc)

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
            if log_path(self._path).exists():
                append_log(self._path, Written(done, self._crcs))

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with _disk_errors(self._path):
            self._file.close()

    def numbers(self, layout: FileLayout) -> list[Extent]:
        """Return where bytes lie that change after the file was created, in order."""
        done = self._file[DONE].id.get_offset()
        extents = [OPEN_FLAGS, (done, done + self._file[DONE].dtype.itemsize)]
        for array in layout.arrays:
            if array.values is None:
                self._file[array.name].id.chunk_iter(
                    lambda chunk: extents.append(
                        (chunk.byte_offset, chunk.byte_offset + chunk.size)
                    )
                )
        return _merged(sorted(extents))

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


def checked_part(path: Path, layout: FileLayout) -> Written | None:
    """Return what an unfinished file holds, None if it is damaged or of another layout.

    Each byte that an earlier run has recorded is read and compared with the log.
    """
    written = read_log(path)
    if written is None or not has_layout(path, layout):
        return None
    try:
        with h5py.File(path, "r", locking=False) as file:
            for name, (rows, crc) in written.arrays.items():
                if _crc(file[name], rows) != crc:
                    return None
    except Exception:  # as above
        return None
    return written


def _crc(dataset: Any, rows: int) -> int:
    crc, step = 0, dataset.chunks[0]
    for start in range(0, rows, step):
        part = np.ascontiguousarray(dataset[start : min(start + step, rows)])
        crc = _crc_of(part, crc)
    return crc


def _crc_of(array: NDArray[Any], crc: int) -> int:
    """Return the CRC-32 of the bytes before and of a contiguous array."""
    return zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)


def _merged(extents: list[Extent]) -> list[Extent]:
    merged: list[Extent] = []
    for first, last in extents:
        if merged and merged[-1][1] == first:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


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
