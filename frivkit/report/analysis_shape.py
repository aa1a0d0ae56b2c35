"""Whether a document that was read from a file holds what is compared of an analysis."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # false for NaN, too


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_or_null(_is_number), value))


_PARTS: Mapping[str, Mapping[str, Check]] = {
    "model": {
        "path": _is_text,
        "sha256": _is_text,
        "parameters": _is_count,
        "macs": _or_null(_is_count),
    },
    "data": {
        "spec": _is_text,
        "sha256": _is_text,
        "examples": _is_count,
        "accuracy": _or_null(_is_number),
    },
}
_LISTS: Mapping[str, Mapping[str, Check]] = {
    "sites": {"layer": _is_text, "units": _is_count},
    "measurements": {
        "metric": _is_text,
        "scope": _is_text,
        "layer": _or_null(_is_text),
        "units": _or_null(_is_text),
        "protocol": _is_text,
        "value": _or_null(_is_number),
        "interval": _or_null(_is_interval),
        "detail": lambda value: isinstance(value, dict),
    },
}


def fault_of(document: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a document of ``frivkit.analysis/1``, None if nothing is.

    Only what a comparison reads is looked at; other keys may be anything.

    Example:
        >>> fault_of({"model": {"path": 3}})
        "its 'model' has no valid 'path'"
    """
    for part, checks in _PARTS.items():
        fault = _fault(document.get(part), checks, f"its {part!r}")
        if fault is not None:
            return fault
    for part, checks in _LISTS.items():
        rows = document.get(part)
        if not isinstance(rows, list):
            return f"it has no list of {part}"
        for i, row in enumerate(rows):
            fault = _fault(row, checks, f"number {i + 1} of its {part}")
            if fault is not None:
                return fault
    return None


def _fault(found: Any, checks: Mapping[str, Check], what: str) -> str | None:
    if not isinstance(found, dict):
        return f"{what} is missing"
    missing = object()
    for key, check in checks.items():
        value = found.get(key, missing)
        if value is missing or not check(value):
            return f"{what} has no valid {key!r}"
    return None
