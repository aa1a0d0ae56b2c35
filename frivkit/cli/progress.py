"""Progress of a command on stderr: a bar with the time that remains."""

import sys
from threading import Lock, Timer, current_thread
from typing import TYPE_CHECKING, Any

from frivkit.progress import Silent
from frivkit.terminals import is_dumb, is_terminal, steady_console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


AFTER = 0.5
"""Seconds that a task must take to be shown."""


class TerminalProgress:
    """A line on stderr for one task at a time, drawn only where that is a terminal.

    It has a bar, the share that is done, and the time that remains; for a task whose steps are not
    known, the time that it has taken.  Tasks of less than half a second are not shown.

    Args:
        hidden: Show nothing.
    """

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden or not is_terminal(sys.stderr) or is_dumb()
        self._lock = Lock()
        self._timer: Timer | None = None
        self._done = 0
        self._shown: tuple[Progress, TaskID] | None = None

    def start(self, what: str, steps: int) -> None:
        """Begin a task of ``steps`` steps, 0 if nobody knows; a task that is under way ends."""
        self.finish()
        if not self._hidden:
            self._done = 0
            self._timer = Timer(AFTER, self._show, (what, steps))
            self._timer.daemon = True
            self._timer.start()

    def advance(self, steps: int = 1) -> None:
        """Count steps as done."""
        if self._timer is not None:
            with self._lock:
                self._done += steps
                if self._shown is not None:
                    progress, task = self._shown
                    progress.advance(task, steps)

    def finish(self) -> None:
        """End the task, and remove its line."""
        if self._timer is not None:
            self._timer.cancel()
            with self._lock:  # it may be being drawn
                shown, self._timer, self._shown = self._shown, None, None
            if shown is not None:
                shown[0].stop()

    def _show(self, what: str, steps: int) -> None:
        with self._lock:
            if self._timer is not current_thread():  # the task ended in this moment
                return
            progress = _made()
            task = progress.add_task(what, total=steps or None, completed=self._done)
            progress.start()
            self._shown = progress, task


class ProgressLines(Silent):
    """A line on stderr for each task, for notebooks and logs, where nothing can be redrawn."""

    def start(self, what: str, steps: int) -> None:
        """Say what begins."""
        print(f"frivkit: {what}", file=sys.stderr)


def _made() -> "Progress":
    """Return the display of one task."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    class Time(TimeRemainingColumn):
        """The time that remains, or that was taken where nobody knows how much is left."""

        def render(self, task: Any) -> Any:
            """Return the time as text."""
            return TimeElapsedColumn().render(task) if task.total is None else super().render(task)

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(width=24, no_wrap=True)),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        Time(),
        console=steady_console(sys.stderr),
        expand=True,
        refresh_per_second=5,
        redirect_stdout=False,  # results, which a file may take
        redirect_stderr=True,  # so that warnings stand above the bar
        transient=True,
    )
