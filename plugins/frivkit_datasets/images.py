"""Folders of image files, decoded by Pillow."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.data.preprocess import crop_axis, resize_axis
from frivkit.errors import DataError, PluginError
from frivkit_datasets.rows import existing_folder, sha256

if TYPE_CHECKING:  # an optional extra
    from PIL import Image

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none that starts another program
PIXELS = 2**26  # of one image, before it is made smaller
MODES = {"rgb": "RGB", "grey": "L"}
OWN = ("short", "colours")
HELD_OUT = {"train": "train", "test": "val"}  # folders of the splits


def images(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "ImageSource":
    """Return the images of a folder, shape (3, height, width), in the order of their paths.

    Folders in the folder are classes, numbered from 0 in the order of their names, and only files
    directly in them are read; without any, the files of the folder itself are read, without labels.
    Other files than images are passed over.

    Images are uint8 and must all have one size, unless ``size=HxW`` or ``short=N`` makes it so:
    the former resizes as for every source; the latter resizes the shorter side to N and keeps the
    N x N in the middle.  Both give float32.  ``colours=grey`` gives shape (1, height, width).

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: there are no images, or one cannot be read, or has another size than the first.
        PluginError: Pillow is not installed.
    """
    spec.check_keys(*OWN)
    folder = existing_folder(spec, "a folder of images")
    classes = _subfolders(spec, folder)
    if classes:
        return ImageSource(spec, *_labelled(spec, folder, classes), len(classes))
    return ImageSource(spec, _files(spec, folder), None)


def imagenet(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "ImageSource":
    """Return the images of a folder that has ``train`` and ``val``, each with a folder a class.

    ``split=train`` reads ``train``, ``split=test``, the default, ``val``: the 50,000 images that
    are usually called the validation set are those on which networks are compared.  Classes are
    numbered from 0 in the order of the names in either folder.  ``background=yes`` counts from 1
    instead, for networks with 1,001 outputs.  Images are in a mixed order, always the same, so that
    neighbours are of many classes.  Otherwise as :func:`images`.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: as for :func:`images`.
        PluginError: Pillow is not installed.

    Source:
        O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015,
        https://image-net.org.  Casper et al. 2021, arXiv:1912.04783, appendix D, test on the
        validation set.
    """
    spec.check_keys("split", "background", *OWN)
    split = spec.choice("split", tuple(HELD_OUT), "test")
    background = spec.choice("background", ("yes", "no"), "no") == "yes"
    folder = existing_folder(spec, "a folder with train and val")
    chosen = folder / HELD_OUT[split]
    if not chosen.is_dir():
        raise DataError(f"data {spec}: {str(folder)!r} has no folder {chosen.name}; put it there")
    both = [folder / name for name in HELD_OUT.values() if (folder / name).is_dir()]
    classes = sorted({name for each in both for name in _subfolders(spec, each)})
    if not classes:
        raise DataError(f"data {spec}: {str(chosen)!r} has no class folders; sort its images so")
    files, labels = _labelled(spec, chosen, classes, int(background))
    # RandomState's streams are frozen for good, those of the newer generators are not.
    order = np.random.RandomState(0).permutation(len(files))
    files, labels = [files[at] for at in order], [labels[at] for at in order]
    return ImageSource(spec, files, labels, int(background) + len(classes))


def _labelled(
    spec: DataSpec, folder: Path, classes: Sequence[str], first: int = 0
) -> tuple[list[Path], list[int]]:
    """Return the images of all classes, and the number of each one's class."""
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(classes, start=first):
        found = _files(spec, folder / name) if (folder / name).is_dir() else []
        files += found
        labels += [number] * len(found)
    return files, labels


def _listed(spec: DataSpec, folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"data {spec}: {str(folder)!r} cannot be listed ({error.strerror}); check its rights"
        ) from error


def _subfolders(spec: DataSpec, folder: Path) -> list[str]:
    return [each.name for each in _listed(spec, folder) if each.is_dir()]


def _files(spec: DataSpec, folder: Path) -> list[Path]:
    return [each for each in _listed(spec, folder) if each.suffix.lower() in SUFFIXES]


class ImageSource:
    """Images that are decoded when they are read.

    Args:
        spec: What was asked for: its ``size``, ``short`` and ``colours`` are applied here.
        files: The images.
        labels: A class number each; None for none.
        classes: How many classes there are.
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
                f"{', '.join(sorted(SUFFIXES))}"
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
        for place, path in enumerate(self._files[start:stop]):
            image = self._decoded(path)
            if image.shape != self._shape:
                sizes = " and ".join(f"{h} x {w}" for _, h, w in (image.shape, self._shape))
                raise DataError(
                    f"data {self._spec}: {str(path)!r} and the first image have sizes {sizes}; "
                    "give size=HxW or short=N"
                )
            x[place] = image
        found = {"x": x}
        if self._labels is not None:
            found["y"] = self._labels[start:stop].copy()
        return found

    def _decoded(self, path: Path) -> Array:
        """Return one image, shape (channels, height, width)."""
        pillow = _pillow(self._spec)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what Pillow warns of, it decodes badly
                with pillow.open(path, formats=FORMATS) as opened:
                    image = self._pixels(opened)
        except Exception as error:  # a damaged image may raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"data {self._spec}: {str(path)!r} cannot be decoded ({reason}); mend or remove it"
            ) from error
        if self._short:
            sides = np.array(image.shape[1:])
            for axis, side in enumerate(np.floor(sides * self._short / sides.min() + 0.5), 1):
                image = crop_axis(resize_axis(image, axis, int(side)), axis, self._short)
        elif self._size is not None and len(self._size) <= 2:  # other counts are refused later
            for axis, side in enumerate((self._size[0], self._size[-1]), 1):
                image = resize_axis(image, axis, side)
        return image

    def _pixels(self, opened: "Image.Image") -> Array:
        width, height = opened.size
        if not 0 < width * height <= PIXELS:
            raise ValueError(f"{height} x {width} pixels are more than {PIXELS}")
        if opened.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits a colour")
        pixels: Array = np.array(opened.convert(self._mode), np.uint8)
        return np.moveaxis(pixels.reshape(height, width, -1), -1, 0)


def _pillow(spec: DataSpec) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise PluginError(
            f"data {spec} needs Pillow, which is not installed; pip install 'frivkit[images]'"
        ) from error
    return Image
