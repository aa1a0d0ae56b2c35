"""Writing files whole or not at all.

A file is written under a temporary name in the same folder, put on the disk and renamed.  So a
file of the final name is always complete, and a former file stays as it was if writing fails.
A temporary file that a killed process left is removed when the same file is written again.
"""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from frivkit.errors import FrivkitError

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
_DAY = 86_400.0

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""This host in the names of temporary files: 8 hexadecimal digits."""


def write_file(path: Path, content: bytes, error: type[FrivkitError] = FrivkitError) -> None:
    """Write a file, and turn a failure into one line; see :func:`replace_file`.

    Args:
        path: The file.
        content: All of its bytes.
        error: The class of the error.

    Raises:
        FrivkitError: the file cannot be written, as an ``error``; a former file stays as it was.
    """
    with write_errors(path, error):
        replace_file(path, content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file, and replace a former one of that name only then.

    1. A regular file, or none yet: the content goes to a temporary file in the same folder, which
       is renamed.  Its permissions are those of the former file, else those that the umask gives.
    2. A link stays a link: the file that it points to is replaced.
    3. Anything else (a pipe, ``/dev/null``, ``/dev/stdout``) is written to.

    Raises:
        OSError: the file cannot be written; a former file stays as it was, and no other is left.
    """
    if is_special(path):
        _write_to_special(path, content)
        return
    path = real_path(path)
    remove_abandoned(path)
    temporary = temporary_name(path)
    with removed_on_failure(temporary):
        with temporary.open("xb") as file:  # never through a link that someone put there
            file.write(content)
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        put_in_place(temporary, path)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file once it is on the disk; a former file at ``path`` is replaced.

    Args:
        temporary: The finished file, closed, on the file system of ``path``.
        path: Its final name.

    Raises:
        OSError: it cannot be synced or renamed; then it is still there.
    """
    sync(temporary)
    temporary.replace(path)
    with contextlib.suppress(OSError):  # some systems cannot sync a folder
        sync(path.parent)


def check_writable(path: Path, error: type[FrivkitError] = FrivkitError) -> None:
    """Raise an error, before any work, if a file cannot be written; leave no trace otherwise.

    Raises:
        FrivkitError: the folder is missing or cannot be written to, or the path is a folder; as an
            ``error``.
    """
    with write_errors(path, error):
        if path.is_dir():
            raise error(f"{path} cannot be written: it is a folder; give the name of a file in it")
        if not is_special(path):
            temporary = temporary_name(real_path(path))
            with removed_on_failure(temporary):
                temporary.touch(exist_ok=False)
            temporary.unlink()


def check_kind(path: Path, error: type[FrivkitError] = FrivkitError) -> None:
    """Raise an error if a path is a named pipe, a socket or a disk, to which nothing is written.

    A pipe would wait for its reader, perhaps for ever.  Files, ``/dev/null``, terminals and open
    streams such as ``/dev/stdout`` pass.

    Raises:
        FrivkitError: it is one; as an ``error``.

    Example:
        >>> check_kind(Path("/dev/null"))
    """
    try:
        mode = 0 if _descriptor(path) is not None else path.stat().st_mode
    except OSError:
        return  # it is not there, or cannot be looked at, which is found when it is written
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        raise error(
            f"{path} cannot be written: it is a pipe, a socket or a disk; give a file, or "
            "/dev/stdout to write to another program"
        )


def check_utf8(path: Path, error: type[FrivkitError] = FrivkitError) -> None:
    """Raise an error if the name of a file is no UTF-8, which the libraries of ONNX ask for.

    Raises:
        FrivkitError: it is not; as an ``error``.

    Example:
        >>> check_utf8(Path("nets/größe.onnx"))
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(
            f"{str(path)!a} is no UTF-8, and ONNX cannot open such a path: rename the file or its "
            "folder, or work in that folder and give the name alone"
        ) from None


def sync(path: Path) -> None:
    """Wait until everything written to a file or folder is on the disk.

    Raises:
        OSError: the system cannot do it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes; a pipe or device would wait or never end.

    Raises:
        OSError: the file cannot be opened, or is no regular file.

    Example:
        >>> open_regular(Path("/dev/zero"))
        Traceback (most recent call last):
        OSError: [Errno 22] it is no regular file: '/dev/zero'
    """
    # A pipe without a writer would wait in open() but for O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file; see :func:`open_regular`.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def temporary_name(path: Path) -> Path:
    """Return a new, hidden name in the folder of a file.

    Example:
        >>> temporary_name(Path("nets/model.onnx")).match("nets/.model.onnx.*.tmp")
        True
    """
    unique = f"{os.getpid()}-{HOST}{secrets.token_hex(4)}"
    return path.with_name(f".{path.name[:40]}.{unique}.tmp")


def remove_abandoned(path: Path) -> None:
    """Remove temporary files and folders of ``path`` that killed processes left, if possible."""
    name = re.compile(rf"\.{re.escape(path.name[:40])}\.(\d+)-([0-9a-f]{{8}})[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(path.parent) as items:
        for item in items:
            match = name.fullmatch(item.name)
            if match is None or item.is_symlink():
                continue
            with contextlib.suppress(OSError):
                modified = item.stat(follow_symlinks=False).st_mtime
                if not is_abandoned(int(match[1]), match[2], modified):
                    continue
                if item.is_dir(follow_symlinks=False):
                    shutil.rmtree(item.path)
                elif item.is_file(follow_symlinks=False):
                    Path(item.path).unlink()


def is_abandoned(process: int, host: str, modified: float) -> bool:
    """Whether no process can still be writing a temporary file.

    Args:
        process: The id of the process that created it.
        host: The host of that process, as in :data:`HOST`.
        modified: When it was last written to, in seconds since the epoch; after a day without a
            write it is abandoned whatever became of the process.
    """
    if time.time() - modified > _DAY:
        return True
    if host != HOST or os.name != "posix":
        return (
            False  # signal 0 is harmless on POSIX alone, and reaches processes of this host alone
        )
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # a process of another user
        return False
    return False


@contextlib.contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove a file if the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


@contextlib.contextmanager
def write_errors(path: Path, error: type[FrivkitError] = FrivkitError) -> Iterator[None]:
    """Turn an ``OSError`` of the block into one line that names the file.

    Raises:
        FrivkitError: the block raised an ``OSError``; as an ``error``.
    """
    try:
        yield
    except OSError as failure:
        reason = failure.strerror or failure
        raise error(f"{path} cannot be written: {reason}") from failure


def largest_file() -> int | None:
    """Return the bytes that this process may write to one file (``ulimit -f``), None for any.

    HDF5 2.0.0 crashes the process where a write fails while a file is closed, so what would fail
    is looked for before.
    """
    if sys.platform == "win32":
        return None
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if most == resource.RLIM_INFINITY else most


def real_path(path: Path) -> Path:
    """Return a path without links; a circle of links, unlike in ``Path.resolve``, is no error."""
    return Path(os.path.realpath(path))


def is_special(path: Path) -> bool:
    """Whether a path is written to as it is: it exists and is no regular file, or is a stream.

    Example:
        >>> is_special(Path("/dev/null")), is_special(Path("no/such/file"))
        (True, False)
    """
    return _descriptor(path) is not None or (path.exists() and not path.is_file())


def _descriptor(path: Path) -> int | None:
    """Return the number of an open stream that a path stands for, such as 1 for /dev/stdout."""
    absolute = path.absolute()
    if str(absolute.parent) in _DESCRIPTORS and absolute.name.isdecimal():
        return int(absolute.name)
    return _STREAMS.get(str(absolute))


def _write_to_special(path: Path, content: bytes) -> None:
    number = _descriptor(path)
    if number is None:
        _write_to_device(path, content)
        return
    # To open /dev/stdout anew would begin at the start of a file that the shell redirects it to.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)


def _write_to_device(path: Path, content: bytes) -> None:
    """Write to a device or a pipe; raise an error where a pipe would wait for a reader."""
    flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads this pipe", str(path)) from None
        raise
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
