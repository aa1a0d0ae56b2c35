"""The live table of a sweep: networks done by row and column, and the time remaining."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from frivkit.experiments.jobs import Job
from frivkit.progress import Progress

BETWEEN = 0.1
"""Least seconds between two drawings."""


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
        self._title, self._hidden = title, hidden
        self._cells: dict[tuple[str, str], Cell] = {}
        for job in jobs:
            self._cells.setdefault(job.table_cell, Cell()).all += job.networks
        self._began, self._drawn, self._lines = monotonic(), 0.0, 0
        self._what, self._step, self._steps = "", 0, 0
        self._draw()

    def done(self, job: Job) -> None:
        """Count a job as done."""
        self._cells[job.table_cell].done += job.networks
        self._what = ""
        self._draw()

    def start(self, what: str, steps: int) -> None:
        """Show a task of the job in this process, and its number of steps."""
        self._what, self._step, self._steps = what, 0, steps
        self._draw()

    def advance(self, steps: int = 1) -> None:
        """Count steps of the task as done."""
        self._step += steps
        self._draw()

    def finish(self) -> None:
        """End the task; the table stays."""
        self._what = ""

    def close(self) -> None:
        """Draw the table for the last time."""
        self._drawn, self._what = 0.0, ""
        self._draw()

    def _draw(self) -> None:
        if self._hidden or monotonic() - self._drawn < BETWEEN:
            return
        size = shutil.get_terminal_size()
        lines = [
            f"{self._title}",
            *table_lines(self._cells, size.lines - 4),
            self._status(),
        ]
        up = f"\x1b[{self._lines}F" if self._lines else ""
        text = "".join(f"{line[: size.columns - 1]}\x1b[K\n" for line in lines)
        sys.stderr.write(f"{up}\x1b[J{text}")
        sys.stderr.flush()
        self._drawn, self._lines = monotonic(), len(lines)

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


def table_lines(cells: dict[tuple[str, str], Cell], most: int) -> list[str]:
    """Return the lines of a table.

    Args:
        cells: By row and column, both in their order.
        most: Lines that fit; rows that are done are left out first.

    Example:
        >>> table_lines({("AlexNet", "1/4"): Cell(1, 3), ("AlexNet", "1"): Cell(0, 3)}, 9)
        ['         1/4  1', 'AlexNet  1/3  0/3']
    """
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    texts = {at: f"{cell.done}/{cell.all}" for at, cell in cells.items()}
    wide = {
        column: max(len(column), *(len(texts.get((row, column), "")) for row in rows))
        for column in columns
    }
    name = max(map(len, rows), default=0)
    heading = (column.ljust(wide[column]) for column in columns)
    lines = ["  ".join([" " * name, *heading]).rstrip()]
    unfinished = [
        row for row in rows if any(c.done < c.all for (r, _), c in cells.items() if r == row)
    ]
    room = max(1, most - 2)
    shown = rows if len(rows) <= room else unfinished[:room]
    for row in shown:
        texts_of_row = (texts.get((row, column), "").ljust(wide[column]) for column in columns)
        lines.append("  ".join([row.ljust(name), *texts_of_row]).rstrip())
    if len(shown) < len(rows):
        lines.append(f"and {len(rows) - len(shown)} more rows, {len(rows) - len(unfinished)} done")
    return lines


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
