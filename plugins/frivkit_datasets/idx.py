"""The source ``idx``: folders of MNIST and Fashion-MNIST files in the IDX format."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from frivkit.data import DataSpec, TensorSpec
from frivkit.errors import DataError
from frivkit_datasets.rows import FileSource, MappedRows, Rows, StreamedRows, existing_folder

PREFIXES = {"train": "train", "test": "t10k"}
AXES = {"images": 3, "labels": 1}
DEFLATE_RATIO = 1032  # deflate's largest, https://zlib.net/zlib_tech.html


def idx(spec: DataSpec, inputs: Sequence[TensorSpec]) -> FileSource:
    """Return the images of an MNIST-like folder, shape (1, 28, 28), uint8, and labels if present.

    ``split`` is ``train`` or ``test`` (the default).  Files have their published names, such as
    ``t10k-images-idx3-ubyte``, with a hyphen or a dot before ``idx3``, and may end in ``.gz``.  A
    plain file is memory-mapped, a ``.gz`` file is decompressed while it is read.

    Raises:
        DataError: a file is missing, truncated, or of another format.

    Source:
        The format: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database, "File formats",
        http://yann.lecun.com/exdb/mnist/.
    """
    spec.check_keys("split")
    split = spec.choice("split", tuple(PREFIXES), "test")
    folder = existing_folder(spec, "a folder of IDX files")
    images = _find(folder, split, "images")
    if images is None:
        raise DataError(
            f"data {spec}: {str(folder)!r} has no {_names(split, 'images')[0]}, plain or .gz; "
            "put the files there under their published names"
        )
    labels = _find(folder, split, "labels")
    columns = {"x": _rows(spec, images, "images")}
    if labels is not None:
        columns["y"] = _rows(spec, labels, "labels")
    return FileSource(spec, columns, [images] if labels is None else [images, labels])


def _names(split: str, what: str) -> list[str]:
    stem, end = f"{PREFIXES[split]}-{what}", f"idx{AXES[what]}-ubyte"
    return [f"{stem}{mark}{end}{zipped}" for zipped in ("", ".gz") for mark in "-."]


def _find(folder: Path, split: str, what: str) -> Path | None:
    paths = (folder / name for name in _names(split, what))
    return next((path for path in paths if path.is_file()), None)


def _rows(spec: DataSpec, path: Path, what: str) -> Rows:
    axes = AXES[what]
    offset = 4 + 4 * axes
    zipped = path.suffix == ".gz"
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            magic, *sizes = struct.unpack(f">{1 + axes}I", stream.read(offset))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(
            f"data {spec}: {str(path)!r} is damaged or cut short ({error}); download it again"
        ) from error
    expected_magic = 0x0800 + axes  # unsigned bytes, then the number of axes
    if magic != expected_magic:
        raise DataError(
            f"data {spec}: {str(path)!r} begins with {magic:#010x}, not {expected_magic:#010x} as "
            f"IDX {what} do; give the files as they were published"
        )
    expected, actual = offset + prod(sizes), path.stat().st_size
    if actual * DEFLATE_RATIO < expected if zipped else actual != expected:
        raise DataError(
            f"data {spec}: the header of {str(path)!r} promises {expected} bytes, but the file "
            f"has {actual}{' compressed' if zipped else ''}; download it again"
        )
    shape = (sizes[0], 1, *sizes[1:]) if what == "images" else tuple(sizes)
    dtype = np.dtype(np.uint8)
    if not zipped:
        return MappedRows(path, offset, shape, dtype)
    opened = partial(gzip.open, path)
    return StreamedRows(opened, offset, shape, dtype, f"data {spec}: {str(path)!r}")
