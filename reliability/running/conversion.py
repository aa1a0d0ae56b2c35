"""Conversion of torch files in a fork: the child process of a run without its start-up."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 30.0


def convert_in_a_fork() -> None:
    """Let runs convert torch files in a forked process, which has imported torch already.

    It replaces the start of an interpreter and nothing else: the child has the same working folder,
    session, streams and limits.
    """
    from frivkit_torchscript import child

    child._run = _run


def _run(folder: Path, limit: float, path: Path) -> int:
    del path
    process = os.fork()
    if process == 0:
        _convert(folder)
    until = time.monotonic() + min(limit, SECONDS)
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
    except BaseException:
        os.kill(process, signal.SIGKILL)
        raise
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGKILL


def _convert(folder: Path) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)))
        tempfile.tempdir = None
        source, sink = os.pipe()
        os.dup2(source, 0)  # which would end if the parent did
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        del sink
        from frivkit_torchscript.convert import main

        main(folder)
        code = 0
    except BaseException:
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)
