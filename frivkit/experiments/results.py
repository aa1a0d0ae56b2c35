"""A sweep's file of results: one JSON object a line, safe against being cut short.

The rows of a piece of work are appended in one write and say how many they are, so that work of
which some are missing is known to be unfinished, wherever the file was cut.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from frivkit.errors import DataError
from frivkit.experiments.jobs import Row
from frivkit.files import replace_file


class Results:
    """The rows of a sweep.

    Attributes:
        path: The file.
        rows: All rows of finished work, and of figures.
    """

    def __init__(self, path: Path) -> None:
        """Open a file; rows of unfinished work and a torn last line leave it.

        Raises:
            DataError: a line other than the last is no row of a sweep, or the file cannot be read.
        """
        self.path = path
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        found = [self._read(lines, place) for place in range(len(lines))]
        whole = [row for row in found if row is not None]
        counts = Counter(row["work"] for row in whole if "work" in row)
        self.rows: list[Row] = [
            row for row in whole if "work" not in row or counts[row["work"]] == row["rows"]
        ]
        if len(self.rows) < len(lines):
            self._rewrite()

    @property
    def measured(self) -> list[Row]:
        """The rows of finished work."""
        return [row for row in self.rows if "work" in row]

    def append(self, job: str, rows: Sequence[Row]) -> None:
        """Add the rows of a piece of work; they are on disk when this returns."""
        marked = [{"work": job, "rows": len(rows), **row} for row in rows]
        with self.path.open("ab") as file:
            file.write(_text(marked))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(marked)

    def put_figures(self, figures: Iterable[str], rows: Sequence[Row]) -> None:
        """Replace the rows of some figures, if they are not what they should be."""
        mine = set(figures)
        others = [row for row in self.rows if row.get("figure") not in mine]
        if [row for row in self.rows if row.get("figure") in mine] != list(rows):
            self.rows = [*others, *rows]
            self._rewrite()

    def _read(self, lines: Sequence[bytes], place: int) -> Row | None:
        line = lines[place]
        try:
            row = json.loads(line)
            known = isinstance(row, dict) and ("figure" in row or {"work", "rows"} <= row.keys())
            if line.endswith(b"\n") and known:
                return row  # type: ignore[no-any-return]  # JSON objects are such mappings
        except ValueError:
            pass
        if place == len(lines) - 1:
            return None
        raise DataError(
            f"{self.path}: line {place + 1} is no row of a sweep; move the file away, or mend the "
            "line"
        )

    def _rewrite(self) -> None:
        replace_file(self.path, _text(self.rows))


def _text(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
