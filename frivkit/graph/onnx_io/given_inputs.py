"""Numbers that the user gives for inputs that have no axis for examples (``--input``)."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import UsageError
from frivkit.graph.model import GivenTensor

Numbers = float | Sequence[Any] | NDArray[Any]
_TRUTH = {"true": 1, "false": 0}


def parse_given(text: str) -> tuple[str, list[float]]:
    """Read ``NAME=VALUE[,VALUE...]``.

    Raises:
        UsageError: it is not of that form.

    Example:
        >>> parse_given("mask=1,1,0")
        ('mask', [1, 1, 0])
    """
    name, equals, numbers = text.partition("=")
    try:
        values = [
            _TRUTH[part.strip().lower()] if part.strip().lower() in _TRUTH else _number(part)
            for part in numbers.split(",")
        ]
    except ValueError:
        values = []
    if not (name.strip() and equals and values):
        raise UsageError(
            f"--input {text!r} is not of the form NAME=VALUE, such as sr=16000 or mask=1,1,0"
        )
    return name.strip(), values


def _number(text: str) -> float:
    """Return the number of a text: an int where it is one, so that no digit is lost."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def give_inputs(model: ir.Model, given: Mapping[str, Numbers]) -> dict[str, NDArray[Any]]:
    """Give inputs their numbers, so that they are no inputs of a run.

    Args:
        model: The model; it is changed.
        given: Numbers by the name of an input, in row-major order: one for a scalar.

    Returns:
        The arrays by name, in shape and type of the inputs.

    Raises:
        UsageError: there is no such input, or it takes other numbers or another number of them.
    """
    inputs = {v.name or "": v for v in model.graph.inputs if not v.is_initializer()}
    arrays = {}
    for name, numbers in given.items():
        value = inputs.get(name)
        if value is None:
            raise UsageError(
                f"--input gives {name!r}, which is no input; the inputs are {', '.join(inputs)}"
            )
        array = _array(value, numbers)
        tensor = GivenTensor(array, name=name)
        value.const_value, value.shape = tensor, ir.Shape(array.shape)
        model.graph.register_initializer(value)
        arrays[name] = array
    return arrays


def _array(value: ir.Value, numbers: Numbers) -> NDArray[Any]:
    """Return numbers in shape and type of an input."""
    array = np.asarray(numbers)
    name, kind = value.name, value.dtype
    if value.shape is None or kind is None or array.dtype.kind not in "biuf" or not array.size:
        raise UsageError(f"--input {name!r} takes no numbers of that kind; leave it out")
    sizes = [size if isinstance(size, int) and size > 0 else None for size in value.shape]
    known = prod(size for size in sizes if size is not None)
    if None in sizes and array.size % known == 0 and sizes.count(None) == 1:
        sizes = [array.size // known if size is None else size for size in sizes]
    shape = tuple(size for size in sizes if size is not None)
    if len(shape) != len(sizes) or prod(shape) != array.size:
        wanted = "x".join("?" if size is None else str(size) for size in sizes) or "one number"
        raise UsageError(f"--input gives {array.size} numbers for {name!r}, which takes {wanted}")
    dtype = kind.numpy()
    with np.errstate(all="ignore"):
        typed = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(typed.astype(np.float64), array.astype(np.float64)):
        raise UsageError(
            f"--input gives {array.ravel()[0]:g} for {name!r}, which takes {dtype.name}"
        )
    return typed.reshape(shape)
