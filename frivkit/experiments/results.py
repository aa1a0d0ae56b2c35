"""The results of a sweep: one JSON object a line, valid also if writing was interrupted.

The rows of a job are appended in one write, each with the number of them, so a job with fewer rows
is unfinished, wherever the file was cut.
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
        rows: All rows of finished jobs, and of figures.
    """

    def __init__(self, path: Path) -> None:
        """Read a file, and remove rows of unfinished jobs and an incomplete last line from it.

        Args:
            path: The file, which may not exist.

        Raises:
            DataError: a line other than the last is no row of a sweep, or the file cannot be read.
        """
        self.path = path
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        read = [self._read(lines, index) for index in range(len(lines))]
        whole = [row for row in read if row is not None]
        counts = Counter(row["work"] for row in whole if "work" in row)
        self.rows: list[Row] = [
            row for row in whole if "work" not in row or counts[row["work"]] == row["rows"]
        ]
        if len(self.rows) < len(lines):
            self._rewrite()

    @property
    def measured(self) -> list[Row]:
        """The rows of finished jobs."""
        return [row for row in self.rows if "work" in row]

    def append(self, job: str, rows: Sequence[Row]) -> None:
        """Append the rows of a job; they are on disk when this returns."""
        numbered = [{"work": job, "rows": len(rows), **row} for row in rows]
        with self.path.open("ab") as file:
            file.write(_text(numbered))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(numbered)

    def put_figures(self, figures: Iterable[str], rows: Sequence[Row]) -> None:
        """Replace the rows of some figures, unless they are the same already."""
        replaced = set(figures)
        others = [row for row in self.rows if row.get("figure") not in replaced]
        if [row for row in self.rows if row.get("figure") in replaced] != list(rows):
            self.rows = [*others, *rows]
            self._rewrite()

    def _read(self, lines: Sequence[bytes], index: int) -> Row | None:
        line = lines[index]
        try:
            row = json.loads(line)
            is_row = isinstance(row, dict) and ("figure" in row or {"work", "rows"} <= row.keys())
            if line.endswith(b"\n") and is_row:
                return row  # type: ignore[no-any-return]  # JSON objects are such mappings
        except ValueError:
            pass
        if index == len(lines) - 1:
            return None
        raise DataError(
            f"{self.path}: line {index + 1} is no row of a sweep; move the file away, or mend the "
            "line"
        )

    def _rewrite(self) -> None:
        replace_file(self.path, _text(self.rows))


def _text(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
