"""The progress bar of a command."""

import sys
from typing import Any

import click


class TerminalProgress:
    """A progress bar on stderr, one task at a time.

    Args:
        hidden: Show nothing.
    """

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._bar: Any = None

    def start(self, what: str, steps: int) -> None:
        """Begin a task of ``steps`` steps; a task that is under way ends."""
        self.finish()
        if not self._hidden:
            bar = click.progressbar(length=max(1, steps), label=f"{what:<24.24}", file=sys.stderr)
            self._bar = bar.__enter__()

    def advance(self, steps: int = 1) -> None:
        """Count steps as done."""
        if self._bar is not None:
            self._bar.update(steps)

    def finish(self) -> None:
        """End the task."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
