"""The options of a target as a table: what each is, its type and its default."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from frivkit.hooks.options import NoOptions


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One option.

    Attributes:
        name: What users write in front of ``=``.
        type: ``int``, ``float``, ``bool``, ``str``, or the texts that it may be.
        default: Its default as a text, None if it must be given.
        meaning: What it is, from the docstring of its class; empty if that does not say.
    """

    name: str
    type: str
    default: str | None
    meaning: str


def option_rows(target: Any) -> tuple[OptionRow, ...]:
    """Return the options of a target, from the dataclass in its attribute ``options``.

    Args:
        target: A metric, an architecture or a trainer; any other object has none.

    Example:
        >>> from types import SimpleNamespace
        >>> @dataclass
        ... class Dice:
        ...     '''Options of dice.
        ...
        ...     Attributes:
        ...         eyes: The number that counts.
        ...     '''
        ...     eyes: int = 6
        >>> option_rows(SimpleNamespace(options=Dice))
        (OptionRow(name='eyes', type='int', default='6', meaning='The number that counts.'),)
    """
    cls = getattr(target, "options", NoOptions)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        return ()
    types, meanings = get_type_hints(cls), dict(_meanings(cls))
    rows = []
    for field in fields(cls):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        rows.append(
            OptionRow(
                field.name,
                _type_name(types[field.name]),
                None if default is MISSING else _written(default),
                meanings.get(field.name, ""),
            )
        )
    return tuple(rows)


def description(target: Any) -> str:
    """Return the first paragraphs of a target's own docstring; empty if it has none."""
    if not (inspect.isfunction(target) or inspect.isclass(target)):
        return ""
    text = inspect.getdoc(target) or ""
    return re.split(r"\n(?:Args|Raises|Returns|Example|Source|Attributes):\n", text)[0].strip()


def _meanings(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the attributes that the docstrings of a class explain, those of its bases first."""
    for each in reversed(cls.__mro__):
        text = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        section = re.split(r"\n(?=\S)", text)[0]
        for entry in re.split(r"\n(?= {4}\w+:)", f"\n{section}"):
            name, colon, meaning = entry.strip().partition(":")
            if colon and name.isidentifier():
                yield name, " ".join(meaning.replace("``", "").split())


def _type_name(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return ", ".join(map(str, get_args(wanted)))
    return getattr(wanted, "__name__", str(wanted))


def _written(value: Any) -> str:
    """Return a value as users write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
