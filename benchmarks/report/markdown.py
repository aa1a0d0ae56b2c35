"""Markdown tables, and numbers in them."""

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]


def spread(ratio: Json) -> str:
    """Return the median of ratios, with minimum and maximum."""
    return f"{ratio['median']:.2f} ({ratio['least']:.2f}–{ratio['most']:.2f})"


def size(count: float) -> str:
    """Return a number of bytes with its unit."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table with a row of heads."""
    lines = [list(heads), *map(list, rows)]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(text)
