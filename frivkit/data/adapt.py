"""Adapt preprocessed examples to a model's inputs: shapes and number types."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from frivkit.data.preprocess import DTYPES, Augmentation, Preparation, prepare, stored_layout
from frivkit.data.source import Array, TensorSpec
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, unknown_name

ExampleShape = tuple[int, ...]
OpenShape = tuple[int | None, ...]
ExampleNumbers = range | NDArray[np.int64]
"""The index of each example of a batch."""

EXAMPLE_BYTES = 2**30
"""Largest example that is read; 1 GiB.  A larger one indicates a damaged or hostile file."""


@dataclass(frozen=True, slots=True)
class InputAdapter:
    """Convert one stored column to one model input.

    Attributes:
        column: Name of the column.
        preparation: The preprocessing that the spec describes.
        rounded: The number type of the key ``dtype``, to which values are converted first; or None.
        tensor: The resulting input; all its sizes are known.
    """

    column: str
    preparation: Preparation
    rounded: str | None
    tensor: TensorSpec

    def __call__(
        self, stored: Array, numbers: ExampleNumbers, augment: Augmentation | None = None
    ) -> Array:
        """Convert stored examples, shape (n, *stored), to the input, shape (n, *tensor.shape).

        Args:
            stored: The examples of the column.
            numbers: The index of each example, for messages.
            augment: Augments images instead of cropping them; None crops.

        Raises:
            DataError: a number is not finite, or does not fit the number type of the input.
        """
        batch = self.preparation(stored, augment)
        if self.rounded is not None:
            batch = converted(batch, self.rounded, self.column, numbers)
        batch = converted(batch, self.tensor.dtype, self.column, numbers)
        return batch.reshape(len(stored), *full(self.tensor))


def adapt_column(
    spec: DataSpec, column: str, stored: TensorSpec, wanted: TensorSpec | None
) -> InputAdapter:
    """Return the conversion from a stored column to a model input.

    Args:
        spec: Its shared keys are applied.
        column: Name of the column.
        stored: Number type and shape of one stored example.
        wanted: The model's input; None for the preprocessed column as float32, or as the type of
            the key ``dtype``.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: the column does not fit the input; the message names both shapes or types.
    """
    if stored.dtype not in DTYPES:
        raise DataError(f"{column!r} of data {spec} holds {stored.dtype}; give numbers")
    _check_size(spec, column, stored)
    preparation = prepare(spec, column, full(stored), stored.dtype)
    _check_size(spec, column, TensorSpec(column, preparation.dtype, preparation.shape))
    rounded = spec.options.get("dtype")
    if rounded is not None and rounded not in DTYPES:
        raise unknown_name("dtype", rounded, DTYPES)
    if wanted is None:
        tensor = TensorSpec(column, rounded or "float32", preparation.shape)
        return InputAdapter(column, preparation, rounded, tensor)
    if wanted.dtype not in DTYPES:
        raise DataError(
            f"the model's input {wanted.name!r} takes {wanted.dtype}, which no data source provides"
        )
    shape = adapted(preparation.shape, wanted.shape)
    if shape is None:
        given, required = preparation.shape, str(wanted.shape).replace("None", "any")
        raise DataError(
            f"{column!r} of data {spec} has examples of shape {given}, but the model's input "
            f"{wanted.name!r} takes {required}; {advice(given, wanted.shape)}"
        )
    check_dtype(column, rounded or preparation.dtype, wanted.name, wanted.dtype)
    return InputAdapter(column, preparation, rounded, TensorSpec(wanted.name, wanted.dtype, shape))


def full(tensor: TensorSpec) -> ExampleShape:
    """Return the shape of a tensor whose sizes are all known."""
    return tuple(size for size in tensor.shape if size is not None)


def size_in_bytes(tensor: TensorSpec) -> int:
    """Return the number of bytes of one example."""
    return np.dtype(tensor.dtype).itemsize * prod(full(tensor))


def matches(shape: ExampleShape, wanted: OpenShape) -> bool:
    """Whether ``shape`` has the ``wanted`` sizes; None matches any size."""
    return len(shape) == len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=True)
    )


def adapted(shape: ExampleShape, wanted: OpenShape) -> ExampleShape | None:
    """Return the shape in which an example fits an input, or None if there is none.

    The first match is taken; none changes the order of the numbers:

    1. The shape itself.
    2. The shape with an axis of size 1 added in front or at the end.
    3. The shape with an axis of size 1 removed in front or at the end.
    4. One flat axis, if the input has one axis of that known size.
    5. The input's shape for a flat example, if all sizes of the input are known.

    Example:
        >>> adapted((8, 8), (1, 8, 8)), adapted((1, 8, 8), (64,)), adapted((8, 8, 3), (3, 8, 8))
        ((1, 8, 8), (64,), None)
    """
    candidates: list[ExampleShape] = [shape, (1, *shape), (*shape, 1)]
    if shape[:1] == (1,):
        candidates.append(shape[1:])
    if shape[-1:] == (1,):
        candidates.append(shape[:-1])
    known = tuple(size for size in wanted if size is not None)
    if len(known) == len(wanted) and 1 in (len(shape), len(wanted)) and prod(known) == prod(shape):
        candidates.append(known)
    return next((each for each in candidates if matches(each, wanted)), None)


def advice(shape: ExampleShape, wanted: OpenShape) -> str:
    """Return the key that makes examples of that shape fit, else general advice."""
    if len(shape) == len(wanted) == 3:
        if matches((shape[2], *shape[:2]), wanted):
            return "layout=nchw would fit"
        if matches((*shape[1:], shape[0]), wanted):
            return "layout=nhwc would fit"
        height, width = (stored_layout(shape).index(axis) for axis in "hw")
        resized = [
            want if want is not None and axis in (height, width) else size
            for axis, (size, want) in enumerate(zip(shape, wanted, strict=True))
        ]
        if matches(tuple(resized), wanted):
            return f"size={resized[height]}x{resized[width]} would fit"
    return "give data of that shape, or the true sizes of the model by --input-shape"


def check_dtype(column: str, dtype: str, name: str, wanted: str) -> None:
    """Raise if an input cannot take a number type, whatever the values.

    Raises:
        DataError: the column is of a float type and the input of an integer type.
    """
    if np.dtype(dtype).kind == "f" and np.dtype(wanted).kind != "f":
        raise DataError(
            f"{column!r} holds {dtype} but the model's input {name!r} takes {wanted}; "
            f"give integers, or dtype={wanted} to round"
        )


def converted(batch: Array, dtype: str, column: str, numbers: ExampleNumbers) -> Array:
    """Return a batch in another number type; floats are rounded to the nearest integer.

    Args:
        batch: Shape (n, ...), examples first.
        dtype: Name of the target number type.
        column: Name of the column, for messages.
        numbers: The index of each example, for messages.

    Returns:
        The same shape; the same array if it has that type already.

    Raises:
        DataError: a number is not finite (after conversion to a float type), or is outside the
            range of an integer type; the message names the first such example.
    """
    target = np.dtype(dtype)
    if target.kind == "f":
        with np.errstate(over="ignore"):
            batch = batch.astype(target, copy=False)
        _check(
            np.isfinite(batch),
            batch,
            column,
            numbers,
            "is not finite; correct or remove that example",
        )
        return batch
    if batch.dtype.kind == "f":
        _check(
            np.isfinite(batch),
            batch,
            column,
            numbers,
            "is not finite; correct or remove that example",
        )
        batch = np.rint(batch)
    if not np.can_cast(batch.dtype, target, "safe"):
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(target).min, np.iinfo(target).max)
        # Compared as Python numbers: an int64 and a uint64 array meet as inexact floats.
        if int(batch.min()) < low or int(batch.max()) > high:
            inside = np.vectorize(lambda value: low <= int(value) <= high, otypes=[bool])(batch)
            _check(inside, batch, column, numbers, f"does not fit {dtype}")
    return batch.astype(target, copy=False)


def class_labels(stored: Array, numbers: ExampleNumbers) -> Array:
    """Return labels as int64, shape (n,).

    Raises:
        DataError: a label is negative.
    """
    labels = stored.astype(np.int64)
    _check(labels >= 0, labels, "y", numbers, "is not a class number; number classes from 0")
    return labels


def check_labels(spec: DataSpec, stored: TensorSpec) -> None:
    """Raise if the column ``y`` does not contain class labels.

    Raises:
        DataError: it is not one integer per example; the message suggests a conversion.
    """
    what = "'y' must be one integer class label per example"
    if len(stored.shape) == 1:
        advised = "y.argmax(1) for one-hot labels, y.ravel() for a single column"
        raise DataError(f"{what}, but data {spec} has {stored.shape[0]} numbers; store {advised}")
    if stored.shape or np.dtype(stored.dtype).kind not in "biu":
        raise DataError(
            f"{what}, but data {spec} has {stored.dtype} of shape {stored.shape}; "
            "store y.astype('int64'), or leave y out"
        )


def _check_size(spec: DataSpec, column: str, tensor: TensorSpec) -> None:
    size = size_in_bytes(tensor)
    if not 0 < size <= EXAMPLE_BYTES:
        raise DataError(
            f"{column!r} of data {spec} has examples of shape {full(tensor)}, {size} bytes each; "
            f"give examples of 1 to {EXAMPLE_BYTES} bytes"
        )


def _check(good: Array, batch: Array, column: str, numbers: ExampleNumbers, what: str) -> None:
    if not good.all():
        at = tuple(int(axis[0]) for axis in np.nonzero(~good))
        raise DataError(f"{column!r} of example {numbers[at[0]]} holds {batch[at]}, which {what}")
