"""Eviction, listing, clearing, and the folder that is used."""

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from frivkit.cache import Cache
from frivkit.errors import CacheError, UsageError
from tests.cachekit import DAY, KEY, Told, files_in, numbered, store


def age(path: Path, days: int) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, told: Told) -> None:
    cache = Cache(tmp_path, limit=350_000, warn=told)
    paths = [store(cache, numbered(number), 100_000) for number in range(3)]
    for number, path in enumerate(paths):
        age(path, 10 - number)
    with cache.get(numbered(0)):  # the oldest is used, and so the newest
        pass
    paths.append(store(cache, numbered(3), 100_000))
    assert [path.exists() for path in paths] == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 350_000
    assert told == []


def test_an_entry_stays_when_it_fills_the_limit_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=350_000)
    old = [store(cache, numbered(number), 100_000) for number in range(3)]
    new = store(cache, numbered(3), 340_000)
    assert new.exists()
    assert not any(path.exists() for path in old)


def test_a_new_entry_stays_beside_files_dated_later_by_another_clock(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=250_000)
    future = [store(cache, numbered(number), 100_000) for number in range(2)]
    for path in future:
        age(path, -1)
    new = store(cache, numbered(3), 100_000)
    assert new.exists()
    assert sum(path.exists() for path in future) == 1


def test_a_writer_stops_where_the_limit_is_passed(tmp_path: Path, told: Told) -> None:
    cache = Cache(tmp_path, limit=3 << 20, warn=told)
    alive = []
    with cache.build(KEY) as writer:
        for _ in range(6):
            writer.append("x", np.zeros((1 << 20,), np.uint8))
            alive.append(writer.alive)
    assert alive == [True] * 3 + [False] * 3
    assert len(told) == 1


@pytest.mark.parametrize("size", [350_001, 3_000_000])
def test_an_entry_larger_than_the_limit_is_not_kept_and_costs_no_other(
    tmp_path: Path, told: Told, size: int
) -> None:
    cache = Cache(tmp_path, limit=350_000, warn=told)
    small = store(cache, numbered(0), 1000)
    for number in (1, 2):
        assert not store(cache, numbered(number), size).exists()
    assert small.exists()
    assert store(cache, numbered(3), 1000).exists()
    assert len(told) == 1
    assert "larger than the cache's limit" in told[0]


def test_the_overhead_of_the_format_counts(tmp_path: Path, told: Told) -> None:
    cache = Cache(tmp_path, limit=100_500, warn=told)
    assert not store(cache, KEY, 100_000).exists()
    assert len(told) == 1


def test_prune_and_clear_count_what_they_remove(cache: Cache) -> None:
    paths = [store(cache, numbered(number), 10_000 * (number + 1)) for number in range(4)]
    sizes = [path.stat().st_size for path in paths]
    for number, path in enumerate(paths):
        age(path, 9 - number)
    assert cache.prune(sum(sizes)) == (0, 0)
    assert cache.prune(sum(sizes[2:])) == (2, sum(sizes[:2]))
    assert cache.clear() == (2, sum(sizes[2:]))
    assert cache.clear() == (0, 0)


def test_only_files_of_the_cache_are_ever_removed(cache: Cache) -> None:
    path = store(cache)
    root = path.parent
    strangers = ["thesis.h5", "x" * 64 + ".h5", KEY.digest, f"{KEY.digest}.h5.bak", ".hidden"]
    for name in strangers:
        (root / name).write_text("mine")
    (root / "below").mkdir()
    (root / "below" / path.name).write_text("mine")
    outside = root.parent / f"{'c' * 64}.h5"
    outside.write_text("mine")
    (root / outside.name).symlink_to(outside)
    (root / f"{'d' * 64}.h5").mkdir()
    cache.prune(0)
    cache.clear()
    tiny = Cache(root, limit=9000)
    store(tiny, numbered(1), 1)
    tiny.clear()
    expected = [*strangers, "below", outside.name, f"{'d' * 64}.h5"]
    assert sorted(files_in(cache)) == sorted(expected)
    assert (root / "below" / path.name).exists()
    assert outside.read_text() == "mine"


def test_entries_tell_key_size_and_last_use_the_last_used_first(cache: Cache) -> None:
    first, second = store(cache, numbered(1)), store(cache, numbered(2))
    age(second, 3)
    bad = store(cache, numbered(3))
    bad.write_bytes(b"junk")
    age(bad, 5)
    listed = cache.entries()
    assert [item.path for item in listed] == [first, second, bad]
    assert listed[0].fields == json.loads(numbered(1).json)
    assert listed[0].bytes == first.stat().st_size
    assert listed[1].last_used == pytest.approx(time.time() - 3 * DAY, abs=60)
    assert listed[2].fields == {}


def test_a_file_that_cannot_be_removed_is_an_error_after_the_others_went(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [store(cache, numbered(number)) for number in range(3)]
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == paths[0]:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CacheError, match="Operation not permitted"):
        cache.clear()
    assert [path.exists() for path in paths] == [True, False, False]


def test_a_root_that_is_a_file_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file")
    assert cache.get(KEY) is None
    with pytest.raises(CacheError, match="Not a directory"):
        cache.entries()


# No cache, and which


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_without_a_root_or_with_a_limit_of_zero_nothing_is_kept_or_said(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Cache(tmp_path / "cache" if limit == 0 else None, limit, told)
    with cache.building(KEY) as entry:
        assert entry is None
        with cache.build(KEY) as writer:
            writer.append("x", np.ones(3))
            writer.put("y", 1)
            assert not writer.alive
    assert cache.get(KEY) is None
    assert cache.entries() == []
    assert cache.prune(0) == cache.clear() == (0, 0)
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_looking_makes_no_folder(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.get(KEY) is None
    assert cache.entries() == []
    assert cache.clear() == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_one_given_then_the_environments_then_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path / "env"))
    assert Cache.open_default(tmp_path / "given").root == tmp_path / "given"
    assert Cache.open_default().root == tmp_path / "env"
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache.open_default().root == Path(platformdirs.user_cache_dir("frivkit"))


def test_the_limit_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRIVKIT_CACHE_LIMIT", raising=False)
    assert Cache.open_default(tmp_path).limit == 8 * 1024**3
    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", "500MB")
    assert Cache.open_default(tmp_path).limit == 500_000_000
    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", "lots")
    with pytest.raises(UsageError, match="FRIVKIT_CACHE_LIMIT: 'lots'"):
        Cache.open_default(tmp_path)


def test_warnings_go_to_pythons_when_nobody_listens(tmp_path: Path) -> None:
    path = store(Cache(tmp_path))
    path.write_bytes(b"junk")
    with pytest.warns(UserWarning, match="unusable"):
        assert Cache(tmp_path).get(KEY) is None
