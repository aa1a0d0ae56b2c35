"""Recipes: read by name or path, and planned by their planner."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from frivkit.errors import UsageError, nearest
from frivkit.experiments.jobs import ExperimentPlanner, SweepPlan, SweepRequest
from frivkit.hooks.registry import installed

DEFAULT_PLANNER = "networks"
"""The planner of a recipe without the key ``planner``."""


def read_recipe(name: str, request: SweepRequest) -> tuple[SweepPlan, ...]:
    """Return the plans of a recipe, one, or one for each recipe that it lists.

    Args:
        name: An offer of ``recipes``, or the path of a file that ends in ``.toml``.
        request: Scale, protocol and data.

    Raises:
        UsageError: there is no such recipe, or it is not valid.
    """
    return tuple(_plans(name, request, ()))


def _plans(name: str, request: SweepRequest, around: tuple[str, ...]) -> Iterator[SweepPlan]:
    if name in around:
        raise UsageError(f"recipe {name} is made of itself: {' → '.join((*around, name))}")
    text = _text(name)
    try:
        table = _table(text)
        if "recipes" in table:
            for part in _parts(table):
                inner = str(Path(name).parent / part) if part.endswith(".toml") else part
                yield from _plans(inner, replace(request, part=True), (*around, name))
        else:
            # "laboratory" is what the key was called before version 0.2.
            planner = str(table.pop("planner", table.pop("laboratory", DEFAULT_PLANNER)))
            plan: ExperimentPlanner = installed().load("planners", planner)
            yield plan(table, request)
    except UsageError as error:
        raise UsageError(f"recipe {name}: {error}") from error


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError("its tables or lists are nested too deeply; write it flat") from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise UsageError(str(error)) from error


def _parts(table: dict[str, Any]) -> list[str]:
    parts = table["recipes"]
    if not (isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts)):
        raise UsageError(f"recipes is {parts!r}; write a list of recipes")
    if unknown := table.keys() - {"title", "recipes"}:
        raise UsageError(f"beside recipes there is {', '.join(sorted(unknown))}; take it out")
    return parts


def _text(name: str) -> str:
    if not name.endswith(".toml"):
        file: Any = installed().load("recipes", name)
        return str(file.read_text(encoding="utf-8"))
    path = Path(name)
    if not path.is_file():
        known = installed().offers("recipes")
        near = nearest(name.removesuffix(".toml"), known)
        raise UsageError(
            f"there is no file {name};{near} give a file, or one of {', '.join(known)}"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read as text: {error}; give a recipe") from error
