"""Digests at the end of files that frivkit writes and reads back, by which damage is found.

A file is its content and then one line, ``frivkit sha256`` with the SHA-256 of the content.  HDF5
ignores what follows its own data, so other programs read such a file as before.  The digest covers
every byte of the content: data, tables and attributes.  It finds damage and proves no author.

JSON documents, which people and other programs read, have a checksum in place of that line: the
CRC-32 of their content, which stays the same if they are indented in another way.
"""

import hashlib
import json
import os
import re
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

from frivkit.files import open_regular

DigestState = Literal["right", "wrong", "missing"]
"""What the end of a file says of its content; see :func:`digest_state`."""

_HEAD = b"\nfrivkit sha256 "
_LINE = re.compile(re.escape(_HEAD) + rb"([0-9a-f]{64})\n")
LINE_BYTES = len(_HEAD) + 65
"""Bytes of the line at the end."""
_PIECE = 1 << 20
CHECKSUM = "crc32"
"""The key of the checksum of a JSON document."""


def with_digest(content: bytes) -> bytes:
    """Return content with its digest behind it.

    Example:
        >>> split_digest(with_digest(b"weights"))
        (b'weights', 'right')
    """
    return content + _line(hashlib.sha256(content).hexdigest())


def split_digest(stored: bytes) -> tuple[bytes, DigestState]:
    """Return the content of a file's bytes, and whether its digest is right.

    Example:
        >>> split_digest(b"weights")
        (b'weights', 'missing')
        >>> split_digest(b"weighty" + with_digest(b"weights")[7:])
        (b'weighty', 'wrong')
    """
    match = _LINE.fullmatch(stored[-LINE_BYTES:])
    if match is None:
        return stored, "missing"
    content = stored[:-LINE_BYTES]
    same = hashlib.sha256(content).hexdigest().encode() == match[1]
    return content, "right" if same else "wrong"


def with_checksum(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document with a checksum of all of it.

    It is the last key ``crc32`` of the document's ``provenance``, of the document if it has none.

    Example:
        >>> with_checksum({"runs": []})
        {'runs': [], 'crc32': 'f42900ae'}
    """
    whole: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    place = whole.get("provenance", whole)
    place[CHECKSUM] = _crc(whole)
    return whole


def split_checksum(content: bytes) -> tuple[Any, DigestState]:
    """Return the JSON document of a file's bytes without its checksum, and whether that is right.

    Raises:
        ValueError: the bytes are no JSON.

    Example:
        >>> split_checksum(json.dumps(with_checksum({"runs": []}), indent=1).encode())
        ({'runs': []}, 'right')
        >>> split_checksum(b'{"runs": [1], "crc32": "f42900ae"}')
        ({'runs': [1]}, 'wrong')
    """
    try:
        document = json.loads(content)
        objects = (document, *document.values()) if isinstance(document, dict) else ()
        for part in objects:  # the name of the provenance may be damaged
            if isinstance(part, dict) and CHECKSUM in part:
                stored = part.pop(CHECKSUM)
                return document, "right" if stored == _crc(document) else "wrong"
        return document, "missing"
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def append_digest(path: Path) -> None:
    """Put the digest of a finished file behind its content.

    Raises:
        OSError: the file cannot be read or written.
    """
    with path.open("r+b") as file:
        digest = _sha256(file, path.stat().st_size)
        file.seek(0, os.SEEK_END)
        file.write(_line(digest))


def digest_state(path: Path) -> DigestState:
    """Return whether the digest at the end of a file is that of its content; reads all of it.

    A file without a digest is one that an earlier version wrote, or the last line itself is
    damaged; then its content is whole if no more than one byte is.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size < LINE_BYTES:
            return "missing"
        file.seek(size - LINE_BYTES)
        match = _LINE.fullmatch(file.read(LINE_BYTES))
        if match is None:
            return "missing"
        file.seek(0)
        same = _sha256(file, size - LINE_BYTES).encode() == match[1]
        return "right" if same else "wrong"


def warn_unchecked(path: Path, what: str = "it has no digest") -> None:
    """Warn, in one line, that a file of an earlier version cannot be checked for damage.

    Args:
        path: The file.
        what: What is missing.
    """
    warnings.warn(
        f"{path} cannot be checked for damage: {what}, as files of earlier versions or of other "
        "programs, or files that were cut at the end; write it again to be sure",
        stacklevel=3,
    )


def _crc(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _line(digest: str) -> bytes:
    return _HEAD + digest.encode() + b"\n"


def _sha256(file: IO[bytes], size: int) -> str:
    """Return the SHA-256 of the next ``size`` bytes."""
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()
