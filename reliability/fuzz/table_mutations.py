"""Mutations of tables: recipes in TOML, plans and programs in JSON."""

import copy
import json
from typing import Any

from numpy.random import Generator

from reliability.fuzz.values import integer, number, one_of, text


def mutated_table(table: Any, rng: Generator) -> Any:
    """Return a table with one to three places changed: values, keys, and what is nested where."""
    changed = copy.deepcopy(table)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(changed))
        if not places:
            return integer(rng)
        holder, key = one_of(rng, places)
        _change(holder, key, rng)
    return changed


def _places(value: Any) -> Any:
    """Yield each container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change(holder: Any, key: Any, rng: Generator) -> None:
    old = holder[key]
    way = rng.integers(8)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[text(rng)] = holder.pop(key)
    elif way == 2 and isinstance(old, list) and old:
        old.append(copy.deepcopy(one_of(rng, old)))
    elif way == 3:
        holder[key] = [old]
    elif way == 4:
        holder[key] = {text(rng) or "x": old}
    elif isinstance(old, bool):
        holder[key] = one_of(rng, (not old, integer(rng), str(old)))
    elif isinstance(old, int | float):
        holder[key] = one_of(rng, (integer(rng), number(rng), -old, str(old), old * 1000))
    else:
        holder[key] = one_of(rng, (integer(rng), number(rng), text(rng), [], {}, True))


def as_toml(table: dict[str, Any]) -> str:
    """Return a table as TOML, one line for each key at its top.

    Example:
        >>> print(as_toml({"title": "a", "scale": {"widths": [0.5, 1]}}), end="")
        "title" = "a"
        "scale" = {"widths" = [0.5, 1]}
    """
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: Any) -> str:
    return json.dumps(str(key))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else repr(value)
