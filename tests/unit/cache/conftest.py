"""A cache in an empty folder, and what it warned of."""

from pathlib import Path

import pytest

from frivkit.cache import Cache
from tests.cachekit import Told


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def cache(tmp_path: Path, told: Told) -> Cache:
    return Cache(tmp_path / "cache", warn=told)
