"""Folders of CIFAR-10, in the Python or the binary distribution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.errors import DataError, UsageError
from frivkit_datasets.parts import ConcatenatedRows, InMemoryRows
from frivkit_datasets.plainpickle import bytes_of, load_plain, whole_numbers
from frivkit_datasets.rows import FileSource, MappedRows, Rows, existing_folder

IMAGE = (3, 32, 32)
PIXELS = 3 * 32 * 32
CLASSES = 10
LARGEST = 2**28  # bytes of a file; the published files have 31 million
VALIDATION = 5000  # unless validation= says otherwise
SPLITS = ("train", "validation", "test")
FOLDERS = ("", "cifar-10-batches-py", "cifar-10-batches-bin")
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))


def cifar10(spec: DataSpec, inputs: Sequence[TensorSpec]) -> FileSource:
    """Return the images of CIFAR-10, shape (3, 32, 32), uint8, with labels 0 to 9.

    ``split`` is ``train``, ``validation`` or ``test`` (the default).  The last ``validation``
    (default 5,000) of the 50,000 training images are the validation split and in no other split;
    ``validation=0`` makes all of them training images.  The path is the folder of the files or its
    parent.  Pickles are read without executing any code in them.

    Raises:
        UsageError: a key is wrong, or ``validation`` leaves the split empty.
        DataError: a file is missing, damaged or of another format.

    Source:
        A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
        https://www.cs.toronto.edu/~kriz/cifar.html.  Casper et al. 2021, arXiv:1912.04783,
        appendix D, validate on 5,000 images.  Where we differ: the code published with that paper
        stores most training images several times, including validation images.
    """
    spec.check_keys("split", "validation")
    split = spec.choice("split", SPLITS, "test")
    held_out = spec.whole("validation", default=VALIDATION)
    files = _files(spec, existing_folder(spec, "a folder of CIFAR-10 files"), split)
    images, labels = zip(*(_read(spec, path) for path in files), strict=True)
    count = sum(rows.shape[0] for rows in images)
    first, end = 0, count
    if split != "test":
        if held_out >= count or (split == "validation" and held_out == 0):
            raise UsageError(
                f"data {spec}: validation={held_out} of {count} training images leaves none for "
                f"split={split}; give a number from 1 to {count - 1}"
            )
        first, end = (0, count - held_out) if split == "train" else (count - held_out, count)
    columns: dict[str, Rows] = {
        "x": ConcatenatedRows(images, first, end),
        "y": InMemoryRows(np.concatenate(labels)[first:end]),
    }
    return FileSource(spec, columns, files, CLASSES)


def _files(spec: DataSpec, folder: Path, split: str) -> list[Path]:
    names = ["test_batch"] if split == "test" else list(TRAINING)
    for inner in FOLDERS:
        for ending in ("", ".bin"):
            files = [folder / inner / f"{name}{ending}" for name in names]
            if all(path.is_file() for path in files):
                return files
    raise DataError(
        f"data {spec}: {str(folder)!r} lacks {names[0]}{' to 5' if len(names) > 1 else ''}, plain "
        "or .bin; unpack cifar-10-python.tar.gz or cifar-10-binary.tar.gz there"
    )


def _read(spec: DataSpec, path: Path) -> tuple[Rows, Array]:
    """Return images and labels of one file."""
    try:
        size = path.stat().st_size
        if not 0 < size <= LARGEST:
            raise ValueError(f"it has {size} bytes")
        images, labels = _binary(path, size) if path.suffix else _pickled(path)
        if images.shape[0] != len(labels) or not len(labels):
            raise ValueError(f"it has {images.shape[0]} images and {len(labels)} labels")
        if labels.max() >= CLASSES:
            raise ValueError(f"it has label {labels.max()}")
    except (ValueError, OSError) as error:
        raise DataError(
            f"data {spec}: {str(path)!r} is no CIFAR-10 file, or damaged ({error}); unpack it again"
        ) from error
    return images, labels


def _binary(path: Path, size: int) -> tuple[Rows, Array]:
    if size % (1 + PIXELS):
        raise ValueError(f"its {size} bytes are not a multiple of {1 + PIXELS}")
    records = np.memmap(path, np.uint8, "r", shape=(size // (1 + PIXELS), 1 + PIXELS))
    return _LabelledImages(path, len(records)), np.array(records[:, 0])


def _pickled(path: Path) -> tuple[Rows, Array]:
    content = path.read_bytes()
    batch = load_plain(content)
    if not isinstance(batch, dict):
        raise ValueError(f"it holds {type(batch).__name__}, not dict")
    # Python 2 stored the keys as text, which is read as bytes; Python 3 stores them as str.
    fields = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
    for key in ("data", "labels"):
        if key not in fields:
            raise ValueError(f"it has no {key}")
    pixels = bytes_of(fields["data"], PIXELS)
    shape = (len(pixels) // PIXELS, *IMAGE)
    at = content.find(pixels)
    rows: Rows = MappedRows(path, at, shape, np.dtype(np.uint8))
    if at < 0:  # an old pickle protocol of Python 3 stores bytes as text
        rows = InMemoryRows(np.frombuffer(pixels, np.uint8).reshape(shape))
    return rows, whole_numbers(fields["labels"])


class _LabelledImages:
    """The images of a binary file, each preceded by its label of one byte."""

    def __init__(self, path: Path, count: int) -> None:
        self.shape = (count, *IMAGE)
        self.dtype = np.dtype(np.uint8)
        self._rows = MappedRows(path, 0, (count, 1 + PIXELS), self.dtype)

    def read(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop`` - 1 as an array of their own."""
        return self._rows.read(start, stop)[:, 1:].reshape(-1, *IMAGE)

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Return the rows of increasing indices as an array of their own."""
        return self._rows.take(indices)[:, 1:].reshape(-1, *IMAGE)
