"""The cache itself: look up, build once, evict."""

import contextlib
import errno
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from frivkit.cache import folder
from frivkit.cache.entry import Entry, read_fields, reason
from frivkit.cache.folder import Removed
from frivkit.cache.key import Key
from frivkit.cache.size import format_size, parse_size
from frivkit.cache.writer import Writer
from frivkit.errors import CacheError, UsageError

DEFAULT_LIMIT = 8 << 30


class StoredEntry(NamedTuple):
    """A file of the cache: where, its key's fields (empty if unreadable), size, last use (Unix)."""

    path: Path
    fields: Mapping[str, Any]
    bytes: int
    last_used: float


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class Cache:
    """A folder of finished results, bounded in size, shared by any number of processes.

    Args:
        root: The folder, made when first written to; None keeps nothing.
        limit: The most bytes that the entries may take together; 0 keeps nothing new.
        warn: Told, in one line, of what could not be read or kept.

    Example:
        How to use it, also where several processes want the same thing: whoever comes second
        waits, and then finds it built.  Hold one key at a time, lest two processes wait for each
        other.  Without a cache, or when the disk is full, the same lines compute and keep nothing.

        >>> import tempfile
        >>> place = tempfile.TemporaryDirectory()
        >>> cache = Cache(Path(place.name))
        >>> key = Key("model", "data", "", "", "outputs")
        >>> def outputs():
        ...     with cache.building(key) as entry:
        ...         if entry is not None:
        ...             with entry:
        ...                 return entry.read("logits").tolist()
        ...         print("computing")
        ...         with cache.build(key) as writer:
        ...             writer.append("logits", [[1.0, 2.0]])
        ...             writer.append("logits", [[3.0, 4.0]])
        ...         return [[1.0, 2.0], [3.0, 4.0]]
        >>> outputs() == outputs()
        computing
        True
        >>> place.cleanup()
    """

    def __init__(
        self,
        root: Path | None,
        limit: int = DEFAULT_LIMIT,
        warn: Callable[[str], None] = _warn,
    ) -> None:
        self.root = root
        self.limit = limit
        self._warn = warn
        self._said: set[str] = set()
        if root is not None:
            folder.sweep(root)

    @classmethod
    def open_default(
        cls, directory: Path | None = None, warn: Callable[[str], None] = _warn
    ) -> Self:
        """Open ``directory``, else ``FRIVKIT_CACHE_DIR``, else the user's cache folder.

        The limit is ``FRIVKIT_CACHE_LIMIT`` (a size such as ``500MB``), else 8 GiB.

        Raises:
            UsageError: ``FRIVKIT_CACHE_LIMIT`` is no size.
        """
        from platformdirs import user_cache_path

        if directory is None and (named := os.environ.get("FRIVKIT_CACHE_DIR")):
            directory = Path(named).expanduser()
        limit = DEFAULT_LIMIT
        if text := os.environ.get("FRIVKIT_CACHE_LIMIT"):
            try:
                limit = parse_size(text)
            except UsageError as error:
                raise UsageError(f"FRIVKIT_CACHE_LIMIT: {error}") from None
        return cls(directory or user_cache_path("frivkit", appauthor=False), limit, warn)

    def get(self, key: Key) -> Entry | None:
        """Return the entry of ``key``, or None when there is none that can be trusted.

        An entry found counts as just used.  A file that is damaged, of an unknown version or of
        another key is removed, with a warning that names it.
        """
        if self.root is None:
            return None
        path = folder.entry_path(self.root, key.digest)
        try:
            entry = Entry(path, key.json)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # h5py raises many classes at damaged files
            if isinstance(error, OSError) and error.errno is not None:
                self._say_once(f"cannot read cache file {path} ({reason(error)}); computing again")
            else:
                self._drop(path, reason(error))
            return None
        with contextlib.suppress(OSError):  # a cache that cannot be written to is still good
            os.utime(path)
        return entry

    @contextlib.contextmanager
    def building(self, key: Key) -> Iterator[Entry | None]:
        """Return the entry of ``key``, or None to the one process that is to build it now.

        Whoever else asks meanwhile waits until the block is left, and looks again.  The entry is
        the caller's to close.  The lock is the operating system's, so it ends with its process.
        """
        entry = self.get(key)
        if entry is not None or self.root is None or self.limit == 0:
            yield entry
            return
        path = folder.entry_path(self.root, key.digest)

        def waiting() -> None:
            self._warn(f"waiting for another process that is building cache file {path}")

        with folder.locked(self.root, key.digest, waiting):
            yield self.get(key)

    @contextlib.contextmanager
    def build(self, key: Key) -> Iterator[Writer]:
        """Return a writer whose arrays become the entry of ``key`` when the block ends well.

        If the block raises, nothing is kept.  If writing fails, the block runs on, ``warn`` is
        told once and nothing is kept.  Without :meth:`building` around it two processes may both
        build the entry; each writes a file of its own, and the last to end stays.
        """
        if self.root is None or self.limit == 0:
            yield Writer(None, "", 0, self._failed)
            return
        path = folder.entry_path(self.root, key.digest)
        temporary = folder.temporary_path(self.root, key.digest)
        writer = Writer(temporary, key.json, self.limit, self._failed)
        try:
            yield writer
            kept = writer.commit(path)
        except BaseException:
            writer.discard()
            raise
        if kept:
            try:
                self.prune(self.limit, keep=path)
            except CacheError as error:
                self._say_once(str(error))

    def entries(self) -> list[StoredEntry]:
        """List the entries, the last used first.

        Raises:
            CacheError: the folder cannot be read.
        """
        found = folder.entries(self.root) if self.root is not None else []
        return [
            StoredEntry(path, read_fields(path), info.st_size, info.st_mtime)
            for path, info in reversed(found)
        ]

    def prune(self, limit: int, keep: Path | None = None) -> Removed:
        """Remove the entries used longest ago until all take at most ``limit`` bytes.

        Args:
            limit: In bytes.
            keep: An entry that stays, whatever its size.

        Raises:
            CacheError: the folder cannot be read or an entry cannot be removed.
        """
        files = folder.entries(self.root) if self.root is not None else []
        total = sum(info.st_size for _, info in files)
        doomed = []
        for path, info in files:
            if total <= limit:
                break
            if path != keep:
                doomed.append((path, info))
                total -= info.st_size
        return folder.remove(doomed)

    def clear(self) -> Removed:
        """Remove all entries, and what killed processes left; nothing else in the folder.

        Raises:
            CacheError: the folder cannot be read or an entry cannot be removed.
        """
        if self.root is None:
            return Removed(0, 0)
        removed = folder.remove(folder.entries(self.root))
        folder.sweep(self.root)
        return removed

    def _drop(self, path: Path, why: str) -> None:
        try:
            path.unlink()
            done = "removed it"
        except OSError as error:
            done = f"cannot remove it ({reason(error)})"
        self._warn(f"cache file {path} is unusable ({why}); {done}, computing again")

    def _failed(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            limit = format_size(self.limit)
            self._say_once(f"a result is larger than the cache's limit of {limit}; not keeping it")
            return
        self._say_once(
            f"cannot write to the cache in {self.root} ({reason(error)}); going on without"
        )

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._warn(message)
