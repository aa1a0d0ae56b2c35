"""What the caller of frivkit calls an object: the variable that holds it, or an entry of one."""

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

MOST = 100
"""Entries of a list or a dict that are looked at."""


def variable_of(value: object) -> str | None:
    """Return the name of a variable outside of frivkit that holds an object, None if none does.

    Variables of the function that called frivkit come first, then those of its module, and at each
    the entries of lists and dicts come last.

    Args:
        value: The object, found by identity.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    for names in () if frame is None else (frame.f_locals, frame.f_globals):
        for name, held in _named(names):
            if held is value:
                return name
    return None


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "frivkit"


def _named(names: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield variables with their names, then the entries of those that hold several."""
    public = [
        (name, held)
        for name, held in names.items()
        if name.isidentifier() and not name.startswith("_")
    ]
    yield from public
    for name, held in public:
        if type(held) in (list, tuple) and len(held) <= MOST:
            yield from ((f"{name}[{i}]", entry) for i, entry in enumerate(held))
        elif type(held) is dict and len(held) <= MOST:
            yield from ((f"{name}[{key!r}]", entry) for key, entry in held.items())
