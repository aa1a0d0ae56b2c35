"""What a terminal shows: text as wide as it is, and colours where they are wanted.

Where standard output is no terminal, programs read it: nothing is cut, and nothing is coloured
unless ``FORCE_COLOR`` asks for it.
"""

import re
import shutil
import sys
from typing import TextIO

import click

from frivkit.terminals import is_coloured, is_terminal

_STYLES = (
    (r"^(?:model|data|task|input|output) ", "bold"),
    (r"^\S+ \((?:paper|reference) protocol.*\)$", "bold"),
    (r"^(?:not analysed$|couplings:|in short:|labels unchanged,|frivkit_\w+|ok )", "bold"),
    (r"^ *layer  .*$|^ +units +value .*$|^ +original +compressed .*$", "dim"),
    (r"█+|•+", "cyan"),
    (r"(?<=[█ ])·+$", "dim"),
    (r"╌", "yellow"),
    (r"… \d+ more lines .*$|and \d+ more .*$", "dim"),
    (r"^Only .*$|failed to load:.*$|^bad .*$", "red"),
    (r"^note .*$|is not faster.*$", "yellow"),
)
"""Patterns of what results have, and the styles of rich; colours are those of the user's theme."""


def columns_of(stream: TextIO | None) -> int | None:
    """Return the width of a terminal, None for what is none."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def show(text: str) -> None:
    """Write a result to standard output, in colour if that is wanted."""
    if is_coloured(sys.stdout):
        click.echo(coloured(text), color=True)
    else:
        click.echo(text)


def tell(message: str, colour: str | None = None) -> None:
    """Write a line to standard error that begins with the program's name, perhaps in a colour."""
    wanted = colour is not None and is_coloured(sys.stderr)
    name = click.style("frivkit:", fg=colour, bold=True) if wanted else "frivkit:"
    click.echo(f"{name} {message}", err=True, color=wanted or None)


def coloured(text: str) -> str:
    """Return a result with the codes of its colours; without them it is the same text."""
    import io

    from rich.console import Console
    from rich.text import Text

    content = Text(text)
    for pattern, style in _STYLES:
        content.highlight_regex(re.compile(pattern, re.MULTILINE), style)
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        no_color=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(content, end="", soft_wrap=True)
    return captured.get()
