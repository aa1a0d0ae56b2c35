"""``frivkit cache``: list, prune or clear the cache."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frivkit.cli.output import check_places, write_json
from frivkit.cli.progress import TerminalProgress
from frivkit.errors import UsageError
from frivkit.progress import stage

if TYPE_CHECKING:
    from frivkit.cache import Cache, Removed, StoredEntry
    from frivkit.documents.installation import CacheDocument

_HEADINGS = ("WHAT", "MODEL", "DATA", "SITE", "SIZE", "LAST USED (UTC)")


def _size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    from frivkit.cache import parse_size

    try:
        return None if text is None else parse_size(text)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


directory_option = click.option(
    "--cache",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The cache folder (default: FRIVKIT_CACHE_DIR, else the user's cache folder).",
)


@click.group("cache")
def command() -> None:
    """List, prune or clear the cache of computed results."""


@command.command("ls")
@directory_option
@click.option(
    "--json",
    "json_to",
    metavar="FILE|-",
    help="Write JSON to FILE, or to standard output and nothing else.",
)
def list_entries(directory: Path | None, json_to: str | None) -> None:
    """List the entries, the last used first."""
    check_places(json_to)
    cache = _open(directory)
    with _looked_at():
        entries = cache.entries()
    if json_to:
        write_json(_document(cache, entries), json_to)
    if json_to != "-":
        click.echo(_table(cache, entries))


@command.command("prune")
@directory_option
@click.option(
    "--size",
    callback=_size,
    metavar="SIZE",
    help="Keep at most this size, such as 500MB (default: FRIVKIT_CACHE_LIMIT, else 8GiB).",
)
def prune(directory: Path | None, size: int | None) -> None:
    """Remove the entries used longest ago, until the others take no more than a size."""
    cache = _open(directory)
    with _looked_at():
        removed = cache.prune(cache.limit if size is None else size)
    click.echo(_removed(cache, removed))


@command.command("clear")
@directory_option
def clear(directory: Path | None) -> None:
    """Remove all entries, and no other file."""
    cache = _open(directory)
    with _looked_at():
        removed = cache.clear()
    click.echo(_removed(cache, removed))


def _open(directory: Path | None) -> "Cache":
    from frivkit.cache import Cache

    return Cache.open_default(directory, warn=lambda message: click.echo(message, err=True))


def _looked_at() -> AbstractContextManager[None]:
    return stage(TerminalProgress(hidden=False), "reading the cache")


def _removed(cache: "Cache", removed: "Removed") -> str:
    from frivkit.cache import format_size

    files = "1 file" if removed.files == 1 else f"{removed.files} files"
    return f"removed {files}, {format_size(removed.bytes)}, from {cache.root}"


def _used(entry: "StoredEntry") -> datetime:
    return datetime.fromtimestamp(entry.last_used, UTC)


def _document(cache: "Cache", entries: "list[StoredEntry]") -> "CacheDocument":
    return {
        "schema": "frivkit.cache/1",
        "directory": str(cache.root),
        "bytes": sum(entry.bytes for entry in entries),
        "limit": cache.limit,
        "entries": [
            {
                "file": entry.path.name,
                "bytes": entry.bytes,
                "last_used": _used(entry).isoformat(timespec="seconds"),
                "what": entry.fields.get("what"),
                "model": entry.fields.get("model"),
                "data": entry.fields.get("data"),
                "site": entry.fields.get("site"),
                "selector": entry.fields.get("selector"),
                "extra": entry.fields.get("extra"),
                "frivkit": entry.fields.get("frivkit"),
            }
            for entry in entries
        ],
    }


def _table(cache: "Cache", entries: "list[StoredEntry]") -> str:
    from frivkit.cache import format_size
    from frivkit.report.layout import columns

    rows = [_HEADINGS]
    for entry in entries:
        what, model, data, site = (
            _plain(entry.fields.get(name, "?")) for name in ("what", "model", "data", "site")
        )
        used = f"{_used(entry):%Y-%m-%d %H:%M}"
        rows.append((what, model[:8], data[:8], site or "-", format_size(entry.bytes), used))
    lines = columns(rows, right=set(), names={3})
    total = format_size(sum(entry.bytes for entry in entries))
    footer = f"{len(entries)} in {cache.root}: {total} of {format_size(cache.limit)}"
    return "\n".join([*lines, footer] if entries else [footer])


def _plain(text: object) -> str:
    """Return text without control characters, which the name of a tensor may contain."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
