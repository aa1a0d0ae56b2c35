"""The source ``hdf5``: datasets of an HDF5 file."""

import os
from collections.abc import Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import h5py

from frivkit.data import Array, DataSpec, TensorSpec, input_columns
from frivkit.digests import digest_state, warn_unchecked
from frivkit.errors import DataError
from frivkit_datasets.rows import FileFactory, agreed_length, numeric, regular_file, sha256

CHUNK_BYTES = 2**30  # a chunk is decompressed as a whole; a larger one indicates a hostile file
CACHE_BYTES = 2**26  # of the chunk cache; 64 MiB instead of HDF5's default of 1 MiB


def open_hdf5(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "Hdf5Source":
    """Return the datasets ``x`` and, if there is one, ``y`` at the root of an HDF5 file.

    A model with several inputs takes datasets of their names instead of ``x``.  The file is opened
    without a lock, once in each process that reads it.

    Raises:
        DataError: the file is not an HDF5 file or is truncated, or a dataset refers to other files
            (external storage, virtual datasets, links), does not hold numbers, or cannot be
            decoded.

    Source:
        References to other files: HDF5 User Guide,
        https://support.hdfgroup.org/documentation/hdf5/latest/_u_g.html.
    """
    spec.check_keys()
    path = regular_file(spec)
    try:
        state = digest_state(path)
        if state == "wrong":  # a file that frivkit wrote; others have no digest
            raise DataError(f"data {spec}: {str(path)!r} is damaged; write it again")
        with _opened(path) as file:
            if state == "missing" and str(file.attrs.get("encoding-type")).startswith("frivkit-"):
                warn_unchecked(path)
            names = list(file)
            columns = dict.fromkeys(input_columns(inputs, names).values())
            if "y" in names:
                columns["y"] = None
            checked = {name: _shape_and_dtype(spec, file, name) for name in columns}
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises at damage
        raise DataError(
            f"data {spec}: {str(path)!r} is no HDF5 file, or cut short; write it again"
        ) from error
    examples = agreed_length(spec, {name: shape[0] for name, (shape, _) in checked.items()})
    specs = {name: TensorSpec(name, dtype, shape[1:]) for name, (shape, dtype) in checked.items()}
    return Hdf5Source(path, examples, specs)


def hdf5_scalars(spec: DataSpec) -> dict[str, float]:
    """Return the datasets at the root of an HDF5 file that are single numbers, by name.

    Raises:
        OSError: the file cannot be read.
    """
    with _opened(regular_file(spec)) as file:
        own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        datasets = {name: file[name] for name in own if isinstance(file[name], h5py.Dataset)}
        return {
            name: each[()].item()
            for name, each in datasets.items()
            if each.shape == () and each.dtype.kind in "biuf" and each.external is None
        }


hdf5 = FileFactory(open_hdf5, hdf5_scalars)


def _opened(path: Path) -> Any:
    return h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE_BYTES)


def _shape_and_dtype(spec: DataSpec, file: Any, name: str) -> tuple[tuple[int, ...], str]:
    """Return shape and number type of a dataset, after checks that make it safe to read."""
    # The kind of link is checked first: following a link may open another file.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DataError(
            f"data {spec}: {name!r} is a link, and links are not followed; copy the data there"
        )
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"data {spec}: {name!r} is a group; store a dataset of that name")
    if dataset.external is not None or dataset.is_virtual:
        raise DataError(
            f"data {spec}: {name!r} keeps its data in other files, never read; copy it into one"
        )
    if not dataset.shape:
        raise DataError(f"data {spec}: {name!r} is a single value; store one row per example")
    numeric(spec, name, dataset.dtype)
    _check_storage(spec, file, name, dataset)
    return tuple(dataset.shape), dataset.dtype.name


def _check_storage(spec: DataSpec, file: Any, name: str, dataset: Any) -> None:
    item = dataset.dtype.itemsize
    claimed, size = prod(dataset.shape) * item, Path(file.filename).stat().st_size
    if dataset.chunks is None:
        if claimed > size:
            raise DataError(
                f"data {spec}: {name!r} claims {claimed} bytes in a file of {size}; write it again"
            )
        return
    if prod(dataset.chunks) * item > CHUNK_BYTES:
        raise DataError(f"data {spec}: {name!r} has chunks of over 1 GiB; write smaller ones")
    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code, _, _, label = plist.get_filter(index)
        can_decode = h5py.h5z.filter_avail(code) and (
            h5py.h5z.get_filter_info(code) & h5py.h5z.FILTER_CONFIG_DECODE_ENABLED
        )
        if not can_decode:
            raise DataError(
                f"data {spec}: {name!r} is compressed by filter {code} ({label.decode()!r}), which "
                "is not installed; write it with gzip or lzf"
            )


class Hdf5Source:
    """A data source of datasets in one file.

    Args:
        path: The file.
        examples: The number of examples.
        columns: Number type and shape of one example, by dataset.
    """

    def __init__(self, path: Path, examples: int, columns: dict[str, TensorSpec]) -> None:
        self.examples = examples
        self.columns = columns
        self._path = path
        self._file: Any = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return sha256([self._path])

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column.

        Raises:
            DataError: they cannot be read or decoded.
        """
        # A handle cannot be used after a fork; each process opens its own.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = _opened(self._path), os.getpid()
        try:
            return {name: self._file[name][start:stop] for name in self.columns}
        except Exception as error:  # h5py raises what HDF5 or a filter raises
            raise DataError(
                f"examples {start} to {stop - 1} of {str(self._path)!r} cannot be read; "
                "the file is damaged, write it again"
            ) from error
