"""The source ``npz``: arrays of a NumPy .npz file."""

import math
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from frivkit.data import DataSpec, TensorSpec, input_columns
from frivkit.errors import DataError
from frivkit_datasets.npy import read_header
from frivkit_datasets.rows import (
    FileFactory,
    FileSource,
    MappedRows,
    Rows,
    Stream,
    StreamedRows,
    numeric,
    regular_file,
)

ENCRYPTED = 0x1  # bit of a member's flags
LOCAL_HEADER = 30  # bytes before the name; the last four are the lengths of name and extra field


def open_npz(spec: DataSpec, inputs: Sequence[TensorSpec]) -> FileSource:
    """Return the arrays ``x`` and, if there is one, ``y`` of an .npz file.

    A model with several inputs takes arrays of their names instead of ``x``.  Arrays
    written by ``np.savez`` are memory-mapped, those by ``np.savez_compressed`` are decompressed
    while they are read.  Nothing is ever unpickled.

    Raises:
        DataError: the file is not an .npz file, is cut short, or an array does not hold numbers.

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


def npz_scalars(spec: DataSpec) -> dict[str, float]:
    """Return the arrays of an .npz file without axes, by name.

    Raises:
        DataError: the file cannot be read.
    """
    path, found = regular_file(spec), {}
    try:
        with ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as stream:
                    shape, _, dtype = read_header(spec, info.filename, stream)
                    if shape == () and dtype.kind in "biuf":
                        number = np.frombuffer(stream.read(dtype.itemsize), dtype)[0].item()
                        found[info.filename.removesuffix(".npy")] = number
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, IndexError) as error:
        raise DataError(f"data {spec}: {str(path)!r} cannot be read ({error})") from error
    return found


npz = FileFactory(open_npz, npz_scalars)


def _rows(spec: DataSpec, path: Path, archive: ZipFile, name: str, info: ZipInfo) -> Rows:
    if info.flag_bits & ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(
            f"data {spec}: {name!r} is encrypted or compressed in an unusual way; use np.savez"
        )
    with archive.open(info) as stream:
        shape, fortran, dtype = read_header(spec, name, stream)
        offset = stream.tell()
    numeric(spec, name, dtype)
    if not shape:
        raise DataError(f"data {spec}: {name!r} is a single number; store one row per example")
    expected, actual = math.prod(shape) * dtype.itemsize, info.file_size - offset
    mapped = info.compress_type == ZIP_STORED
    if mapped:
        offset += _data_offset(path, info)
        actual = min(actual, path.stat().st_size - offset)
    if expected != actual:
        raise DataError(
            f"data {spec}: {name!r} promises {expected} bytes but {actual} are there; write it "
            "again"
        )
    if mapped:
        return MappedRows(path, offset, shape, dtype, fortran)
    if fortran:
        raise DataError(
            f"data {spec}: {name!r} is compressed in Fortran order, which cannot be read by rows; "
            "save np.ascontiguousarray of it"
        )
    opened = partial(_opened, path, info.filename)
    return StreamedRows(opened, offset, shape, dtype, f"data {spec}: {name!r}")


def _data_offset(path: Path, info: ZipInfo) -> int:
    """Return the offset of a member's bytes in the file, from its local header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        lengths: tuple[int, int] = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
    return info.header_offset + LOCAL_HEADER + sum(lengths)


def _opened(path: Path, member: str) -> Stream:
    with ZipFile(path) as archive:  # the file stays open until the member is closed
        return archive.open(member)
