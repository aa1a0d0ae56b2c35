"""Writing that fails: full, read-only and missing disks."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from frivkit import files as files_module
from frivkit.cache import Cache
from frivkit.cache import writer as writer_module
from tests.cachekit import KEY, Told, files_in, numbered, store


def test_an_exception_in_the_block_keeps_nothing_and_passes(cache: Cache, told: Told) -> None:
    def fail(error: type[BaseException]) -> None:
        with cache.build(KEY) as writer:
            writer.append("x", np.ones((5000, 100)))
            raise error

    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            fail(error)
        assert files_in(cache) == []
    assert told == []


def test_a_failed_rebuild_leaves_the_entry_that_was_there(cache: Cache) -> None:
    path = store(cache)
    before = path.read_bytes()
    with pytest.raises(TypeError), cache.build(KEY) as writer:
        writer.put("x", "text")
    assert path.read_bytes() == before


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("Unable to flush (file write failed: time = today\n, errno = 28, error")


@pytest.mark.parametrize("failure", [full, broken])
@pytest.mark.parametrize(
    "broken_step",
    [
        (h5py, "File"),
        (h5py.Group, "create_dataset"),
        (h5py.Dataset, "__setitem__"),
        (h5py.Dataset, "resize"),
        (h5py.File, "flush"),
        (h5py.File, "close"),
        (files_module, "sync"),
        (Path, "replace"),
    ],
    ids=lambda step: step[1],
)
def test_a_full_disk_at_any_step_is_said_once_and_the_work_goes_on(
    cache: Cache, told: Told, monkeypatch: pytest.MonkeyPatch, broken_step, failure
) -> None:
    rows = np.ones((100, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(*broken_step, failure)
        for number in range(2):
            done = 0
            with cache.build(numbered(number)) as writer:
                for _ in range(5):
                    writer.append("x", rows)
                    done += 1
            assert done == 5
            assert not writer.alive
    assert told == [
        f"cannot write to the cache in {cache.root} (No space left on device); going on without"
    ]
    assert files_in(cache) == []
    assert cache.get(KEY) is None
    store(cache)
    assert cache.get(KEY) is not None


def test_a_disk_that_is_nearly_full_is_left_its_last_bytes(
    cache: Cache, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 20 << 20
    monkeypatch.setattr(
        writer_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})
    )
    store(cache)
    assert told == []
    with cache.build(numbered(1)) as writer:
        writer.put("x", np.zeros(5 << 20, np.uint8))
    assert not writer.alive
    assert len(told) == 1


def test_a_root_that_cannot_be_made_costs_one_warning(tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache", warn=told)
    for _ in range(2):
        with cache.building(KEY) as entry:
            assert entry is None
            with cache.build(KEY) as writer:
                writer.put("x", 1)
    assert len(told) == 1
    assert "Not a directory" in told[0]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "mount"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


FILL = """
    import shutil, sys
    from pathlib import Path
    import numpy as np
    from frivkit.cache import Cache, Key, writer
    writer.RESERVE_BYTES = int(sys.argv[2])
    cache = Cache(Path(sys.argv[1]), warn=lambda message: print(message))
    key = Key("m", "d", "", "", "full")
    with cache.build(key) as w:
        for step in range(20):
            w.append("x", np.full((300, 100), step, np.float32))
            w.append("y", np.full((3, 1000), step, np.float64))
        w.put("z", np.ones(1000))
    print(shutil.disk_usage(cache.root).used)
    print("alive" if cache.get(key) else "dead")
"""


@pytest.mark.slow
def test_a_really_full_disk_neither_kills_the_process_nor_leaves_anything(mount: Path) -> None:
    """Sizes step through the whole file by pages, so the disk fills at each kind of write."""
    python(FILL, str(mount), "0")
    (whole,) = mount.iterdir()
    end = whole.stat().st_size // 1024
    whole.unlink()
    outcomes = set()
    for kib in [4, 8, 64, 1024, 1040, 2048, *range(end - 40, end + 20, 4)]:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(mount)], check=True)
        done = python(FILL, str(mount), "0")
        assert done.returncode == 0, (kib, done)
        assert done.stderr == "", kib
        *said, used, outcome = done.stdout.splitlines()
        outcomes.add(outcome)
        left = [path.name for path in mount.iterdir()]
        if outcome == "dead":
            assert said == [
                f"cannot write to the cache in {mount} (No space left on device); going on without"
            ]
            assert left == []
            assert int(used) <= 64 << 10  # the process still runs, and yet gave the space back
        else:
            assert len(left) == 1
            (mount / left[0]).unlink()
    assert outcomes == {"dead", "alive"}


def test_a_read_only_cache_is_read_and_not_written(mount: Path, told: Told) -> None:
    store(Cache(mount))
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    cache = Cache(mount, warn=told)
    with cache.get(KEY) as entry:
        assert entry.shape("x") == (100,)
    assert told == []
    with cache.building(numbered(2)) as found:
        assert found is None
        store(cache, numbered(2))
    assert len(told) == 1
    assert "Read-only file system" in told[0]


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("limit", [1024, 100_000])
def test_a_limit_on_the_size_of_files_costs_one_line_and_no_crash(
    tmp_path: Path, limit: int
) -> None:
    """HDF5 2.0.0 would end the process by SIGSEGV when it closes a file that cannot be written."""
    script = f"""
    import resource
    from pathlib import Path
    import numpy as np
    from frivkit.cache import Cache, Key
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    cache = Cache(Path("cache"), warn=print)
    with cache.build(Key("m", "d", "", "", "large")) as writer:
        writer.append("x", np.ones((1000, 100)))
    print(list(Path("cache").iterdir()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    line, left = done.stdout.splitlines()
    assert f"files may have {limit} bytes at most" in line
    assert left == "[]"
