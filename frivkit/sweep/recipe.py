"""Recipes: found by name or path, and handed to the laboratory that can carry them out."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frivkit.errors import UsageError
from frivkit.registry import installed
from frivkit.sweep.work import Asked, Laboratory, Plan

LABORATORY = "networks"
"""The laboratory of a recipe that names none."""


def read_recipe(name: str, asked: Asked) -> tuple[Plan, ...]:
    """Make plans of a recipe, several of one that is made of others.

    Args:
        name: An offer of ``recipes``, or the path of a file that ends in ``.toml``.
        asked: Scale, protocol and data.

    Raises:
        UsageError: there is no such recipe, or it is not as it must be.
    """
    return tuple(_plans(name, asked, ()))


def _plans(name: str, asked: Asked, around: tuple[str, ...]) -> Iterator[Plan]:
    if name in around:
        raise UsageError(f"recipe {name} is made of itself: {' → '.join((*around, name))}")
    try:
        table = tomllib.loads(_text(name))
        parts = table.pop("recipes", None)
        if parts is None:
            laboratory = table.pop("laboratory", LABORATORY)
            plan: Laboratory = installed().load("laboratories", str(laboratory))
            yield plan(table, asked)
            return
        if not (isinstance(parts, list) and parts and all(isinstance(p, str) for p in parts)):
            raise UsageError(f"recipes is {parts!r}; write a list of recipes")
        if left := table.keys() - {"title"}:
            raise UsageError(f"beside recipes there is {', '.join(sorted(left))}; take it out")
    except (UsageError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {name}: {error}") from error
    for part in parts:
        path = Path(name).parent / part if part.endswith(".toml") else part
        yield from _plans(str(path), asked, (*around, name))


def _text(name: str) -> str:
    if not name.endswith(".toml"):
        file: Any = installed().load("recipes", name)
        return str(file.read_text(encoding="utf-8"))
    path = Path(name)
    if not path.is_file():
        known = ", ".join(installed().offers("recipes"))
        raise UsageError(f"there is no file {name}; give a file, or one of {known}")
    return path.read_text(encoding="utf-8")
