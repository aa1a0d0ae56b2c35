"""Results of a study in the cache: their keys, and how many were there already."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from frivkit.cache import Cache, Entry, Key


class KeptResults:
    """The results of one model on one data set.

    Args:
        cache: Where they are kept.
        model: The digest of the model.
        data: The digest of the data.
        fixed: What all of them depend on beside these.

    Attributes:
        cache: Where they are kept.
        reused: How many results of each kind came out of the cache.
    """

    def __init__(self, cache: Cache, model: str, data: str, fixed: Mapping[str, str]) -> None:
        self.cache = cache
        self.reused: dict[str, int] = {}
        self._model, self._data, self._fixed = model, data, dict(fixed)
        self._built: set[str] = set()

    def key(
        self, what: str, site: str, selector: str = "", extra: Mapping[str, str] | None = None
    ) -> Key:
        """Return the key of a result of one site, of the network for an empty name."""
        return Key(self._model, self._data, site, selector, what, self._fixed | dict(extra or {}))

    @contextmanager
    def stored(self, key: Key) -> Iterator[Entry | None]:
        """Give a result, None if it must be computed, which only one process does at a time."""
        with self.cache.building(key) as entry:
            if entry is None:
                yield None
            else:
                with entry:
                    yield entry

    def built(self, key: Key) -> None:
        """Note that this run computes a result itself."""
        self._built.add(key.digest)

    def count(self, what: str, key: Key, number: int = 1) -> None:
        """Note what an earlier run had kept; what this one built itself is no news."""
        if key.digest not in self._built:
            self.reused[what] = self.reused.get(what, 0) + number
