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

from frivkit.digests import warn_unchecked
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
    row = json.loads(line)
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


def decoded_journal(content: bytes) -> dict[str, Any]:
    """Return the object of a journal, ``run.json``, without its checksum.

    Raises:
        ValueError: it is no JSON object, or its checksum is not that of its content.

    Example:
        >>> decoded_journal(encoded_journal({"runs": []}))
        {'runs': []}
    """
    journal = json.loads(content)
    if not isinstance(journal, dict):
        raise ValueError("it is no JSON object")
    if "crc32" in journal:
        checksum = journal.pop("crc32")
        if checksum != _checksum(journal):
            raise ValueError("its checksum is wrong, so it is damaged")
    return journal


def encoded_journal(journal: Mapping[str, Any]) -> bytes:
    """Return a journal as JSON with a checksum, which is that of its shortest JSON."""
    whole = {**journal, "crc32": _checksum(journal)}
    return json.dumps(whole, indent=1, allow_nan=False).encode() + b"\n"


def _checksum(journal: Mapping[str, Any]) -> str:
    text = json.dumps(journal, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


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
        try:
            row, why = decoded_row(line), "it is no row of a sweep"
            if line.endswith(b"\n") and ("figure" in row or {"work", "rows"} <= row.keys()):
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


def _text(rows: Iterable[Row]) -> bytes:
    return b"".join(map(encoded_row, rows))
