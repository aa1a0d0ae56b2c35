"""The suite ``starvation``: too little disk, memory or descriptors, no home, no streams.

Every run must end with exit code 0 or with one line, leave what was there before, and leave nothing
half-written.  Situations that need mounts are tried as root only.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reliability.commands import WRITING, WritingCommand
from reliability.inputs import copy_inputs, write_inputs
from reliability.running.forked import Limits, start
from reliability.running.trials import Trial
from reliability.running.verdict import Verdict, judged

MEBIBYTE = 1 << 20
EARLIER = b"an earlier result"
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What a run lacks.

    Attributes:
        limits: Its limits.
        prepare: Changes the surroundings of the new process; its argument is the working folder.
        mount: Options of the file system that its working folder is moved to, None for none.
        blind: Whether standard error goes elsewhere, so that nothing can be read from it.
        says: Words of which a refusal must contain one.
    """

    limits: Limits = field(default_factory=lambda: Limits(seconds=SECONDS))
    prepare: Callable[[Path], None] | None = None
    mount: str | None = None
    blind: bool = False
    says: tuple[str, ...] = ()


def trials(seed: int, count: int, at: Path) -> Iterator[Trial]:
    """Yield the trials of this suite: ``count`` of each command in each situation."""
    del seed  # nothing is drawn
    write_inputs(at)
    for name, situation in SITUATIONS.items():
        for command, writing in WRITING.items():
            for number in range(count):
                run = partial(_attempt, at=at, situation=situation, command=writing)
                yield Trial(_group(name), f"{name}, {command}, {number}", run)


def _group(name: str) -> str:
    return name.partition(":")[0]


def _attempt(folder: Path, at: Path, situation: Situation, command: WritingCommand) -> Verdict:
    if situation.mount is not None and os.geteuid() != 0:
        return Verdict("not root")
    copy_inputs(at, folder)
    with _mounted(folder, at, situation.mount):
        if not command.grows:
            for name in command.outputs:
                with contextlib.suppress(OSError):
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_bytes(EARLIER)
        if situation.mount is not None and "size" in situation.mount:
            _fill(folder)
        if situation.mount == "ro":
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        prepare = partial(situation.prepare, folder) if situation.prepare else None
        ended = start(command.arguments, folder, situation.limits, prepare).wait()
        verdict = judged(ended)
        fault = verdict.fault
        if situation.blind and fault == "nothing said about a failure":
            fault, verdict = None, Verdict("refused", None, verdict.told)
        if fault is None and verdict.outcome == "refused" and situation.says:
            told = verdict.told.lower()
            fault = None if any(w in told for w in situation.says) else f"says {verdict.told}"
        fault = fault or _damaged(folder, command, refused=ended.code != 0)
    return Verdict("fault", fault, verdict.told) if fault else verdict


def _damaged(folder: Path, command: WritingCommand, *, refused: bool) -> str | None:
    """Return which output is neither the earlier nor a whole one, or what was left behind."""
    for name, read in command.outputs.items():
        path = folder / name
        if not path.exists():
            if not refused and not command.grows:
                return f"done, and there is no {name}"
            continue
        if command.grows or path.read_bytes() == EARLIER:
            continue
        try:
            read(path)
        except Exception as error:
            return f"{name} is half-written: {type(error).__name__}: {error}"
    left = [path.name for path in folder.rglob(".*.tmp")]
    return f"left behind: {left[0]}" if left else None


@contextlib.contextmanager
def _mounted(folder: Path, at: Path, options: str | None) -> Iterator[None]:
    """Mount a small file system over the working folder, with the inputs in it."""
    if options is None:
        yield
        return
    size = options if "size" in options else "size=8m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        copy_inputs(at, folder)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path) -> None:
    """Fill the disk up to its last 8 KiB."""
    with (folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with (folder / "ballast").open("r+b") as file:
        file.truncate(max(0, (folder / "ballast").stat().st_size - 8192))


def _environment(folder: Path, **changes: str | None) -> None:
    """Change the environment; ``FRIVKIT_CACHE_DIR`` goes, so that the home folder counts."""
    del folder
    os.environ.pop("FRIVKIT_CACHE_DIR", None)
    for name, value in changes.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _cache_in_folder(folder: Path) -> None:
    os.environ["FRIVKIT_CACHE_DIR"] = str(folder / "cache")


def _closed(folder: Path, streams: tuple[str, ...]) -> None:
    """Close streams as a shell does by ``>&-``."""
    del folder
    for name in streams:
        os.close(getattr(sys, name).fileno())
        setattr(sys, name, None)


def _onto(folder: Path, streams: tuple[str, ...], place: str) -> None:
    """Let streams write to a device, or to a pipe that nobody reads."""
    del folder
    if place == "pipe":
        source, descriptor = os.pipe()
        os.close(source)
    else:
        descriptor = os.open(place, os.O_WRONLY)
    for name in streams:
        os.dup2(descriptor, getattr(sys, name).fileno())


def _leave(folder: Path) -> None:
    """Work in a folder that has been removed."""
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


FULL = ("no space left", "too large", "take", "free", "files may have")
SITUATIONS = {
    "disk: full": Situation(mount="size=512k", says=FULL),
    "disk: full, cache on it": Situation(mount="size=512k", prepare=_cache_in_folder, says=FULL),
    "disk: files of 1 KiB at most": Situation(Limits(SECONDS, file_bytes=1024), says=FULL),
    "disk: files of 20 KiB at most": Situation(Limits(SECONDS, file_bytes=20_480), says=FULL),
    **{
        f"memory: {size} MiB more": Situation(
            Limits(SECONDS, memory=size * MEBIBYTE), says=("memory",)
        )
        for size in (4, 16, 32, 64, 128, 256)
    },
    **{
        f"descriptors: {count}": Situation(Limits(SECONDS, files=count))
        for count in (6, 8, 12, 16, 24)
    },
    "read-only: the working folder": Situation(mount="ro"),
    "read-only: its cache too": Situation(mount="ro", prepare=_cache_in_folder),
    "no home: unset": Situation(prepare=partial(_environment, HOME=None)),
    "no home: missing": Situation(prepare=partial(_environment, HOME="/nowhere/home")),
    "no home: a file": Situation(prepare=partial(_environment, HOME="/dev/null")),
    "no temporary folder": Situation(
        prepare=partial(_environment, TMPDIR="/nowhere/tmp", TEMP=None, TMP=None)
    ),
    "streams: no stdout": Situation(prepare=partial(_closed, streams=("stdout",))),
    "streams: no stderr": Situation(prepare=partial(_closed, streams=("stderr",)), blind=True),
    "streams: none": Situation(
        prepare=partial(_closed, streams=("stdin", "stdout", "stderr")), blind=True
    ),
    "streams: full stdout": Situation(
        prepare=partial(_onto, streams=("stdout",), place="/dev/full")
    ),
    "streams: full stderr": Situation(
        prepare=partial(_onto, streams=("stderr",), place="/dev/full"), blind=True
    ),
    "streams: closed pipe": Situation(
        prepare=partial(_onto, streams=("stdout",), place="pipe"), blind=True
    ),
    "working folder is gone": Situation(prepare=_leave),
}
