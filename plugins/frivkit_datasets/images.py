"""The sources ``images`` and ``imagenet``: image files, decoded by Pillow."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.data.bare_path import IMAGE_SUFFIXES
from frivkit.data.preprocess import crop_axis, resize_axis
from frivkit.errors import DataError
from frivkit_datasets.rows import existing_folder, sha256

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none starts another program
PIXELS = 2**26  # of one image, before it is resized
MODES = {"rgb": "RGB", "grey": "L"}
OWN_KEYS = ("short", "colours")
SPLITS = {"train": "train", "test": "val"}  # folders of the splits


def images(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "ImageSource":
    """Return the images of a folder, shape (3, height, width), in the order of their paths.

    1. Folders in the folder are classes, numbered from 0 in the order of their names; only files
       directly in them are read.
    2. Without such folders, the files of the folder itself are read, without labels.
    3. The path of a file is one image, without labels.

    Files with other endings than images have are ignored.  Images are uint8 and must have the same
    size, unless ``size=HxW`` or ``short=N`` is given: the former resizes as for every source; the
    latter resizes the shorter side to N and crops the central N x N.  Both result in float32.
    ``colours=grey`` results in shape (1, height, width).

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: there are no images, or one is no regular file, cannot be decoded, or has another
            size than the first.
    """
    spec.check_keys(*OWN_KEYS)
    path = Path(spec.needed_path("a folder of images, or one image")).expanduser()
    if path.is_file():
        return ImageSource(spec, [path], None)
    if path.exists() and not path.is_dir():
        raise DataError(f"data {spec}: {str(path)!r} is no regular file; give a folder or an image")
    folder = existing_folder(spec, "a folder of images")
    classes = _subfolders(spec, folder)
    if classes:
        return ImageSource(spec, *_labelled(spec, folder, classes), len(classes))
    return ImageSource(spec, _files(spec, folder), None)


def imagenet(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "ImageSource":
    """Return the images of a folder with ``train`` and ``val``, each with a folder per class.

    ``split=train`` reads ``train``; ``split=test``, the default, reads ``val``, the 50,000 images
    of the validation set, on which networks are usually compared.  Classes are numbered from 0 in
    the order of the names in either folder.  ``background=yes`` numbers them from 1, for networks
    with 1,001 outputs.  Images are in a fixed random order, so that consecutive images have
    different classes.  Otherwise as :func:`images`.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: as for :func:`images`.

    Source:
        O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015,
        https://image-net.org.  Casper et al. 2021, arXiv:1912.04783, appendix D, test on the
        validation set.
    """
    spec.check_keys("split", "background", *OWN_KEYS)
    split = spec.choice("split", tuple(SPLITS), "test")
    background = spec.choice("background", ("yes", "no"), "no") == "yes"
    folder = existing_folder(spec, "a folder with train and val")
    split_folder = folder / SPLITS[split]
    if not split_folder.is_dir():
        raise DataError(
            f"data {spec}: {str(folder)!r} has no folder {split_folder.name}; add it there"
        )
    both = [folder / name for name in SPLITS.values() if (folder / name).is_dir()]
    classes = sorted({name for each in both for name in _subfolders(spec, each)})
    if not classes:
        raise DataError(
            f"data {spec}: {str(split_folder)!r} has no class folders; put the images "
            "of each class into one"
        )
    files, labels = _labelled(spec, split_folder, classes, int(background))
    # The streams of RandomState never change, those of the newer generators may.
    order = np.random.RandomState(0).permutation(len(files))
    files, labels = [files[at] for at in order], [labels[at] for at in order]
    return ImageSource(spec, files, labels, int(background) + len(classes))


def _labelled(
    spec: DataSpec, folder: Path, classes: Sequence[str], first: int = 0
) -> tuple[list[Path], list[int]]:
    """Return the images of all classes, and the class number of each image."""
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(classes, start=first):
        in_class = _files(spec, folder / name) if (folder / name).is_dir() else []
        files += in_class
        labels += [number] * len(in_class)
    return files, labels


def _listed(spec: DataSpec, folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, in the order of the names."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"data {spec}: {str(folder)!r} cannot be listed ({error.strerror}); check its rights"
        ) from error
    return sorted(visible, key=lambda entry: entry.name)


def _subfolders(spec: DataSpec, folder: Path) -> list[str]:
    return [entry.name for entry in _listed(spec, folder) if _is(entry.is_dir)]


def _files(spec: DataSpec, folder: Path) -> list[Path]:
    """Return the image files in a folder.

    Raises:
        DataError: one is a folder, a pipe, a device, or a link to one.
    """
    files = []
    for entry in _listed(spec, folder):
        path = folder / entry.name
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if not _is(entry.is_file):
                raise DataError(f"data {spec}: {str(path)!r} is no regular file; remove it")
            files.append(path)
    return files


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry of a folder is of a kind; a loop of links is of none."""
    try:
        return kind()
    except OSError:
        return False


class ImageSource:
    """A data source of image files, which are decoded when they are read.

    Args:
        spec: The data spec; its keys ``size``, ``short`` and ``colours`` are applied here.
        files: The images.
        labels: Their class numbers; None for images without labels.
        classes: The number of classes; None for images without labels.
    """

    def __init__(
        self,
        spec: DataSpec,
        files: Sequence[Path],
        labels: Sequence[int] | None,
        classes: int | None = None,
    ) -> None:
        if not files:
            raise DataError(
                f"data {spec}: no images are there; give a folder of files that end in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        self.examples = len(files)
        self.classes = classes
        self._spec = spec
        self._files = tuple(files)
        self._labels = None if labels is None else np.array(labels, np.int64)
        self._short = spec.whole("short", default=0, most=2**14)
        self._size = spec.sizes("size")
        self._mode = MODES[spec.choice("colours", tuple(MODES), "rgb")]
        first = self._decoded(self._files[0])
        self._shape, self._type = first.shape, first.dtype
        self.byte_columns = ("x",)  # resized images are float32, with values of 0 to 255
        self.columns = {"x": TensorSpec("x", first.dtype.name, first.shape)}
        if self._labels is not None:
            self.columns["y"] = TensorSpec("y", "int64", ())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of labels and files, in hexadecimal; every file is read for it."""
        labels = b"" if self._labels is None else self._labels.tobytes()
        return hashlib.sha256(labels + sha256(self._files).encode()).hexdigest()

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column.

        Raises:
            DataError: one cannot be decoded, or has another size than the first.
        """
        x = np.empty((stop - start, *self._shape), self._type)
        for row, path in enumerate(self._files[start:stop]):
            image = self._decoded(path)
            if image.shape != self._shape:
                sizes = " and ".join(f"{h} x {w}" for _, h, w in (image.shape, self._shape))
                raise DataError(
                    f"data {self._spec}: {str(path)!r} and the first image have sizes {sizes}; "
                    "give size=HxW or short=N"
                )
            x[row] = image
        if self._labels is None:
            return {"x": x}
        return {"x": x, "y": self._labels[start:stop].copy()}

    def _decoded(self, path: Path) -> Array:
        """Return one image, shape (channels, height, width)."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow warns of images that it decodes badly
                with Image.open(path, formats=FORMATS) as opened:
                    image = self._pixels(opened)
        except Exception as error:  # a damaged image may raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"data {self._spec}: {str(path)!r} cannot be decoded ({reason}); "
                "replace or remove it"
            ) from error
        if self._short:
            sizes = np.array(image.shape[1:])
            for axis, size in enumerate(np.floor(sizes * self._short / sizes.min() + 0.5), 1):
                image = crop_axis(resize_axis(image, axis, int(size)), axis, self._short)
        elif self._size is not None and len(self._size) <= 2:  # the dataset raises for other counts
            for axis, size in enumerate((self._size[0], self._size[-1]), 1):
                image = resize_axis(image, axis, size)
        return image

    def _pixels(self, opened: Image.Image) -> Array:
        width, height = opened.size
        if not 0 < width * height <= PIXELS:
            raise ValueError(f"{height} x {width} pixels are more than {PIXELS}")
        if opened.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits per channel")
        pixels: Array = np.array(opened.convert(self._mode), np.uint8)
        return np.moveaxis(pixels.reshape(height, width, -1), -1, 0)
