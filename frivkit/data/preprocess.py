"""The preprocessing keys of every data source: from resizing to the order of channels.

A :class:`Preparation` turns batches of stored examples into model inputs, one step after the
other.  Steps work on whole batches, shape (n, *example).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from frivkit.data.source import Array
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, UsageError

Step = Callable[[Array], Array]

Augmentation = Callable[[Array, str, tuple[int, int]], Array]
"""Augment images: called with a batch, shape (n, *example), the letters of an example's axes (see
:func:`stored_layout`) and the height and width of the result; does not modify the batch."""

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
"""The names of the supported number types of data and model inputs."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The preprocessing of one column.

    Attributes:
        shape: Shape of one example afterwards.
        dtype: Name of the number type afterwards.
        steps: Functions from a batch to a batch, in order; they may return their argument but
            never modify it.
        crop_steps: The range of steps that crop: from the first number to one before the second.
        layout: Letters of the axes of an example before cropping; "" for no image.
        cropped: Height and width after cropping.
    """

    shape: tuple[int, ...]
    dtype: str
    steps: tuple[Step, ...] = ()
    crop_steps: tuple[int, int] = (0, 0)
    layout: str = ""
    cropped: tuple[int, int] = (0, 0)

    def __call__(self, batch: Array, augment: Augmentation | None = None) -> Array:
        """Prepare a batch, shape (n, *stored) to (n, *shape).

        With ``augment``, images are augmented instead of cropped; the later steps are applied to
        the augmented images.
        """
        before, after = (
            self.crop_steps if augment is not None else (len(self.steps), len(self.steps))
        )
        with np.errstate(all="ignore"):  # numbers that are not finite are reported later
            for step in self.steps[:before]:
                batch = step(batch)
            if augment is not None:
                batch = augment(batch, self.layout, self.cropped)
            for step in self.steps[after:]:
                batch = step(batch)
        return batch


def stored_layout(shape: tuple[int, ...]) -> str:
    """Return the layout of an example of that shape as letters for its axes; "" for no image.

    1. Two axes are height and width.
    2. Three axes are channels last if only the last of the outer two holds 1, 3 or 4.
    3. Any other three axes are channels first.
    4. Any other number of axes is no image.

    Example:
        >>> stored_layout((28, 28)), stored_layout((32, 32, 3)), stored_layout((64, 8, 8))
        ('hw', 'hwc', 'chw')
    """
    if len(shape) == 3:
        colours = (1, 3, 4)
        return "hwc" if shape[2] in colours and shape[0] not in colours else "chw"
    return "hw" if len(shape) == 2 else ""


def prepare(spec: DataSpec, column: str, shape: tuple[int, ...], dtype: str) -> Preparation:
    """Return the preparation that the shared keys of ``spec`` describe.

    The image is resized (``size``), cropped, transformed by ``(x * scale - mean) / std``,
    standardised by image, and resized once more (``resize``).  Mean and std are in the stored order
    of channels; reordering comes after.  Arithmetic is float32, or float64 for stored types that
    float32 cannot represent.

    Args:
        spec: Its shared keys are used, all others ignored.
        column: Name of the column, for messages.
        shape: Shape of one stored example.
        dtype: Name of the stored number type.

    Raises:
        UsageError: a value is malformed.
        DataError: a key does not apply to examples of that shape.
    """
    plan = _Plan(spec, column, shape, dtype, stored_layout(shape))
    plan.resize("size")
    before = len(plan.steps)
    plan.crop()
    crop_steps, layout, cropped = (before, len(plan.steps)), plan.layout, plan.height_and_width()
    plan.arithmetic()
    plan.standardise()
    plan.resize("resize")
    plan.reorder_channels()
    plan.move_channels()
    return Preparation(plan.shape, plan.dtype, tuple(plan.steps), crop_steps, layout, cropped)


def resize_axis(batch: Array, axis: int, size: int) -> Array:
    """Return ``batch`` with one axis resized to ``size`` positions by linear interpolation.

    Pixel centres are at half-integers, edges are repeated, and there is no smoothing before
    shrinking; resizing height, then width, is bilinear interpolation as torch's ``interpolate``
    does it with ``align_corners=False`` and ``antialias=False``.

    Args:
        batch: Any number type, any shape.
        axis: The axis to resize.
        size: Its new length, at least 1.

    Returns:
        float32, or float64 if float32 cannot represent the number type of ``batch``.

    Example:
        >>> resize_axis(np.array([0.0, 1.0]), axis=0, size=4)
        array([0.  , 0.25, 0.75, 1.  ])
    """
    batch = batch.astype(np.result_type(batch, np.float32), copy=False)
    length = batch.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    low = position.astype(np.intp)
    weight = (position - low).astype(batch.dtype)
    weight = weight.reshape([-1 if at == axis else 1 for at in range(batch.ndim)])
    below = np.take(batch, low, axis)
    above = np.take(batch, np.minimum(low + 1, length - 1), axis)
    resized: Array = below + (above - below) * weight
    return resized


def crop_axis(batch: Array, axis: int, size: int) -> Array:
    """Return the central ``size`` positions of one axis; of two centres, the one nearer the start.

    Example:
        >>> crop_axis(np.arange(5), axis=0, size=2)
        array([1, 2])
    """
    first = (batch.shape[axis] - size) // 2
    return batch[(slice(None),) * axis + (slice(first, first + size),)]


def standardised(batch: Array) -> Array:
    """Return each example minus its mean, divided by its standard deviation.

    The deviation is at least 1 / sqrt(number of values of the example), so that a constant example
    becomes zeros.

    Args:
        batch: Shape (n, *example), any number type.

    Returns:
        The same shape; float32, or float64 if float32 cannot represent the numbers of ``batch``.

    Source:
        ``tf.image.per_image_standardization``, which the code published with Casper et al. 2021,
        arXiv:1912.04783, applies to CIFAR-10.

    Example:
        >>> standardised(np.array([[1.0, 3.0], [5.0, 5.0]]))
        array([[-1.,  1.],
               [ 0.,  0.]])
    """
    # Double precision in C order, row by row, so that no example depends on its neighbours.
    rows = np.ascontiguousarray(batch.reshape(len(batch), -1), np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((rows * rows).mean(axis=1, keepdims=True))
    rows /= np.maximum(spread, rows.shape[1] ** -0.5)
    result: Array = rows.reshape(batch.shape).astype(_working(batch.dtype.name))
    return result


@dataclass(slots=True)
class _Plan:
    """A preparation under construction: each method adds the steps of its keys."""

    spec: DataSpec
    column: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    steps: list[Step] = field(default_factory=list)

    def resize(self, key: str) -> None:
        for axis, length in self._lengths(key):
            self.steps.append(partial(resize_axis, axis=axis + 1, size=length))
            self._set(axis, length)
            self.dtype = _working(self.dtype)

    def crop(self) -> None:
        for axis, length in self._lengths("crop"):
            if length > self.shape[axis]:
                raise self._misfit("crop", "images at least as large as the crop")
            self.steps.append(partial(crop_axis, axis=axis + 1, size=length))
            self._set(axis, length)

    def height_and_width(self) -> tuple[int, int]:
        """Return height and width; zeros for no image."""
        if not self.layout:
            return (0, 0)
        return (self.shape[self.layout.index("h")], self.shape[self.layout.index("w")])

    def standardise(self) -> None:
        if "standardise" in self.spec.options:
            self.spec.choice("standardise", ("image",), "image")
            self._need_image("standardise")
            self.steps.append(standardised)
            self.dtype = _working(self.dtype)

    def arithmetic(self) -> None:
        operations = {"scale": np.multiply, "mean": np.subtract, "std": np.divide}
        for key, operation in operations.items():
            numbers = self.spec.numbers(key)
            if numbers is None:
                continue
            if key == "scale" and (len(numbers) > 1 or numbers[0] == 0):
                raise UsageError(
                    f"data source {self.spec.name}: scale takes one number other than 0"
                )
            if key == "std" and min(numbers) <= 0:
                raise UsageError(f"data source {self.spec.name}: std takes numbers above 0")
            self.dtype = _working(self.dtype)
            with np.errstate(all="ignore"):  # an overflow is reported later, by example
                operand = self._operand(key, numbers).astype(self.dtype)
            self.steps.append(partial(_apply, operation=operation, operand=operand))

    def reorder_channels(self) -> None:
        if "channels" in self.spec.options:
            order = self.spec.choice("channels", ("rgb", "bgr"), "rgb")
            axis = self.layout.find("c")
            if axis < 0 or self.shape[axis] != 3:
                raise self._misfit("channels", "images of 3 channels")
            if order == "bgr":
                self.steps.append(partial(np.flip, axis=axis + 1))

    def move_channels(self) -> None:
        if "layout" not in self.spec.options:
            return
        wanted = self.spec.choice("layout", ("nchw", "nhwc"), "nchw")[1:]
        self._need_image("layout")
        to = wanted.index("c")
        if self.layout == "hw":
            self.steps.append(partial(np.expand_dims, axis=to + 1))
            self.shape = (*self.shape[:to], 1, *self.shape[to:])
        elif self.layout != wanted:
            source = self.layout.index("c")
            self.steps.append(partial(np.moveaxis, source=source + 1, destination=to + 1))
            sizes = dict(zip(self.layout, self.shape, strict=True))
            self.shape = tuple(sizes[axis] for axis in wanted)

    def _lengths(self, key: str) -> list[tuple[int, int]]:
        """Return (axis, length) of height and width; nothing without the key."""
        sizes = self.spec.sizes(key)
        if sizes is None:
            return []
        if len(sizes) > 2:
            raise UsageError(
                f"data source {self.spec.name}: {key} takes HEIGHTxWIDTH or one number"
            )
        self._need_image(key)
        return [(self.layout.index("h"), sizes[0]), (self.layout.index("w"), sizes[-1])]

    def _operand(self, key: str, numbers: tuple[float, ...]) -> Array:
        """Return the numbers, one or one per channel, in a shape that broadcasts over a batch."""
        if len(numbers) == 1:
            return np.array(numbers[0])
        channel = 0 if len(self.shape) == 1 else self.layout.find("c")
        if channel < 0 or self.shape[channel] != len(numbers):
            raise self._misfit(key, f"{len(numbers)} channels, one for each number")
        return np.array(numbers).reshape(
            [-1 if at == channel else 1 for at in range(len(self.shape))]
        )

    def _set(self, axis: int, length: int) -> None:
        self.shape = (*self.shape[:axis], length, *self.shape[axis + 1 :])

    def _need_image(self, key: str) -> None:
        if not self.layout:
            raise self._misfit(key, "images, which have 2 or 3 axes")

    def _misfit(self, key: str, wanted: str) -> DataError:
        return DataError(
            f"data source {self.spec.name}: {key}={self.spec.options[key]} wants {wanted}, but "
            f"{self.column!r} has examples of shape {self.shape}; remove {key} or give other data"
        )


def _working(dtype: str) -> str:
    return np.result_type(np.dtype(dtype), np.float32).name


def _apply(batch: Array, operation: Callable[..., Array], operand: Array) -> Array:
    return operation(batch, operand, dtype=operand.dtype)
