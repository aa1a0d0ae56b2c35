"""Lines of text for a terminal: tables and prose, measured in the columns that characters take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import wrap

WIDTH = 80
"""Columns of prose, and of tables where no terminal says how wide it is."""
LEAST = 12
"""Columns of a name that are always shown."""
NARROWEST = 40
"""Columns that prose has at least, however narrow the terminal."""

_room: ContextVar[int | None] = ContextVar("room", default=WIDTH)


@contextmanager
def room(columns: int | None) -> Iterator[None]:
    """Lay out text for so many columns.

    Args:
        columns: The width of the terminal; None where text is read by programs, which need names
            that are not shortened.

    Example:
        >>> with room(None):
        ...     fitted("encoder.layer.11.output.dense", 14)
        'encoder.layer.11.output.dense'
    """
    token = _room.set(columns)
    try:
        yield
    finally:
        _room.reset(token)


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes; Chinese characters and emoji take two.

    Example:
        >>> cells("dense"), cells("卷积"), cells("e\u0301")
        (5, 4, 1)
    """
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text with spaces up to a width, in front of it if it stands at the right."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def fitted(name: str, most: int) -> str:
    """Return a name without its beginning if it is too long, and whole if programs read it.

    The end of a layer's name is the most specific.

    Args:
        name: The name.
        most: The columns that it may take.

    Example:
        >>> fitted("encoder.layer.11.output.dense", 14), fitted("网络.卷积层", 8)
        ('…output.dense', '…卷积层')
    """
    return name if _room.get() is None else cut(name, most)


def cut(name: str, most: int) -> str:
    """Return the end of a name, so that it takes no more than so many columns."""
    if cells(name) <= most:
        return name
    first, width = len(name), 1
    while first and (width := width + cells(name[first - 1])) <= most:
        first -= 1
    return "…" + name[first:].lstrip("./_:")


def columns(rows: Sequence[Sequence[str]], right: set[int], names: set[int]) -> list[str]:
    """Return rows with aligned cells, without empty columns.

    Args:
        rows: The cells, the head first.
        right: The numbers of right-aligned columns.
        names: The numbers of columns of names, which are shortened until the rows fit.
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    widths = [w if any(row[i] for row in rows[1:]) else 0 for i, w in enumerate(widths)]
    most = _room.get()
    while most is not None and sum(widths) + 2 * (sum(w > 0 for w in widths) - 1) > most:
        widest = max(names, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    lines = []
    for row in rows:
        shown = [
            cut(cell, width) if i in names and width else cell
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(
            "  ".join(
                padded(cell, width, right=i in right)
                for i, (cell, width) in enumerate(zip(shown, widths, strict=True))
                if width
            ).rstrip()
        )
    return lines


def wrapped(text: str, indent: str = "       ") -> list[str]:
    """Return prose as lines of at most 80 columns, all but the first indented."""
    most = _room.get()
    width = WIDTH if most is None else max(NARROWEST, min(WIDTH, most))
    if cells(text) == len(text):
        lines = wrap(
            text,
            width,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=most is not None,
        )
        return lines or [text]
    return _wrapped_by_cells(text, width, indent)


def _wrapped_by_cells(text: str, width: int, indent: str) -> list[str]:
    """Wrap text some characters of which take two columns, which textwrap does not know."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        if cells(lines[-1]) + 1 + cells(word) > width and lines[-1].strip():
            lines.append(indent + word)
        else:
            lines[-1] += f" {word}"
    return lines


def joined(lines: Sequence[str]) -> str:
    """Return lines as text, with plain spaces in place of those that kept lines from breaking."""
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")
