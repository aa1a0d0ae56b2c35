"""The files of a cache folder: their names, and the removal of files.

Files with other names than those below, and anything but regular files, are never touched.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from frivkit.cache.entry import reason
from frivkit.errors import CacheError
from frivkit.files import HOST, is_abandoned

_ENTRY = re.compile(r"[0-9a-f]{64}\.h5")
_LOCK = re.compile(r"\.[0-9a-f]{64}\.lock")
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.tmp-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})[0-9a-f]{24}")


class Removed(NamedTuple):
    """The number of removed entries, and their size in bytes."""

    files: int
    bytes: int


def entry_path(root: Path, digest: str) -> Path:
    """Return the path of the finished file of a key's digest."""
    return root / f"{digest}.h5"


def temporary_path(root: Path, digest: str) -> Path:
    """Return the path of a file that only this process writes."""
    return root / f".{digest}.tmp-{os.getpid()}-{HOST}{secrets.token_hex(12)}"


def entries(root: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the finished files with their status, those used longest ago first.

    Raises:
        CacheError: the folder cannot be read.
    """
    files = []
    try:
        for item in _listing(root):
            if _ENTRY.fullmatch(item.name):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    files.append((Path(item.path), item.stat(follow_symlinks=False)))
    except OSError as error:
        raise CacheError(f"cannot read the cache in {root}: {reason(error)}") from error
    return sorted(files, key=lambda file: (file[1].st_mtime_ns, file[0]))


def remove(files: Iterable[tuple[Path, os.stat_result]]) -> Removed:
    """Remove finished files; a file that does not exist any more is not counted.

    Raises:
        CacheError: a file cannot be removed; all others are.
    """
    removed, failures = Removed(0, 0), []
    for path, info in files:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            failures.append(f"{path} ({reason(error)})")
        else:
            removed = Removed(removed.files + 1, removed.bytes + info.st_size)
    if failures:
        others = f" and {len(failures) - 1} more" if failures[1:] else ""
        raise CacheError(f"cannot remove cache file {failures[0]}{others}; check who owns it")
    return removed


def sweep(root: Path) -> None:
    """Remove files that killed processes left behind, as far as possible."""
    with contextlib.suppress(OSError):
        for item in _listing(root):
            if (match := _TEMPORARY.fullmatch(item.name)) is not None:
                with contextlib.suppress(OSError):
                    modified = item.stat(follow_symlinks=False).st_mtime
                    if is_abandoned(int(match["pid"]), match["host"], modified):
                        Path(item.path).unlink()
            elif _LOCK.fullmatch(item.name):
                _remove_lock(Path(item.path))


@contextlib.contextmanager
def locked(root: Path, digest: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a key's digest, or no lock if the file system has none.

    Without a lock a result may be computed twice, and is still right.

    Args:
        root: The folder, created if it does not exist.
        digest: The digest of the key.
        waiting: A function that is called once if another process holds the lock.
    """
    from filelock import FileLock, Timeout

    path = root / f".{digest}.lock"
    with contextlib.ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except Timeout:
                if path.exists():
                    waiting()
                    stack.enter_context(lock.acquire())
                else:  # its holder has just gone, or none can be made there, as in /proc
                    stack.enter_context(lock.acquire(timeout=1))
            stack.callback(_unlink, path)  # while it is held, so that no other process waits for it
        except (OSError, NotImplementedError, Timeout):
            pass
        yield


def _listing(root: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root) as items:
            return [item for item in items if item.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _remove_lock(path: Path) -> None:
    from filelock import FileLock, Timeout

    with contextlib.suppress(OSError, Timeout), FileLock(path, timeout=0):
        _unlink(path)
