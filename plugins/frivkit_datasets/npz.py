"""Arrays of a NumPy .npz file."""

import math
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy

from frivkit.data import DataSpec, TensorSpec, input_columns
from frivkit.errors import DataError
from frivkit_datasets.rows import (
    FileSource,
    MappedRows,
    Rows,
    Stream,
    StreamedRows,
    numeric,
    regular_file,
)

ENCRYPTED = 0x1  # bit of a member's flags
LOCAL_HEADER = 30  # bytes before the name, whose length and that of an extra field end it


def npz(spec: DataSpec, inputs: Sequence[TensorSpec]) -> FileSource:
    """Return the arrays ``x`` and, if there is one, ``y`` of an .npz file.

    A model with several inputs takes arrays of their names instead of ``x``.  What ``np.savez``
    wrote is memory-mapped, what ``np.savez_compressed`` wrote is decompressed as it is read.
    Nothing is ever unpickled.

    Raises:
        DataError: the file is no .npz file, is cut short, or an array does not hold numbers.

    Source:
        The formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html and
        https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3.7.
    """
    spec.check_keys()
    path = regular_file(spec)
    try:
        with ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            columns = dict.fromkeys(input_columns(inputs, members).values())
            if "y" in members:
                columns["y"] = None
            rows = {name: _rows(spec, path, archive, name, members[name]) for name in columns}
    except (BadZipFile, EOFError, struct.error) as error:
        raise DataError(
            f"data {spec}: {str(path)!r} is no .npz file, or cut short ({error}); "
            "write it again with np.savez"
        ) from error
    return FileSource(spec, rows, [path])


def _rows(spec: DataSpec, path: Path, archive: ZipFile, name: str, info: ZipInfo) -> Rows:
    if info.flag_bits & ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"data {spec}: {name!r} is encrypted or packed unusually; use np.savez")
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(spec, name, stream)
        begins = stream.tell()
    numeric(spec, name, dtype)
    if not shape:
        raise DataError(f"data {spec}: {name!r} is a single number; store one row an example")
    promised, held = math.prod(shape) * dtype.itemsize, info.file_size - begins
    mapped = info.compress_type == ZIP_STORED
    if mapped:
        begins += _data_offset(path, info)
        held = min(held, path.stat().st_size - begins)
    if promised != held:
        raise DataError(
            f"data {spec}: {name!r} promises {promised} bytes but {held} are there; write it again"
        )
    if mapped:
        return MappedRows(path, begins, shape, dtype, fortran)
    if fortran:
        raise DataError(
            f"data {spec}: {name!r} is compressed in Fortran order, which cannot be read by rows; "
            "save np.ascontiguousarray of it"
        )
    opened = partial(_opened, path, info.filename)
    return StreamedRows(opened, begins, shape, dtype, f"data {spec}: {name!r}")


def _header(
    spec: DataSpec, name: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except Exception as error:  # a header is a Python literal, which can be wrong in many ways
        raise DataError(
            f"data {spec}: {name!r} is damaged, or no NumPy array; write it again with np.savez"
        ) from error
    if dtype.hasobject:
        raise DataError(f"data {spec}: {name!r} holds Python objects, never read; store numbers")
    if any(size < 0 for size in shape):
        raise DataError(f"data {spec}: {name!r} claims shape {shape}; write it again")
    return shape, fortran, dtype


def _data_offset(path: Path, info: ZipInfo) -> int:
    """Return the place of a member's bytes, which only the header before them tells."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        lengths: tuple[int, int] = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
    return info.header_offset + LOCAL_HEADER + sum(lengths)


def _opened(path: Path, member: str) -> Stream:
    with ZipFile(path) as archive:  # the file itself stays open until the member is closed
        return archive.open(member)
