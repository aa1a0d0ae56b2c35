"""Which files are trusted."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from frivkit.cache import Cache
from frivkit.digests import append_digest, split_digest
from frivkit.errors import CacheError
from tests.cachekit import KEY, Told, store


def replant(cache: Cache, change) -> Path:
    """Store an entry, change its file with h5py, and give it."""
    path = store(cache)
    path.write_bytes(split_digest(path.read_bytes())[0])
    with h5py.File(path, "r+") as file:
        change(file)
    append_digest(path)
    return path


def planted_external(file: h5py.File) -> None:
    secret = Path(file.filename).parent / "secret"
    secret.write_bytes(bytes(range(100)))
    del file["x"]
    file.create_dataset("x", (100,), "u1", external=[(str(secret), 0, 100)])


def planted_external_link(file: h5py.File) -> None:
    other = Path(file.filename).parent / "other.hdf5"
    with h5py.File(other, "w") as made:
        made["x"] = np.arange(100, dtype="u1")
    del file["x"]
    file["x"] = h5py.ExternalLink(str(other), "/x")


def planted_soft_link(file: h5py.File) -> None:
    file.move("x", "y")
    file["x"] = h5py.SoftLink("/y")


def planted_virtual(file: h5py.File) -> None:
    other = Path(file.filename).parent / "other.hdf5"
    with h5py.File(other, "w") as made:
        made["x"] = np.arange(100, dtype="u1")
    del file["x"]
    layout = h5py.VirtualLayout((100,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "x", (100,))
    file.create_virtual_dataset("x", layout)


def planted_filter(file: h5py.File) -> None:
    del file["x"]
    file.create_dataset("x", data=np.arange(100, dtype="u1"), chunks=(10,), compression="lzf")


def planted_claim(file: h5py.File) -> None:
    del file["x"]
    file.create_dataset("x", (1 << 40,), "u1", chunks=(1 << 20,))
    file.attrs["contents"] = json.dumps({"x": {"dtype": "|u1", "shape": [1 << 40]}})


def planted_objects(file: h5py.File) -> None:
    del file["x"]
    file.create_dataset("x", data=["a"] * 100, dtype=h5py.string_dtype())


def planted_group(file: h5py.File) -> None:
    file.create_group("g")["y"] = [1]


def unfinished(file: h5py.File) -> None:
    del file.attrs["contents"]


def other_contents(file: h5py.File) -> None:
    file["more"] = [1]


def other_key(file: h5py.File) -> None:
    file.attrs["key"] = replace(KEY, data="another").json


def key_of_bytes(file: h5py.File) -> None:
    file.attrs["key"] = np.arange(4)


def other_type(file: h5py.File) -> None:
    file.attrs["encoding-type"] = "anndata"


def newer_version(file: h5py.File) -> None:
    file.attrs["encoding-version"] = "3"


def no_version(file: h5py.File) -> None:
    del file.attrs["encoding-version"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (planted_external, "another file"),
        (planted_external_link, "a link"),
        (planted_soft_link, "a link"),
        (planted_virtual, "another file"),
        (planted_filter, "encoding"),
        (planted_claim, "without all of its data"),
        (planted_objects, "encoding"),
        (planted_group, "no array"),
        (unfinished, "without the attribute 'contents'"),
        (other_contents, "table of contents"),
        (other_key, "another key"),
        (key_of_bytes, "without the attribute 'key'"),
        (other_type, "'anndata'"),
        (newer_version, "version '3'"),
        (no_version, "without the attribute 'encoding-version'"),
    ],
)
def test_a_file_that_is_not_ours_in_every_respect_is_removed_and_built_again(
    cache: Cache, told: Told, change, why: str
) -> None:
    path = replant(cache, change)
    assert cache.get(KEY) is None
    assert not path.exists()
    assert len(told) == 1
    assert str(path) in told[0]
    assert why in told[0]
    store(cache)
    with cache.get(KEY) as entry:
        np.testing.assert_array_equal(entry.read("x"), np.arange(100))


def test_external_storage_would_have_read_the_other_file(cache: Cache) -> None:
    """The planted file is a real offence: plain h5py reads the secret through it."""
    with h5py.File(replant(cache, planted_external)) as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(100))


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all" * 99], ids=["empty", "other"])
def test_a_file_of_another_format_is_removed(cache: Cache, told: Told, content: bytes) -> None:
    path = store(cache)
    path.write_bytes(content)
    assert cache.get(KEY) is None
    assert not path.exists()
    assert len(told) == 1


def test_a_file_cut_short_anywhere_is_never_an_entry(cache: Cache, told: Told) -> None:
    path = store(cache, size=5000)
    whole = path.read_bytes()
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        assert cache.get(KEY) is None, length
    assert told


def test_one_changed_byte_anywhere_is_never_an_entry(cache: Cache, told: Told) -> None:
    path = store(cache, size=5)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        assert cache.get(KEY) is None, position
        assert not path.exists()
    assert len(told) == len(whole)


def test_a_file_without_a_digest_is_no_entry(cache: Cache, told: Told) -> None:
    path = store(cache)
    path.write_bytes(split_digest(path.read_bytes())[0])
    assert cache.get(KEY) is None
    assert "without a digest" in told[0]


def test_damage_found_while_reading_removes_the_file_and_says_what_to_do(cache: Cache) -> None:
    path = store(cache, size=5000)
    changed = bytearray(path.read_bytes())
    start = changed.index(np.arange(256, dtype=np.uint8).tobytes())
    changed[start + 100] ^= 1
    with cache.get(KEY) as entry:
        path.write_bytes(changed)
        with pytest.raises(CacheError, match=r"damaged .*run again"):
            entry.read("x")
    assert not path.exists()


def test_a_symlink_is_no_entry_and_its_target_stays(cache: Cache, told: Told) -> None:
    path = store(cache)
    target = path.rename(path.parent.parent / "elsewhere.h5")
    path.symlink_to(target)
    assert cache.get(KEY) is None
    assert target.exists()
    assert "not a regular file" in told[0]


def test_a_folder_in_the_place_of_an_entry_is_reported_and_survived(
    cache: Cache, told: Told
) -> None:
    path = store(cache)
    path.unlink()
    path.mkdir()
    assert cache.get(KEY) is None
    assert "cannot remove it" in told[0]
    store(cache)  # the rename fails, the caller does not
    assert len(told) == 2
    assert path.is_dir()


def test_a_file_that_may_not_be_opened_is_left_alone(
    cache: Cache, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(cache)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(h5py, "File", refuse)
    assert cache.get(KEY) is None
    assert cache.get(KEY) is None
    assert path.exists()
    assert len(told) == 1
    assert "Permission denied" in told[0]


def test_an_entry_is_read_whoever_holds_a_lock_on_it(cache: Cache, told: Told) -> None:
    """Some network file systems refuse all locks, which looks the same to HDF5."""
    fcntl = pytest.importorskip("fcntl")
    with store(cache).open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with cache.get(KEY) as entry:
            assert entry.shape("x") == (100,)
    assert told == []
