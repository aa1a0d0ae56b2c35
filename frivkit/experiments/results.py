"""The results of a sweep: one JSON object a line, valid also if writing was interrupted.

The rows of a job are appended in one write, each with the number of them, so a job with fewer rows
is unfinished, wherever the file was cut.  The last field of a line is the CRC-32 of the text before
it, by which damage is found; rows of earlier versions have none.
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frivkit.digests import split_checksum, warn_unchecked, with_checksum
from frivkit.errors import DataError
from frivkit.experiments.jobs import Row
from frivkit.files import read_regular, replace_file

_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}$')


def decoded_row(line: bytes) -> dict[str, Any]:
    """Return the row of a line, without its checksum.

    Raises:
        ValueError: the line is no JSON object, or its checksum is not that of its text.

    Example:
        >>> decoded_row(encoded_row({"width": 1}).rstrip())
        {'width': 1}
    """
    line = line.rstrip()
    try:
        row = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError(f"{row!r:.40} is no JSON object")
    if "crc32" in row:
        match = _CHECKSUM.search(line)
        if match is None or int(match[1], 16) != zlib.crc32(line[: match.start()]):
            raise ValueError("its checksum is wrong, so it is damaged")
        del row["crc32"]
    return row


def encoded_row(row: Row) -> bytes:
    """Return a row as a line that ends with its checksum."""
    text = json.dumps(dict(row), allow_nan=False)[:-1].encode()
    return b'%s, "crc32": "%08x"}\n' % (text, zlib.crc32(text))


def warn_of_rows(path: Path, lines: Sequence[bytes]) -> None:
    """Warn, once for a file, of rows of earlier versions, which have no checksum.

    Args:
        path: The file.
        lines: Its lines that are rows.
    """
    unchecked = sum(_CHECKSUM.search(line.rstrip()) is None for line in lines)
    if unchecked:
        warn_unchecked(path, f"{unchecked} of its {len(lines)} lines have no checksum")


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a file of results, each with the number of its line.

    Empty lines are left out, and so is a last line that an interrupted sweep wrote in part.  Rows
    without a checksum are warned of.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is damaged; its number is named.
    """
    *lines, rest = read_regular(path).split(b"\n")
    if _is_row(rest):
        lines.append(rest)
    elif _is_row(rest[:-1]):
        raise ValueError(f"line {len(lines) + 1}: its line break is damaged")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [(number, decoded_row(line))] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    warn_of_rows(path, [line for line in lines if line.strip()])
    return rows


def _is_row(line: bytes) -> bool:
    try:
        decoded_row(line)
    except ValueError:
        return False
    return True


def read_journal(path: Path) -> dict[str, Any]:
    """Return the object of a journal, ``run.json``; warn of one without a checksum.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON object, or its checksum is not that of its content.
    """
    journal, state = split_checksum(read_regular(path))
    if not isinstance(journal, dict):
        raise ValueError(f"{journal!r:.40} is no JSON object")
    if state == "wrong":
        raise ValueError("its checksum is wrong, so it is damaged")
    if state == "missing":
        warn_unchecked(path, "it has no checksum")
    return journal


def encoded_journal(journal: Mapping[str, Any]) -> bytes:
    """Return a journal as JSON with a checksum."""
    return json.dumps(with_checksum(journal), indent=1).encode() + b"\n"


class Results:
    """The rows of a sweep.

    Attributes:
        path: The file.
        rows: All rows of finished jobs, and of figures.
    """

    def __init__(self, path: Path, *, mend: bool = True) -> None:
        """Read a file, and remove rows of unfinished jobs and an incomplete last line from it.

        Args:
            path: The file, which may not exist.
            mend: Whether the rows are removed from the file, too; not if somebody else writes it.

        Raises:
            DataError: a line other than the last is no row of a sweep, or the file cannot be read.
        """
        self.path = path
        try:
            lines = read_regular(path).splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        read = [self._read(lines, index) for index in range(len(lines))]
        warn_of_rows(path, [line for line, row in zip(lines, read, strict=True) if row is not None])
        whole = [row for row in read if row is not None]
        counts = Counter(row["work"] for row in whole if "work" in row)
        self.rows: list[Row] = [
            row for row in whole if "work" not in row or counts[row["work"]] == row["rows"]
        ]
        if mend and len(self.rows) < len(lines):
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
        if not line.strip():
            return None
        try:
            row, why = decoded_row(line), "it is no row of a sweep"
            named = row.get("figure", row.get("work"))
            if line.endswith(b"\n") and isinstance(named, str) and _is_counted(row):
                return row
        except ValueError as error:
            why = str(error)
        if index == len(lines) - 1:
            return None
        raise DataError(
            f"{self.path}: line {index + 1} cannot be read ({why}); move the file away, or mend "
            "the line"
        )

    def _rewrite(self) -> None:
        replace_file(self.path, _text(self.rows))


def _is_counted(row: Row) -> bool:
    """Whether a row is one of a figure, or has what the rows of each network have."""
    if "figure" in row:
        return True
    return "value" in row and isinstance(row.get("measurement"), str) and "rows" in row


def _text(rows: Iterable[Row]) -> bytes:
    return b"".join(map(encoded_row, rows))
