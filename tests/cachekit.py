"""What the tests of the cache share."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from frivkit.cache import Cache, Key

KEY = Key("a" * 64, "b" * 64, "conv1", "map", "entries", {"dtype": "float32"})
DAY = 86_400


def numbered(number: int) -> Key:
    return replace(KEY, site=f"site{number}")


class Told(list[str]):
    """Collects warnings."""

    def __call__(self, message: str) -> None:
        assert "\n" not in message
        self.append(message)


def store(cache: Cache, key: Key = KEY, size: int = 100) -> Path:
    """Keep one array of ``size`` bytes and give its file."""
    with cache.build(key) as writer:
        writer.put("x", np.arange(size, dtype=np.uint8))
    assert cache.root is not None
    return cache.root / f"{key.digest}.h5"


def files_in(cache: Cache) -> list[str]:
    assert cache.root is not None
    return sorted(path.name for path in cache.root.iterdir())
