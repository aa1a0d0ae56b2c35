"""Sizes in bytes as text with units."""

import re

from frivkit.errors import UsageError

_SIZE = re.compile(
    r"(?P<number>[0-9]+(\.[0-9]+)?)\s*((?P<power>[kmgt]?)(?P<binary>i?)(?P<byte>b?))", re.I
)


def parse_size(text: str) -> int:
    """Return a size in bytes: ``500MB`` is in powers of 1000, ``2GiB`` and ``2G`` in those of 1024.

    Args:
        text: The size.

    Raises:
        UsageError: the text is no size, or one of 2^63 bytes or more.

    Example:
        >>> parse_size("500MB"), parse_size("1.5 GiB"), parse_size("2k"), parse_size("0")
        (500000000, 1610612736, 2048, 0)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match["binary"] and not match["power"]):
        raise UsageError(f"{text!r} is no size; write it like 500MB, 2GiB or 1048576")
    base = 1000 if match["byte"] and not match["binary"] else 1024
    power = " kmgt".index(match["power"].lower() or " ")
    size = float(match["number"]) * float(base**power)
    if size >= 1 << 63:
        raise UsageError(f"{text[:40]!r} is too large a size; give less than 8388608TiB")
    return round(size)


def format_size(size: int) -> str:
    """Return a size in bytes as text, in powers of 1024.

    Example:
        >>> format_size(512), format_size(8 << 30), format_size(1_500_000)
        ('512 B', '8.0 GiB', '1.4 MiB')
    """
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, 4)
    return f"{size / 1024**power:.1f} {'KMGT'[power - 1]}iB"
