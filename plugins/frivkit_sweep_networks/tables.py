"""Dataclasses from the TOML tables of a recipe, with checks of types and keys."""

from dataclasses import MISSING, fields
from math import isfinite
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from frivkit.errors import UsageError, unknown_name

T = TypeVar("T")
SEQUENCES: dict[Any, type] = {
    tuple[str, ...]: str,
    tuple[int, ...]: int,
    tuple[float, ...]: float,
}


def filled(cls: type[T], values: object, what: str) -> T:
    """Return a dataclass with the values of a table; lists become tuples, option values texts.

    Args:
        cls: A dataclass of ``str``, ``bool``, ``int``, tuples of ``str``, ``int`` or ``float``,
            ``dict[str, str]``, and dicts from ``str`` to these, to ``tuple[str, ...]`` or to
            ``dict[str, Any]``, whose values are not checked.
        values: A table of its values by name, as it stands in the file.
        what: The name of the table, for messages.

    Raises:
        UsageError: it is no table, a key is unknown or missing, or a value of another type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Net:
        ...     name: str
        ...     options: dict[str, str]
        >>> filled(Net, {"name": "a", "options": {"lr": 0.1, "crop": True}}, "a network")
        Net(name='a', options={'lr': '0.1', 'crop': 'yes'})
    """
    types, table = get_type_hints(cls), as_table(values, what)
    for key in table:
        if key not in types:
            raise unknown_name(f"key of {what}", key, types)
    for field in fields(cls):  # type: ignore[arg-type]  # T is a dataclass, which 3.11 has no type for
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in table:
            raise UsageError(f"{what} lacks {field.name!r}; add it")
    return cls(**{key: _value(types[key], value, f"{what}: {key}") for key, value in table.items()})


def _value(wanted: Any, value: Any, what: str) -> Any:
    if wanted == dict[str, str]:
        return {key: text(each, f"{what}.{key}") for key, each in as_table(value, what).items()}
    if wanted == dict[str, tuple[str, ...]]:
        return {
            key: tuple(text(each, f"{what}.{key}") for each in _list(values, f"{what}.{key}"))
            for key, values in as_table(value, what).items()
        }
    if get_origin(wanted) is dict:
        inner = get_args(wanted)[1]
        return {
            key: _value(inner, each, f"{what}.{key}") for key, each in as_table(value, what).items()
        }
    if wanted in SEQUENCES:
        return tuple(_value(SEQUENCES[wanted], each, what) for each in _list(value, what))
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{what} is {value}; write a finite number")
    if wanted is not Any and type(value) is not wanted:
        raise UsageError(f"{what} is {value!r}; write a value of type {wanted.__name__}")
    return value


def text(value: Any, what: str) -> str:
    """Return the value of an option as text.

    Raises:
        UsageError: it is a list or a table.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{what} is {value}; write a finite number")
    if isinstance(value, int | float | str):
        return str(value)
    raise UsageError(f"{what} is {value!r}; write a number, a text, true or false")


def as_table(value: object, what: str) -> dict[str, Any]:
    """Return a value that must be a table.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{what} is {value!r}; write a table such as {{ lr = 0.1 }}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{what} is {value!r}; write a list")
    return value
