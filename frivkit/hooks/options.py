"""Options a user writes as ``key=value``, read into a typed dataclass.

A metric, an architecture or a trainer with settings of its own names them in one frozen dataclass
with defaults.  The type of a field decides how its text is read: ``int``, ``float``, ``bool``,
``str``, or a ``Literal`` of strings.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from frivkit.errors import UsageError, unknown_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a target that has none."""


def split_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` texts as a dict; the value is everything after the first ``=``.

    Raises:
        UsageError: a text has no ``=`` or no key, or a key comes twice.

    Example:
        >>> split_pairs(["epochs=3", "note=a=b"])
        {'epochs': '3', 'note': 'a=b'}
    """
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise UsageError(f"option {pair!r} is not of the form key=value")
        if key in given:
            raise UsageError(f"option {key!r} is given twice; give it once")
        given[key] = value
    return given


def distribute(given: Mapping[str, str], *classes: type) -> tuple[dict[str, str], ...]:
    """Return the options of each dataclass: those of which it has a field.

    An option that is a field of several dataclasses goes to each.

    Args:
        given: Options by name.
        classes: The dataclasses.

    Returns:
        One dict for each class, in the same order.

    Raises:
        UsageError: an option is a field of no class; the message holds the nearest names.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Net:
        ...     depth: int = 1
        >>> @dataclass
        ... class Recipe:
        ...     epochs: int = 20
        >>> distribute({"epochs": "3"}, Net, Recipe)
        ({}, {'epochs': '3'})
    """
    names = [{field.name for field in fields(cls)} for cls in classes]
    for key in given:
        if not any(key in known for known in names):
            raise unknown_name("option", key, set().union(*names))
    return tuple({key: given[key] for key in given if key in known} for known in names)


def parse_options(cls: type[T], given: Mapping[str, str]) -> T:
    """Return an instance of the dataclass ``cls`` with its fields read from text.

    Args:
        cls: A dataclass whose fields are ``int``, ``float``, ``bool``, ``str`` or a ``Literal``
            of strings.  Its ``__post_init__`` may raise :class:`UsageError`.
        given: Option texts by field name; all other fields keep their default.

    Raises:
        UsageError: a name is not a field, a text is not of its field's type, or a field without
            default is not given.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Recipe:
        ...     epochs: int = 20
        ...     lr: float = 0.1
        >>> parse_options(Recipe, {"lr": "1e-2"})
        Recipe(epochs=20, lr=0.01)
    """
    (mine,) = distribute(given, cls)
    required = {
        field.name
        for field in fields(cls)  # type: ignore[arg-type]  # T is a dataclass, which 3.11 cannot say
        if field.default is MISSING and field.default_factory is MISSING
    }
    for name in sorted(required - set(mine)):
        raise UsageError(f"option {name!r} has no default; give {name}=VALUE")
    types = get_type_hints(cls)
    return cls(**{name: _read(name, types[name], text) for name, text in mine.items()})


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]


_READERS: dict[type, tuple[Callable[[str], object], str]] = {
    int: (int, "a whole number"),
    float: (_finite, "a finite number"),
    bool: (_boolean, "true or false"),
    str: (str, "text"),
}


def _read(name: str, wanted: Any, text: str) -> object:
    if get_origin(wanted) is Literal:
        if text not in get_args(wanted):
            raise UsageError(f"option {name}={text}: write one of {', '.join(get_args(wanted))}")
        return text
    if wanted not in _READERS:
        raise TypeError(f"field {name!r} has type {wanted!r}, which no option text can be read as")
    read, kind = _READERS[wanted]
    try:
        return read(text)
    except (ValueError, KeyError):
        raise UsageError(f"option {name}={text}: write {kind}") from None
