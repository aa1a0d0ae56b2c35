"""Numbers and names as text, the same in the terminal and on the page."""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def readable(value: Any) -> Any:
    r"""Return a document whose texts, keys included, have escapes for invisible characters.

    Names come from model files, so they may contain characters that move a terminal's cursor,
    reverse the direction of writing or are no text at all.

    Example:
        >>> readable({"layer": "conv\x1b[2J", "places": [3, "\u202e"]})
        {'layer': 'conv\\x1b[2J', 'places': [3, '\\u202e']}
    """
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return "".join(_visible(character) for character in value)
    if isinstance(value, Mapping):
        return {readable(key): readable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [readable(entry) for entry in value]
    return value


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def file_name(path: str) -> str:
    r"""Return the last part of a path of any system, without invisible characters.

    Example:
        >>> file_name("nets/a.onnx"), file_name("C:\\nets\\b.onnx")
        ('a.onnx', 'b.onnx')
    """
    return str(readable(PureWindowsPath(path).name or path))


def short(name: str, most: int) -> str:
    """Return a long name without its beginning: the end of a layer's name is the most specific.

    Example:
        >>> short("encoder.layer.11.output.dense", 14)
        '…output.dense'
    """
    if len(name) <= most:
        return name
    end = name[len(name) - most + 1 :]
    return "…" + end.lstrip("./_:")


def magnitude(number: int | None) -> str:
    """Return a count with three digits and the prefix of its magnitude.

    Example:
        >>> magnitude(421642), magnitude(950), magnitude(None)
        ('422 k', '950', '?')
    """
    if number is None:
        return "?"
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 0.9995 * limit:  # 999,950 is 1 M and not 1e+03 k
            return f"{number / limit:.3g} {unit}"
    return str(number)


def percent(share: float) -> str:
    r"""Return a share in per cent, with one decimal.

    A share below 1 is never rounded to 100 %, nor one above 0 to 0 %.  The space is one that does
    not break, so that text can be wrapped.

    Example:
        >>> percent(0.6649), percent(1), percent(0.99999), percent(0.0001)
        ('66.5\xa0%', '100\xa0%', '>99.9\xa0%', '<0.1\xa0%')
    """
    if share in (0, 1):
        return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
    digits = ">99.9" if 0.9995 <= share < 1 else "<0.1" if 0 < share < 0.0005 else None
    return f"{digits or format(100 * share, '.1f')}\N{NO-BREAK SPACE}%"


def number(value: float | None) -> str:
    """Return a value of any size with four digits.

    Example:
        >>> number(3.32193), number(0.0), number(1.5e-7), number(123456.7), number(None)
        ('3.322', '0.000', '1.50e-07', '1.23e+05', 'undefined')
    """
    if value is None:
        return "undefined"
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:.3f}"
    return f"{value:.2e}"


def ends(interval: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Return the ends of an interval, None unless both are finite numbers."""
    if interval is None or len(interval) != 2:
        return None
    low, high = interval
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return float(low), float(high)


def told(interval: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Return the ends of an interval that is told a reader, None as well if it has no width.

    Counts of units that are the same for all parts of the examples have such an interval, which
    would read as if they were certain.

    Example:
        >>> told([0.4, 0.5]), told([0.458, 0.458])
        ((0.4, 0.5), None)
    """
    found = ends(interval)
    return None if found is None or found[0] == found[1] else found


def span(interval: tuple[float, float], show: Callable[[float], str]) -> str:
    r"""Return an interval in words.

    Example:
        >>> span((0.61, 1.0), percent)
        '61.0\xa0% to 100\xa0%'
    """
    return f"{show(interval[0])} to {show(interval[1])}"


def sizes(shape: Sequence[int | str | None]) -> str:
    """Return a shape, with question marks for unknown sizes.

    Example:
        >>> sizes(["n", 3, None])
        'n×3×?'
    """
    return "×".join("?" if size is None else str(size) for size in shape)
