"""The live table of a sweep: networks done by row and column, and the time remaining."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from frivkit.experiments.jobs import Job
from frivkit.progress import Progress
from frivkit.terminals import steady_console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

FRAMES = 4
"""Drawings in a second, at most."""
AROUND = 4
"""Lines of the terminal that are not for rows: title, head, status and the next prompt."""


@dataclass(slots=True)
class Cell:
    """Networks of one row and column: the number done, and the number of all."""

    done: int = 0
    all: int = 0


class ProgressTable(Progress):
    """A table of progress on stderr, redrawn in place.

    The steps of the current job, if it reports any, are in the last line.
    """

    def __init__(self, title: str, jobs: Sequence[Job], *, hidden: bool) -> None:
        """Draw the table of jobs not yet done.

        Args:
            title: The line above the table.
            jobs: All jobs.
            hidden: Whether nothing is shown.
        """
        self._title = title
        self._cells: dict[tuple[str, str], Cell] = {}
        for job in jobs:
            self._cells.setdefault(job.table_cell, Cell()).all += job.networks
        self._began = monotonic()
        self._what, self._step, self._steps = "", 0, 0
        self._live: Live | None = None
        if not hidden:
            from rich import live

            self._live = live.Live(
                get_renderable=self._drawn,
                console=steady_console(sys.stderr),
                refresh_per_second=FRAMES,
                redirect_stdout=False,
            )
            self._live.start(refresh=True)

    def done(self, job: Job) -> None:
        """Count a job as done."""
        self._cells[job.table_cell].done += job.networks
        self._what = ""

    def start(self, what: str, steps: int) -> None:
        """Show a task of the job in this process, and its number of steps."""
        self._what, self._step, self._steps = what, 0, steps

    def advance(self, steps: int = 1) -> None:
        """Count steps of the task as done."""
        self._step += steps

    def finish(self) -> None:
        """End the task; the table stays."""
        self._what = ""

    def close(self) -> None:
        """Draw the table for the last time."""
        self._what = ""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        lines = 0 if self._live is None else self._live.console.size.height
        return Group(
            Text(self._title, style="bold", overflow="ellipsis", no_wrap=True),
            network_table(self._cells, lines - AROUND),
            Text(self._status(), overflow="ellipsis", no_wrap=True),
        )

    def _status(self) -> str:
        done = sum(cell.done for cell in self._cells.values())
        networks = sum(cell.all for cell in self._cells.values())
        took = monotonic() - self._began
        remaining = ""
        if 0 < done < networks:
            remaining = f", about {duration(took / done * (networks - done))} left"
        steps = f" {self._step}/{self._steps}" if self._steps else ""
        now = f"; {self._what}{steps}" if self._what else ""
        return f"{done} of {networks} networks in {duration(took)}{remaining}{now}"


def network_table(cells: dict[tuple[str, str], Cell], most: int) -> "RenderableType":
    """Return a table of the networks that are done.

    Args:
        cells: By row and column, both in their order.
        most: Rows that fit; rows that are done are left out first.
    """
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    unfinished = [
        row for row in rows if any(c.done < c.all for (r, _), c in cells.items() if r == row)
    ]
    shown = rows if len(rows) <= most else unfinished[: max(1, most - 1)]
    heads = [Column(Text(column), no_wrap=True) for column in columns]
    table = Table("", *heads, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in shown:
        table.add_row(Text(row), *(_counts(cells.get((row, column))) for column in columns))
    if len(shown) < len(rows):
        more = f"and {len(rows) - len(shown)} more rows, {len(rows) - len(unfinished)} done"
        return Group(table, Text(more, style="dim"))
    return table


def _counts(cell: Cell | None) -> "Text":
    from rich.text import Text

    if cell is None:
        return Text("")
    style = "green" if cell.done == cell.all else "yellow" if cell.done else "dim"
    return Text(f"{cell.done}/{cell.all}", style=style)


def duration(seconds: float) -> str:
    """Return a time in words, such as ``"3 min"``.

    Example:
        >>> duration(3.2), duration(200), duration(8000), duration(200_000)
        ('3 s', '3 min', '2.2 h', '2.3 days')
    """
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
