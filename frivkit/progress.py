"""Progress of long work.  Whoever works reports steps; the command line decides what to show."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Where steps are reported."""

    def start(self, what: str, steps: int) -> None:
        """Begin a task of so many steps, 0 if nobody knows how many; a task still open ends."""

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


@contextmanager
def stage(progress: Progress, what: str) -> Iterator[None]:
    """Report a task whose steps nobody knows; it ends with the block, or when another begins.

    Example:
        >>> with stage(Silent(), "reading net.onnx"):
        ...     pass
    """
    progress.start(what, 0)
    try:
        yield
    finally:
        progress.finish()
