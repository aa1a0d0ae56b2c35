"""The cache: look up entries, build each once, evict those used longest ago."""

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
SHARE = 32
"""One metric of one model may fill one part in so many of the limit, 256 MiB of 8 GiB."""


class StoredEntry(NamedTuple):
    """A file of the cache.

    Attributes:
        path: Its path.
        fields: The fields of its key, empty if it cannot be read.
        bytes: Its size.
        last_used: The time of its last use, in seconds since 1970.
    """

    path: Path
    fields: Mapping[str, Any]
    bytes: int
    last_used: float


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class Cache:
    """A folder of results, bounded in size and shared by any number of processes.

    Args:
        root: The folder, created when it is first written to; None stores nothing.
        limit: The largest size of all entries together in bytes; 0 stores nothing new.
        warn: A function that is called with one line about a result that could not be read or
            stored.

    Example:
        If several processes need one result, the first one builds it and the others wait.  Hold one
        key at a time, or two processes may wait for each other.  Without a cache, or on a full
        disk, the same lines compute the result and store nothing.

        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> cache = Cache(Path(folder.name))
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
        >>> folder.cleanup()
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
        self._warned: set[str] = set()
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

    def takes(self, size: int) -> bool:
        """Whether results of one metric, of so many bytes together, are worth their room.

        Larger ones would push out those of many models, for the sake of one pass over the data.
        """
        return self.root is not None and size <= self.limit // SHARE

    def get(self, key: Key) -> Entry | None:
        """Return the entry of a key, None if there is no valid one.

        Reading counts as a use of the entry.  A file that is damaged, of an unknown version or of
        another key is removed, with a warning.
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
                self._warn_once(f"cannot read cache file {path} ({reason(error)}); computing again")
            else:
                self._drop(path, reason(error))
            return None
        with contextlib.suppress(OSError):  # a read-only cache can be read
            os.utime(path)
        return entry

    @contextlib.contextmanager
    def building(self, key: Key) -> Iterator[Entry | None]:
        """Return the entry of a key, or None to the one process that must build it.

        Other processes wait until that one leaves the block, and then get the entry.  The caller
        closes the entry.  The lock is the operating system's, so it ends with its process.
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
        """Return a writer whose arrays become the entry of a key when the block ends.

        If the block raises an error, nothing is stored.  If writing fails, the block continues,
        there is one warning, and nothing is stored.  Without :meth:`building` around it two
        processes may both build the entry; each writes a file of its own, and the last one remains.
        """
        if self.root is None or self.limit == 0:
            yield Writer(None, "", 0, self._failed)
            return
        path = folder.entry_path(self.root, key.digest)
        temporary = folder.temporary_path(self.root, key.digest)
        writer = Writer(temporary, key.json, self.limit, self._failed)
        try:
            yield writer
            written = writer.commit(path)
        except BaseException:
            writer.discard()
            raise
        if written:
            try:
                self.prune(self.limit, keep=path)
            except CacheError as error:
                self._warn_once(str(error))

    def entries(self) -> list[StoredEntry]:
        """Return the entries, the last used one first.

        Raises:
            CacheError: the folder cannot be read.
        """
        files = folder.entries(self.root) if self.root is not None else []
        return [
            StoredEntry(path, read_fields(path), info.st_size, info.st_mtime)
            for path, info in reversed(files)
        ]

    def prune(self, limit: int, keep: Path | None = None) -> Removed:
        """Remove the entries used longest ago, until the others fit into a limit.

        Args:
            limit: The limit in bytes, at least 0.
            keep: An entry that is not removed.

        Raises:
            CacheError: the folder cannot be read or an entry cannot be removed.
        """
        files = folder.entries(self.root) if self.root is not None else []
        total = sum(info.st_size for _, info in files)
        oldest = []
        for path, info in files:
            if total <= limit:
                break
            if path != keep:
                oldest.append((path, info))
                total -= info.st_size
        return folder.remove(oldest)

    def clear(self) -> Removed:
        """Remove all entries and files that killed processes left; nothing else in the folder.

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
            action = "removed it"
        except OSError as error:
            action = f"cannot remove it ({reason(error)})"
        self._warn(f"cache file {path} is unusable ({why}); {action}, computing again")

    def _failed(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            limit = format_size(self.limit)
            self._warn_once(f"a result is larger than the cache's limit of {limit}; not keeping it")
            return
        self._warn_once(
            f"cannot write to the cache in {self.root} ({reason(error)}); going on without"
        )

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)
