"""Run the command line in forked processes, so that thousands of runs import the program once.

The process that forks has imported everything and started no thread: it never makes a session of
ONNX Runtime, and never computes with torch.
"""

import atexit
import contextlib
import gc
import importlib
import io
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

MODULES = (
    *(
        f"frivkit.cli.{name}"
        for name in ("activations", "analyze", "cache", "compress", "inspect", "sweep", "verify")
    ),
    "frivkit.cli.train",
    "frivkit.compression.compress",
    "frivkit.experiments.runner",
    "frivkit.measure.pipeline",
    "frivkit.torch_io.module_network",
    "frivkit.torch_io.program_network",
    "frivkit.verification",
    "h5py",
    "jinja2",
    "onnx_ir.passes.common",
    "onnxruntime",
    "onnxscript",
    "PIL.Image",
    "scipy.linalg",
    "sklearn.linear_model",
    "torch",
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GIBIBYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take.

    Attributes:
        seconds: Time on the wall, after which it is killed and counted as a hang.
        cpu: Seconds of processor time, None for any.
        memory: Bytes of address space beyond what the program holds when it starts.
        files: Open files.
        file_bytes: Bytes of any one file.
    """

    seconds: float = 120.0
    cpu: int | None = None
    memory: int | None = 4 * GIBIBYTE
    files: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        code: Its exit code, or minus the signal that ended it.
        hung: Whether it was killed because it had used up its time.
        out: Its standard output.
        err: Its standard error.
        seconds: How long it ran.
    """

    code: int
    hung: bool
    out: str
    err: str
    seconds: float


class Child:
    """A run that was started in a process of its own."""

    def __init__(self, process: int, streams: Path, limits: Limits) -> None:
        """Take over a process whose output goes to the files ``out`` and ``err`` of a folder."""
        self.process = process
        self._streams, self._limits = streams, limits
        self._started = time.monotonic()

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, number)

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Wait for the end.

        Args:
            seconds: How long to wait for the process to end by itself, which is then left alone;
                None for the limit, after which it is killed with all that it started.

        Returns:
            How it ended, None if it goes on.
        """
        rest = self._started + self._limits.seconds - time.monotonic()
        ended = self._ends_within(rest if seconds is None else seconds)
        if not ended and seconds is not None:
            return None
        took = time.monotonic() - self._started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)  # and whatever it left behind
        _, status = os.waitpid(self.process, 0)
        out, err = (_text(self._streams / name) for name in ("out", "err"))
        return Ended(os.waitstatus_to_exitcode(status), not ended, out, err, took)

    def _ends_within(self, seconds: float) -> bool:
        descriptor = os.pidfd_open(self.process)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(max(0.0, 1000 * seconds)))
        finally:
            os.close(descriptor)


def warm(modules: Iterable[str] = MODULES) -> None:
    """Import what runs need, once; to be called before anything else imports numpy."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    for name in modules:
        importlib.import_module(name)
    from frivkit.hooks.registry import installed

    registry = installed()
    for hook in ("data_sources", "metrics", "model_providers", "planners", "architectures"):
        for name in registry.offers(hook):
            registry.load(hook, name)
    gc.collect()
    gc.freeze()  # so that a collection in a child does not copy every page


def run(arguments: Iterable[object], folder: Path, limits: Limits | None = None) -> Ended:
    """Run a command in a folder to its end."""
    ended = start(arguments, folder, limits).wait()
    assert ended is not None, "only a wait for some seconds can be in vain"
    return ended


def start(
    arguments: Iterable[object],
    folder: Path,
    limits: Limits | None = None,
    prepare: Callable[[], None] | None = None,
) -> Child:
    """Start a command in a folder.

    Home, temporary files and the cache of the run are folders beside it, the same for all runs of
    one folder.

    Args:
        arguments: The command line without the name of the program.
        folder: The working folder.
        limits: What it may take.
        prepare: Called in the new process before the command, to change its surroundings.
    """
    limits = limits or Limits()
    around = folder.with_name(f"{folder.name}-around")
    for name in ("home", "tmp"):
        (around / name).mkdir(parents=True, exist_ok=True)
    streams = Path(tempfile.mkdtemp(prefix="streams-", dir=around))
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _become(list(map(str, arguments)), folder, around, streams, limits, prepare)
    return Child(process, streams, limits)


def call(work: Callable[[], None]) -> None:
    """Call a function in a forked process, for what would start threads in this one.

    Raises:
        RuntimeError: it failed; its traceback is on standard error.
    """
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    if status:
        raise RuntimeError(f"{work} failed in a process of its own")


def _become(
    arguments: list[str],
    folder: Path,
    around: Path,
    streams: Path,
    limits: Limits,
    prepare: Callable[[], None] | None,
) -> NoReturn:
    """Be the program: what the interpreter does from its start to its end, but for the imports."""
    code = 1
    try:
        for finalizer in list(weakref.finalize._registry):
            finalizer.detach()  # or the temporary folders of the parent would be removed here
        os.setsid()
        os.chdir(folder)
        _redirect(streams)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        names = {"HOME": "home", "TMPDIR": "tmp", "FRIVKIT_CACHE_DIR": "cache"}
        os.environ.update({name: str(around / where) for name, where in names.items()})
        os.environ.pop("XDG_CACHE_HOME", None)
        tempfile.tempdir = None
        _limit(limits)
        if prepare:
            prepare()
        code = _run_main(arguments)
        atexit._run_exitfuncs()
        code = _flush() or code
    except BaseException:
        traceback.print_exc()
        _flush()
    finally:
        os._exit(code)


def _run_main(arguments: list[str]) -> int:
    from frivkit.cli import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # what the interpreter would print
        traceback.print_exc()
        return 1


def _flush() -> int:
    """Flush both streams; return the exit code of an interpreter that cannot."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return 120
    return 0


def _redirect(streams: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
            encoding="utf-8",
            line_buffering=number == 2,
        )
        for number in (1, 2)
    )


def _limit(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for kind, most in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        if most is not None:
            resource.setrlimit(kind, (most, most))


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
