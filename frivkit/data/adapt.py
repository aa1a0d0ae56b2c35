"""Fitting prepared examples to a model's input: which shapes and number types agree."""

from dataclasses import dataclass
from math import prod

import numpy as np

from frivkit.data.preprocess import DTYPES, Augmentation, Preparation, prepare, stored_layout
from frivkit.data.source import Array, TensorSpec
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, unknown_name

Shape = tuple[int, ...]
Wanted = tuple[int | None, ...]

EXAMPLE_BYTES = 2**30
"""The largest example that is read; 1 GiB.  More is taken for a damaged or hostile file."""


@dataclass(frozen=True, slots=True)
class InputAdapter:
    """How one stored column becomes one input.

    Attributes:
        column: Name of the column.
        preparation: What the spec asks for.
        rounded: The number type that ``dtype=`` names, through which values go; or None.
        tensor: What comes out; all its sizes are known.
    """

    column: str
    preparation: Preparation
    rounded: str | None
    tensor: TensorSpec

    def __call__(self, stored: Array, first: int, augment: Augmentation | None = None) -> Array:
        """Turn stored examples, shape (n, *stored), into the input, shape (n, *tensor.shape).

        With ``augment``, images are distorted instead of cropped.

        Raises:
            DataError: a number is not finite or cannot be held; ``first`` is the index of the
                first example, for the message.
        """
        batch = self.preparation(stored, augment)
        if self.rounded is not None:
            batch = converted(batch, self.rounded, self.column, first)
        batch = converted(batch, self.tensor.dtype, self.column, first)
        return batch.reshape(len(stored), *full(self.tensor))


def adapt_column(
    spec: DataSpec, column: str, stored: TensorSpec, wanted: TensorSpec | None
) -> InputAdapter:
    """Return how a stored column becomes the input that is wanted.

    Args:
        spec: Its shared keys are applied.
        column: Name of the column.
        stored: Number type and shape of one stored example.
        wanted: The model's input; None to take the column as prepared, as float32 or the type
            that ``dtype=`` names.

    Raises:
        UsageError: a value in the spec is malformed.
        DataError: the column does not fit; the message names both shapes or types.
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
        raise DataError(f"the model's input {wanted.name!r} takes {wanted.dtype}; no data is that")
    shape = adapted(preparation.shape, wanted.shape)
    if shape is None:
        given, asked = preparation.shape, str(wanted.shape).replace("None", "any")
        raise DataError(
            f"{column!r} of data {spec} gives examples of shape {given}, but the model's input "
            f"{wanted.name!r} takes {asked}; {advice(given, wanted.shape)}"
        )
    check_dtype(column, rounded or preparation.dtype, wanted.name, wanted.dtype)
    return InputAdapter(column, preparation, rounded, TensorSpec(wanted.name, wanted.dtype, shape))


def full(tensor: TensorSpec) -> Shape:
    """Return a shape all of whose sizes are known."""
    return tuple(size for size in tensor.shape if size is not None)


def size_in_bytes(tensor: TensorSpec) -> int:
    """Return the bytes of one example."""
    return np.dtype(tensor.dtype).itemsize * prod(full(tensor))


def matches(shape: Shape, wanted: Wanted) -> bool:
    """Whether ``shape`` has the sizes that are ``wanted``, None being any size."""
    return len(shape) == len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=True)
    )


def adapted(shape: Shape, wanted: Wanted) -> Shape | None:
    """Return the shape in which an example fits an input, or None if it does not.

    The first of these that matches is taken; none moves a number:

    1. The shape as it is.
    2. One more axis of 1, in front or at the end.
    3. One axis of 1 fewer, in front or at the end.
    4. All in one axis, whose size the input must name.
    5. A flat example in the input's shape, all of whose sizes the input must name.

    Example:
        >>> adapted((8, 8), (1, 8, 8)), adapted((1, 8, 8), (64,)), adapted((8, 8, 3), (3, 8, 8))
        ((1, 8, 8), (64,), None)
    """
    ways: list[Shape] = [shape, (1, *shape), (*shape, 1)]
    if shape[:1] == (1,):
        ways.append(shape[1:])
    if shape[-1:] == (1,):
        ways.append(shape[:-1])
    known = tuple(size for size in wanted if size is not None)
    if len(known) == len(wanted) and 1 in (len(shape), len(wanted)) and prod(known) == prod(shape):
        ways.append(known)
    return next((way for way in ways if matches(way, wanted)), None)


def advice(shape: Shape, wanted: Wanted) -> str:
    """Return which key would make examples of that shape fit, if one would."""
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
    return "give data of that shape, or the model's true sizes by --input-shape"


def check_dtype(column: str, dtype: str, name: str, wanted: str) -> None:
    """Refuse a number type that an input cannot take whatever the values.

    Raises:
        DataError: fractions would go to an integer input.
    """
    if np.dtype(dtype).kind == "f" and np.dtype(wanted).kind != "f":
        raise DataError(
            f"{column!r} holds {dtype} but the model's input {name!r} takes {wanted}; "
            f"give integers, or dtype={wanted} to round"
        )


def converted(batch: Array, dtype: str, column: str, first: int) -> Array:
    """Return a batch in another number type, whole numbers being rounded to.

    Args:
        batch: Shape (n, ...), examples first.
        dtype: Name of the number type wanted.
        column: Name of the column, for messages.
        first: Index of the batch's first example, for messages.

    Returns:
        The same shape; the same array if it is of that type already.

    Raises:
        DataError: a number is not finite (after conversion, if to a float type), or does not fit
            an integer type; the message names the first example that holds such a one.
    """
    target = np.dtype(dtype)
    if target.kind == "f":
        with np.errstate(over="ignore"):
            batch = batch.astype(target, copy=False)
        _check(np.isfinite(batch), batch, column, first, "is not finite; mend or drop that example")
        return batch
    if batch.dtype.kind == "f":
        _check(np.isfinite(batch), batch, column, first, "is not finite; mend or drop that example")
        batch = np.rint(batch)
    if not np.can_cast(batch.dtype, target, "safe"):
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(target).min, np.iinfo(target).max)
        # Compared as Python numbers: an int64 and a uint64 array meet as inexact floats.
        if int(batch.min()) < low or int(batch.max()) > high:
            inside = np.vectorize(lambda value: low <= int(value) <= high, otypes=[bool])(batch)
            _check(inside, batch, column, first, f"does not fit {dtype}")
    return batch.astype(target, copy=False)


def class_labels(stored: Array, first: int) -> Array:
    """Return labels as int64, shape (n,).

    Raises:
        DataError: one is negative.
    """
    labels = stored.astype(np.int64)
    _check(labels >= 0, labels, "y", first, "is no class; number classes from 0")
    return labels


def check_labels(spec: DataSpec, stored: TensorSpec) -> None:
    """Refuse a column ``y`` that holds no class labels.

    Raises:
        DataError: it is not one integer an example; the message says how to make it so.
    """
    what = "'y' wants one integer class label an example"
    if len(stored.shape) == 1:
        advised = "y.argmax(1) if that is one-hot, y.ravel() if it is one column"
        raise DataError(f"{what}, but data {spec} has {stored.shape[0]} of them; write {advised}")
    if stored.shape or np.dtype(stored.dtype).kind not in "biu":
        raise DataError(
            f"{what}, but data {spec} has {stored.dtype} of shape {stored.shape}; "
            "write y.astype('int64'), or leave y out"
        )


def _check_size(spec: DataSpec, column: str, tensor: TensorSpec) -> None:
    size = size_in_bytes(tensor)
    if not 0 < size <= EXAMPLE_BYTES:
        raise DataError(
            f"{column!r} of data {spec} has examples of shape {full(tensor)}, {size} bytes each; "
            f"give examples of 1 to {EXAMPLE_BYTES} bytes"
        )


def _check(good: Array, batch: Array, column: str, first: int, what: str) -> None:
    if not good.all():
        at = tuple(int(place[0]) for place in np.nonzero(~good))
        raise DataError(f"{column!r} of example {first + at[0]} holds {batch[at]}, which {what}")
