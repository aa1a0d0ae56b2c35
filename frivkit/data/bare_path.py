"""Bare paths: the data source for a file or folder that is given without one."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from frivkit.data.spec import DataSpec, split_options
from frivkit.errors import DataError
from frivkit.hooks.registry import Registry

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings of image files, in lower case."""

SOURCES = {".h5": "hdf5", ".hdf5": "hdf5", ".npy": "npy", ".npz": "npz"} | dict.fromkeys(
    sorted(IMAGE_SUFFIXES), "images"
)
"""The data source for a file, by its ending in lower case."""

SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test"})
"""Names of folders that separate training from test images rather than classes."""

CIFAR = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
IDX = re.compile(r"(train|t10k)-(images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?")
CIFAR_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")

_SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(:.*)?", re.ASCII | re.DOTALL)


def read_spec(data: str | Path | DataSpec, registry: Registry) -> DataSpec:
    """Return the spec of a text or a path.

    1. A text that begins with the name of a data source is a spec, also if there is a file or
       folder of that name: ``./digits`` is the folder, ``digits`` the source.
    2. Else an existing file or folder is read by the source for its ending or content.  Keys may
       follow it, as in ``my_images/?scale=1/255``.  A :class:`~pathlib.Path` is never a spec and
       has no keys.
    3. Any other text is parsed as a spec, whose source is then reported as unknown.

    Args:
        data: ``NAME[:PATH][?key=value&...]``, ``PATH[?key=value&...]``, a path, or a parsed spec,
            which is returned.
        registry: Provides the names of the sources.

    Raises:
        UsageError: the text is malformed.
        DataError: there is no such file or folder, or no one source is right for it; the message
            names the spec to give instead.
    """
    if isinstance(data, DataSpec):
        return data
    options: dict[str, str] = {}
    if isinstance(data, Path):
        text = str(data)
    else:
        _check_question_mark(data, registry)
        text, options = split_options(data)
        if _names_source(text, registry):
            return DataSpec.parse(data)
    path = _expanded(text)
    if path is None or not path.exists():
        if isinstance(data, str) and not _looks_like_path(text):
            return DataSpec.parse(data)
        raise DataError(
            f"data {text}: there is no such file or folder; give one that exists, or "
            "NAME[:PATH] with the name of a data source (see frivkit plugins)"
        )
    name = _folder_source(text, path) if path.is_dir() else _file_source(text, path)
    return DataSpec(name, text, options, bare_path=text)


def _check_question_mark(data: str, registry: Registry) -> None:
    """Raise if a text is an existing path with a ``?`` in its name, where keys would begin."""
    path = None if _names_source(data.partition("?")[0], registry) else _expanded(data)
    if "?" in data and path is not None and path.exists():
        raise DataError(f"data {data}: keys follow the last ?; write {data}? to name the path")


def _names_source(text: str, registry: Registry) -> bool:
    name, colon, _ = text.partition(":")
    offers = {offer.rpartition(":")[2] for offer in registry.offers("data_sources")}
    return name in offers or (bool(colon) and name in {plugin.name for plugin in registry.plugins})


def _expanded(text: str) -> Path | None:
    """Return the path with ``~`` replaced by the home folder; None for a text that is no path."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return path if text else None


def _looks_like_path(text: str) -> bool:
    if _SOURCE_NAME.fullmatch(text):
        return False
    return text[:1] in (".", "~") or any(mark in text for mark in ("/", "\\", "."))


def _file_source(text: str, path: Path) -> str:
    if not path.is_file():
        raise DataError(f"data {text}: it is neither a regular file nor a folder; give one of them")
    for name, pattern in (("cifar10", CIFAR), ("idx", IDX)):
        if pattern.fullmatch(path.name):
            raise DataError(
                f"data {text}: it is one of several files of a data set; give "
                f"{name}:{Path(text).parent}"
            )
    try:
        return SOURCES[path.suffix.lower()]
    except KeyError:
        raise DataError(
            f"data {text}: no data source is known for files that end in {path.suffix or path.name}"
            f"; give a file that ends in {', '.join(SOURCES)}, or write the arrays x and y to an "
            ".npz file by numpy.savez"
        ) from None


def _folder_source(text: str, folder: Path) -> str:
    names = _listed(text, folder)
    other = _data_set(folder, names)
    if other:
        raise DataError(f"data {text}: it holds {other[0]}; give {other[1]}:{text}")
    images = [name for name in names if _is_image(name)]
    folders = [name for name in names if (folder / name).is_dir()]
    with_images = [name for name in folders if any(map(_is_image, _names(text, folder / name)))]
    if images and folders:
        raise DataError(
            f"data {text}: it holds images beside folders ({_some(folders)}); give "
            f"images:{text} to read the folders as classes, or move the images or the folders away"
        )
    if with_images and all(name.lower() in SPLIT_FOLDERS for name in folders):
        raise DataError(
            f"data {text}: its folders {_some(folders)} look like splits, not classes; give one of "
            f"them, such as {Path(text) / with_images[0]}, or images:{text} to read them as classes"
        )
    if images or with_images:
        return "images"
    raise DataError(f"data {text}: {_nothing_found(text, folder, names, folders)}")


def _data_set(folder: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """Return the contents of a folder in words and the source for them; None if it is no such."""
    if any(CIFAR.fullmatch(name) for name in names):
        return "CIFAR-10 files", "cifar10"
    if any(name in CIFAR_FOLDERS and (folder / name).is_dir() for name in names):
        return "a folder of CIFAR-10 files", "cifar10"
    if any(IDX.fullmatch(name) for name in names):
        return "IDX files", "idx"
    return None


def _nothing_found(text: str, folder: Path, names: Sequence[str], folders: Sequence[str]) -> str:
    if not names:
        return "the folder is empty; give a folder of images"
    arrays = [name for name in names if Path(name).suffix.lower() in SOURCES]
    if arrays:
        return f"it is a folder; give a file in it, such as {Path(text) / arrays[0]}"
    for name in folders:
        classes = [each for each in _names(text, folder / name) if (folder / name / each).is_dir()]
        if any(_is_image(file) for each in classes for file in _names(text, folder / name / each)):
            if {"train", "val"} <= set(folders):
                return f"its images are two folders deep; give imagenet:{text}"
            return f"its images are two folders deep; give {Path(text) / name}"
    return f"it holds no image files; give a folder of files that end in {', '.join(_endings())}"


def _endings() -> list[str]:
    return sorted(IMAGE_SUFFIXES)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122  # of many names


def _listed(text: str, folder: Path) -> list[str]:
    return sorted(_names(text, folder))


def _names(text: str, folder: Path) -> Iterator[str]:
    """Return the names in a folder that are not hidden."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"data {text}: {str(folder)!r} cannot be listed ({error.strerror}); check its rights"
        ) from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
