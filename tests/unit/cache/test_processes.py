"""Several processes, killed ones among them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frivkit.cache import Cache, Key
from frivkit.cache.folder import temporary_path
from tests.cachekit import DAY, KEY, Told, files_in, numbered, store

BUILD = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from frivkit.cache import Cache, Key
    cache = Cache(Path(sys.argv[1]), warn=lambda message: print(message, file=sys.stderr))
    key = Key("m", "d", "", "", "shared")
    print("ready", flush=True)
    sys.stdin.readline()
    with cache.building(key) as entry:
        if entry is None:
            with cache.build(key) as writer:
                for step in range(10):
                    writer.append("x", np.full((100, 1000), step, np.float32))
                    print("wrote", step, flush=True)
                    if step == int(sys.argv[2]):
                        sys.stdin.readline()
            print("built", flush=True)
            entry = cache.get(key)
    with entry:
        print(entry.read("x").sum(), flush=True)
"""
SHARED = Key("m", "d", "", "", "shared")


def started(root: Path, hold: int = -1) -> subprocess.Popen[str]:
    """Start a process that wants the entry; if it builds it, it waits for a word at one step."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILD), str(root), str(hold)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process: subprocess.Popen[str]) -> None:
    """Let a process go on."""
    process.stdin.write("go\n")
    process.stdin.flush()


def test_of_two_processes_that_want_one_key_one_builds_and_both_read(tmp_path: Path) -> None:
    builder, other = started(tmp_path, 0), started(tmp_path)
    tell(builder)
    assert builder.stdout.readline().startswith("wrote")
    tell(other)
    assert other.stderr.readline().startswith("waiting for another process")
    tell(builder)
    results = [process.communicate(timeout=120) for process in (builder, other)]
    assert (builder.returncode, other.returncode) == (0, 0)
    assert ["built" in out for out, _ in results] == [True, False]
    assert [float(out.split()[-1]) for out, _ in results] == [4_500_000.0] * 2


def test_of_two_processes_at_once_one_builds_and_both_read(tmp_path: Path) -> None:
    processes = [started(tmp_path) for _ in range(2)]
    for process in processes:
        tell(process)
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("built" in out for out, _ in results) == 1
    assert [float(out.split()[-1]) for out, _ in results] == [4_500_000.0] * 2
    assert os.listdir(tmp_path) == [f"{SHARED.digest}.h5"]  # noqa: PTH208  # names are compared


@pytest.mark.parametrize("step", [0, 4, 9])
def test_a_killed_writer_leaves_no_entry_no_lock_and_no_litter(
    tmp_path: Path, step: int, told: Told
) -> None:
    process = started(tmp_path, step)
    tell(process)
    for _ in range(step + 1):
        assert process.stdout.readline().startswith("wrote")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    names = os.listdir(tmp_path)  # noqa: PTH208  # names are compared
    assert any(".tmp-" in name for name in names)
    assert not any(name.endswith(".h5") for name in names)

    cache = Cache(tmp_path, warn=told)
    assert files_in(cache) == []
    assert cache.get(SHARED) is None
    with cache.building(SHARED) as entry:
        assert entry is None
        store(cache, SHARED)
    assert cache.get(SHARED) is not None
    assert told == []


def test_a_killed_builder_lets_the_one_that_waits_go_on(tmp_path: Path) -> None:
    first = started(tmp_path, 0)
    tell(first)
    assert first.stdout.readline().startswith("wrote")
    second = started(tmp_path)
    tell(second)
    assert second.stderr.readline().startswith("waiting")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, _ = second.communicate(timeout=120)
    assert second.returncode == 0
    assert "built" in out


def test_of_two_threads_that_want_one_key_one_builds_and_both_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path, warn=Told())
    builds = []

    def wanted(number: int) -> float:
        with cache.building(KEY) as found:
            if found is None:
                with cache.build(KEY) as writer:
                    time.sleep(0.2)
                    writer.put("x", 2.5)
                builds.append(number)
            with found or cache.get(KEY) as entry:
                return float(entry.read("x"))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wanted, range(2))) == [2.5, 2.5]
    assert len(builds) == 1


def test_temporary_files_go_when_their_process_is_gone_or_a_day_is_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = temporary_path(tmp_path, KEY.digest)
    old = temporary_path(tmp_path, KEY.digest)
    dead = Path(str(mine).replace(f"tmp-{os.getpid()}-", f"tmp-{gone.pid}-"))
    host, elsewhere = mine.name.rpartition("-")[2][:8], "0123abcd"
    remote = Path(str(dead).replace(f"-{host}", f"-{elsewhere}"))
    strangers = [tmp_path / name for name in (".x.tmp-1-2", f".{KEY.digest}.tmp", "notes.txt")]
    for path in (mine, old, dead, remote, *strangers):
        path.write_text("")
    os.utime(old, (time.time() - DAY - 60,) * 2)
    Cache(tmp_path)
    assert {path for path in (mine, old, dead, remote) if path.exists()} == {mine, remote}
    assert all(path.exists() for path in strangers)


def test_a_lock_left_behind_does_not_block(cache: Cache, told: Told) -> None:
    store(cache, numbered(1))
    assert cache.root is not None
    (cache.root / f".{KEY.digest}.lock").touch()
    with cache.building(KEY) as entry:
        assert entry is None
    assert told == []
