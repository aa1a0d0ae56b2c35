"""What a stream is: a terminal or none, with colours or without."""

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def is_dumb() -> bool:
    """Whether the terminal understands no codes, so that nothing is coloured or drawn in place."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is open and a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def is_coloured(stream: TextIO | None) -> bool:
    """Whether colours are wanted on a stream.

    ``NO_COLOR`` wins over ``FORCE_COLOR``, and both over what the stream is; variables that are
    empty count as none.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and not is_dumb()


def steady_console(stream: TextIO) -> "Console":
    """Return a console that draws in place and leaves the cursor visible.

    A process that is killed while it draws could not show the cursor again.
    """
    from rich.console import Console

    class SteadyConsole(Console):
        """A console that never hides the cursor."""

        def show_cursor(self, show: bool = True) -> bool:
            """Do nothing."""
            return False

    return SteadyConsole(
        file=stream,
        force_terminal=True,
        legacy_windows=False,
        highlight=False,
        color_system="standard" if is_coloured(stream) else None,
    )
