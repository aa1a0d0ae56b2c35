"""Progress of long work.  Whoever works reports steps; the command line decides what to show."""

from typing import Protocol


class Progress(Protocol):
    """Where steps are reported."""

    def start(self, what: str, steps: int) -> None:
        """Begin a task of so many steps; a task still open ends."""

    def advance(self, steps: int = 1) -> None:
        """Say that steps are done."""

    def finish(self) -> None:
        """End the task."""


class Silent:
    """Shows nothing."""

    def start(self, what: str, steps: int) -> None:
        """Begin a task."""

    def advance(self, steps: int = 1) -> None:
        """Say that steps are done."""

    def finish(self) -> None:
        """End the task."""
