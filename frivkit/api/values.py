"""Checks of single values that are given to functions of the Python API."""

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from frivkit.errors import UsageError


def whole(name: str, value: Any, least: int | None) -> int:
    """Return a whole number, also one of numpy, as an int.

    Args:
        name: The argument, for the message.
        value: Its value.
        least: The least number; None takes any.

    Raises:
        UsageError: it is another number, or none.

    Example:
        >>> whole("seed", 3, 0)
        3
    """
    wanted = "a whole number" if least is None else f"a whole number of at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{name} is {value!r}; give {wanted}") from None
    if isinstance(value, bool) or (least is not None and number < least):
        raise UsageError(f"{name} is {value!r}; give {wanted}")
    return number


def above_zero(name: str, value: Any, most: float = math.inf) -> float:
    """Return a number above 0, also one of numpy, as a float.

    Args:
        name: The argument, for the message.
        value: Its value.
        most: The largest number.

    Raises:
        UsageError: it is another number, or none.

    Example:
        >>> above_zero("macs", 0.5, most=1)
        0.5
    """
    wanted = f"a number above 0 and at most {most:g}" if most < math.inf else "a number above 0"
    is_number = hasattr(value, "__float__") and not isinstance(value, bool)
    number = float(value) if is_number and getattr(value, "ndim", 0) == 0 else math.nan
    if not (0 < number <= most and math.isfinite(number)):
        raise UsageError(f"{name} is {value!r}; give {wanted}")
    return number


def text(name: str, value: Any) -> str:
    """Return a text.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}; give a text")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Raises:
        UsageError: it is something else.

    Example:
        >>> texts("layer", "0"), texts("layer", ["0", "2"])
        (('0',), ('0', '2'))
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise UsageError(f"{name} is {value!r}; give a text or several")
    return tuple(text(name, each) for each in value)


def options(value: Any) -> dict[str, str]:
    """Return options by name, as the command line would give them.

    Raises:
        UsageError: it is no mapping.

    Example:
        >>> options({"epochs": 3, "augment": True})
        {'epochs': '3', 'augment': 'true'}
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"option is {value!r}; give a dict from names to values")
    return {
        text("the name of an option", key): str(each).lower()
        if isinstance(each, bool)
        else str(each)
        for key, each in value.items()
    }
