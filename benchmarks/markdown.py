"""Tables and numbers as the results show them."""

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]


def spread(ratio: Json) -> str:
    """Return the median of ratios, with the least and the most."""
    return f"{ratio['median']:.2f} ({ratio['least']:.2f}–{ratio['most']:.2f})"


def size(count: float) -> str:
    """Return bytes with their unit."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table."""
    lines = [list(heads), *map(list, rows)]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(text)
