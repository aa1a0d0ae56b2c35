"""The seconds of a job, also of one that was interrupted and goes on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from frivkit.files import read_regular, replace_file
from frivkit.progress import Progress

_EVERY = 1.0
"""Seconds between two records of a job that works."""


class JobTimer(Progress):
    """Counts the seconds of a job over all of its runs.

    They are recorded in a file whenever the job reports progress, once a second at most, so that
    what a process had done that was killed counts too, up to its last report.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        """Start to count.

        Args:
            path: The file; its folder need not exist, and is removed with it when the job is done.
            progress: Receives what the job reports.
        """
        self._path, self._progress = path, progress
        self._before = _recorded(path)
        self._started = self._last = perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds of all runs so far."""
        return self._before + perf_counter() - self._started

    @contextmanager
    def kept_on_failure(self) -> Iterator[None]:
        """Record the seconds if the block fails or is interrupted."""
        try:
            yield
        except BaseException:
            self._record()
            raise

    def start(self, what: str, steps: int) -> None:
        """Pass on that a task begins."""
        self._progress.start(what, steps)

    def advance(self, steps: int = 1) -> None:
        """Pass on that steps are done, and record the seconds."""
        self._progress.advance(steps)
        if perf_counter() - self._last >= _EVERY:
            self._record()

    def finish(self) -> None:
        """Pass on that the task ended."""
        self._progress.finish()

    def _record(self) -> None:
        self._last = perf_counter()
        with suppress(OSError):  # a full disk ends the job itself, if it has something to write
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, f"{self.seconds:.3f}\n".encode())


def _recorded(path: Path) -> float:
    """Return the seconds of earlier runs, 0 if they are not known."""
    try:
        seconds = float(read_regular(path))
    except (OSError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
