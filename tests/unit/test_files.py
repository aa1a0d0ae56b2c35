"""Files are written whole or not at all."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frivkit import files
from frivkit.errors import FrivkitError, ModelError
from frivkit.files import (
    HOST,
    check_writable,
    is_special,
    remove_abandoned,
    replace_file,
    temporary_name,
    write_file,
)

FULL = OSError(28, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def raising(error: BaseException):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_new_and_former_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_file(path, b"first")
    umask = os.umask(0)
    os.umask(umask)
    assert (path.read_bytes(), mode(path)) == (b"first", 0o666 & ~umask)
    path.chmod(0o600)
    write_file(path, b"second")
    assert (path.read_bytes(), mode(path)) == (b"second", 0o600)
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interruption"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [(Path, "open"), (os, "fsync"), (Path, "replace")],
    ids=["write", "sync", "rename"],
)
def test_failure_at_any_step_leaves_the_former_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner, step: str, error: BaseException
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"former")
    wanted = ModelError if error is FULL else KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, raising(error))
        with pytest.raises(wanted) as caught:
            write_file(path, b"new", ModelError)
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["a.json"]
    if error is FULL:
        assert str(caught.value) == f"{path} cannot be written: No space left on device"


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_disk_that_fills_up_in_the_middle_leaves_the_former_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"former")
    script = """
import resource, signal, sys
from pathlib import Path
from frivkit.files import write_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_file(Path("a.json"), bytes(5000))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "a.json cannot be written: File too large" in done.stderr.splitlines()[-1]
    assert (tmp_path / "a.json").read_bytes() == b"former"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by signal 0")
def test_temporary_files_of_killed_processes_go_when_the_file_is_written_again(
    tmp_path: Path,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = temporary_name(tmp_path / "a.json")
    dead = mine.with_name(mine.name.replace(f".{os.getpid()}-", f".{gone.pid}-"))
    remote = dead.with_name(dead.name.replace(f"-{HOST}", "-01234567"))
    other = dead.with_name(dead.name.replace("a.json", "b.json"))
    old = remote.with_name(remote.name.replace("-01234567", "-76543210"))
    for path in (mine, dead, remote, other, old, tmp_path / ".a.json.tmp"):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    write_file(tmp_path / "a.json", b"whole")
    assert set(names(tmp_path)) == {
        "a.json", ".a.json.tmp", mine.name, remote.name, other.name
    }  # fmt: skip


def test_system_that_cannot_sync_a_folder_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = files.sync
    monkeypatch.setattr(
        files, "sync", lambda path: raising(FULL)() if path.is_dir() else sync(path)
    )
    replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"former")
    (tmp_path / "link").symlink_to("target")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert is_special(pipe)
    got: list[bytes] = []
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, b"through")
        got.append(os.read(reader, 100))
    finally:
        os.close(reader)
    assert got == [b"through"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1"])
def test_stream_that_is_redirected_to_a_file_keeps_its_place(tmp_path: Path, place: str) -> None:
    """Neither is the file behind the stream replaced, nor is what came before written over."""
    if not Path(place).exists():
        pytest.skip("this system has no such file")
    script = (
        "from pathlib import Path\nfrom frivkit.files import write_file\nprint('before')\n"
        f"write_file(Path('{place}'), b'content\\n')\nprint('behind')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\ncontent\nbehind\n"


@pytest.mark.parametrize("place", ["missing/a", "file/a", "folder", "a" * 300])
def test_place_that_cannot_be_written_is_noticed_beforehand(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for function in (check_writable, lambda path, error: write_file(path, b"", error)):
        with pytest.raises(ModelError, match="cannot be written: "):
            function(tmp_path / place, ModelError)
    assert names(tmp_path) == ["file", "folder"]


def test_check_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"former")
    for name in ("a", "b"):
        check_writable(tmp_path / name)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"former"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for function in (check_writable, lambda path: write_file(path, b"")):
            with pytest.raises(FrivkitError, match="cannot be written: Permission denied"):
                function(tmp_path / "a")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_limit_on_the_size_of_files_is_known():
    script = """
import resource
from frivkit.files import largest_file
print(largest_file())
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
print(largest_file())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "5000"]


def test_abandoned_folder_is_removed_with_what_is_in_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = temporary_name(tmp_path / "m.onnx")
    left = mine.with_name(mine.name.replace(f".{os.getpid()}-", f".{process.pid}-"))
    for folder in (mine, left):
        folder.mkdir()
        (folder / "m.onnx").touch()
    remove_abandoned(tmp_path / "m.onnx")
    assert (mine.exists(), left.exists()) == (True, False)
