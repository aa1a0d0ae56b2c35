"""The source ``npy``, and the header of NumPy's .npy format."""

import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from frivkit.data import DataSpec, TensorSpec
from frivkit.errors import DataError
from frivkit_datasets.rows import FileSource, MappedRows, numeric, regular_file


def npy(spec: DataSpec, inputs: Sequence[TensorSpec]) -> FileSource:
    """Return the array of a .npy file as the column ``x``, one row per example, without labels.

    The file is memory-mapped.  Nothing is ever unpickled.

    Raises:
        DataError: the file is not a .npy file, is cut short, does not hold numbers, or the model
            has several inputs.

    Source:
        https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
    """
    spec.check_keys()
    path = regular_file(spec)
    if len(inputs) > 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise DataError(
            f"data {spec} is one array, but the model has the inputs {names}; write an array of "
            "each name to an .npz file by numpy.savez"
        )
    with path.open("rb") as file:
        shape, fortran, dtype = read_header(spec, path.name, file)
        offset = file.tell()
    numeric(spec, path.name, dtype)
    if not shape:
        raise DataError(f"data {spec}: it is a single number; store one row per example")
    expected, actual = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if expected != actual:
        raise DataError(
            f"data {spec}: its header promises {expected} bytes but {actual} are there; write it "
            "again"
        )
    return FileSource(spec, {"x": MappedRows(path, offset, shape, dtype, fortran)}, [path])


def read_header(
    spec: DataSpec, name: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array in the .npy format.

    Args:
        spec: The data spec, for messages.
        name: Name of the array, for messages.
        stream: Stands at the beginning of the header, and afterwards at the first byte of the data.

    Returns:
        Shape, whether the array is in Fortran order, and number type.

    Raises:
        DataError: there is no valid header, or the array holds Python objects.
    """
    try:
        version = npy_format.read_magic(stream)
        parsers = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }
        shape, fortran, dtype = parsers[version](stream)
    except Exception as error:  # a header is a Python literal, which can be wrong in many ways
        raise DataError(
            f"data {spec}: {name!r} is damaged, or no NumPy array; write it again with NumPy"
        ) from error
    if dtype.hasobject:
        raise DataError(f"data {spec}: {name!r} holds Python objects, never read; store numbers")
    if any(size < 0 for size in shape):
        raise DataError(f"data {spec}: {name!r} claims shape {shape}; write it again")
    return shape, fortran, dtype
