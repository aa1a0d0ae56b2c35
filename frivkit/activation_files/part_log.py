"""The checksums of an unfinished activation file, by which damage is found when it is resumed.

The log lies beside the unfinished file and has one JSON object a line, each with its own CRC-32.
The first line holds the CRC-32 of HDF5's tables, which never change after the file was created;
each further line holds how many examples are done, and how many rows of each array are written,
with their CRC-32.  A line that is cut short counts as not written.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.files import read_regular, sync

Extent = tuple[int, int]
"""The first byte of a part of a file, and the one behind its last."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What is known to be on the disk.

    Attributes:
        done: The number of finished examples.
        arrays: By the array's name, the number of its rows and the CRC-32 of their bytes.
    """

    done: int
    arrays: Mapping[str, tuple[int, int]]


NOTHING = Written(0, {})


def log_path(part: Path) -> Path:
    """Return the path of the log of an unfinished file."""
    return part.with_name(f"{part.name}.log")


def start_log(part: Path, file: Path, numbers: list[Extent]) -> None:
    """Write the log of a new file, which has no examples yet.

    Args:
        part: The path that the new file will have.
        file: The path that it has.
        numbers: Where its arrays of numbers lie, in order; all other bytes are tables.
    """
    head = {"tables": _crc_beside(file, numbers), "numbers": numbers}
    # No temporary file: before the new file has its name, its log may be cut short.
    log_path(part).unlink(missing_ok=True)  # whatever it is
    log_path(part).write_bytes(_line(head))
    sync(log_path(part))


def append_log(part: Path, written: Written) -> None:
    """Record what is on the disk; it is recorded when this returns."""
    path = log_path(part)
    with path.open("ab") as file:
        file.write(_line({"done": written.done, "arrays": written.arrays}))
    sync(path)


def read_log(part: Path) -> Written | None:
    """Return what an unfinished file holds by its log.

    Returns:
        None if there is no log, its first line is damaged, or the tables of the file are.
    """
    try:
        lines = list(_lines(read_regular(log_path(part))))
        head = lines[0]
        tables = _crc_beside(part, [(first, last) for first, last in head["numbers"]])
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return None
    if tables != head["tables"]:
        return None
    if not lines[1:]:
        return NOTHING
    last = lines[-1]
    return Written(
        last["done"], {name: (rows, crc) for name, (rows, crc) in last["arrays"].items()}
    )


def _line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Return the lines of a log up to the first that is cut short or damaged."""
    for line in content.splitlines(keepends=True):
        checksum, _, text = line.partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
            return
        yield json.loads(text)


def _crc_beside(path: Path, numbers: list[Extent]) -> int:
    """Return the CRC-32 of all bytes of a file that do not hold numbers of arrays."""
    crc = zlib.crc32(b"")
    with path.open("rb") as file:
        for first, last in [*numbers, (path.stat().st_size, 0)]:
            while (here := file.tell()) < first:
                piece = file.read(min(_PIECE, first - here))
                if not piece:
                    raise ValueError("the file is cut short")
                crc = zlib.crc32(piece, crc)
            file.seek(max(last, first))
    return crc
