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
        for name in ("activations", "advise", "analyze", "cache", "compress", "frontier", "inspect")
    ),
    *(f"frivkit.cli.{name}" for name in ("sweep", "train", "verify")),
    "frivkit.advice",
    "frivkit.compression.frontier",
    "frivkit.compression.compress",
    "frivkit.experiments.runner",
    "frivkit.measure.pipeline",
    "frivkit.torch_io.module_network",
    "frivkit.torch_io.program_network",
    "frivkit.torch_io.from_onnx.to_torch",
    "frivkit.verification",
    "frivkit_featurevis.command",
    "frivkit_featurevis.work",
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

    def __init__(self, process: int, streams: tuple[int, int], limits: Limits) -> None:
        """Take over a process and the pipes of its standard output and standard error."""
        self.process = process
        self._limits = limits
        self._started = time.monotonic()
        self._told: dict[int, list[bytes]] = {stream: [] for stream in streams}
        for stream in streams:
            os.set_blocking(stream, False)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, number)

    def wait(self) -> Ended:
        """Wait for the end, and kill it with all that it started once its time is used up."""
        ended = self._ends_within(self._started + self._limits.seconds - time.monotonic())
        return self._finish(hung=not ended)

    def wait_for(self, seconds: float) -> Ended | None:
        """Wait for some time; return how it ended, None if it goes on."""
        return self._finish(hung=False) if self._ends_within(seconds) else None

    def _finish(self, *, hung: bool) -> Ended:
        took = time.monotonic() - self._started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)  # and whatever it left behind
        _, status = os.waitpid(self.process, 0)
        out, err = (self._rest(stream) for stream in self._told)
        return Ended(os.waitstatus_to_exitcode(status), hung, out, err, took)

    def _ends_within(self, seconds: float) -> bool:
        """Read what the process says until it ends or the time is over."""
        until = time.monotonic() + seconds
        descriptor = os.pidfd_open(self.process)
        poll = select.poll()
        for each in (descriptor, *self._told):
            poll.register(each, select.POLLIN)
        try:
            while True:
                events = poll.poll(max(0.0, 1000 * (until - time.monotonic())))
                for ready, _ in events:
                    if ready == descriptor:
                        return True
                    if not self._read(ready):
                        poll.unregister(ready)
                if not events:
                    return False
        finally:
            os.close(descriptor)

    def _read(self, stream: int) -> bool:
        """Read what is there; return whether more may come."""
        with contextlib.suppress(BlockingIOError):
            content = os.read(stream, 1 << 16)
            self._told[stream].append(content)
            return bool(content)
        return True

    def _rest(self, stream: int) -> str:
        with contextlib.suppress(BlockingIOError):
            while content := os.read(stream, 1 << 16):
                self._told[stream].append(content)
        os.close(stream)
        return b"".join(self._told[stream]).decode(errors="replace")


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
    return start(arguments, folder, limits).wait()


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
    pipes = [os.pipe() for _ in range(2)]
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        writing = tuple(each for _, each in pipes)
        _become(list(map(str, arguments)), folder, around, writing, limits, prepare=prepare)
    for _, writing in pipes:
        os.close(writing)
    return Child(process, (pipes[0][0], pipes[1][0]), limits)


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
    streams: tuple[int, ...],
    limits: Limits,
    *,
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
        code = code or _flush()
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
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return 120
    return 0


def _redirect(streams: tuple[int, ...]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    os.closerange(3, 256)  # the parent's, which count among the descriptors that a run may have
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
