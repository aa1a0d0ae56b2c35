"""The suite ``kills``: runs that are killed, and whether another run makes good all of it.

Half of the trials send SIGKILL at a random moment, a quarter at a random file operation, and the
others send SIGTERM or SIGINT at a random moment.  Then no file may be half-written, an earlier
result must be there or be replaced by a whole one, and the same command again must give the results
of an undisturbed run and leave no file that this does not leave.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reliability.commands import WRITING, WritingCommand
from reliability.inputs import copy_inputs, write_inputs
from reliability.running.forked import Ended, Limits, run, start
from reliability.running.trials import Trial
from reliability.running.verdict import Verdict, judged

EARLIER = b"an earlier result"
LIMITS = Limits(seconds=120)
PATIENCE = 10.0
"""Seconds within which a signal must end a run."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A run that nothing disturbed.

    Attributes:
        found: What its outputs hold.
        files: The names of all files after it.
        seconds: How long it took.
        operations: How many file operations it made.
    """

    found: Mapping[str, Any]
    files: frozenset[str]
    seconds: float
    operations: int


def trials(seed: int, count: int, at: Path) -> Iterator[Trial]:
    """Yield the trials of this suite, ``count`` of each command.

    Args:
        seed: What all draws begin with.
        count: How many of each command.
        at: Folder for inputs and undisturbed runs.
    """
    write_inputs(at)
    references: dict[str, Undisturbed] = {}
    for name, command in WRITING.items():

        def attempt(folder: Path, name: str, command: WritingCommand, number: int) -> Verdict:
            if name not in references:
                references[name] = _undisturbed(command, at, at / name)
            rng = np.random.default_rng([seed, number, *name.encode()])
            return _kill(command, references[name], at, folder, rng)

        for number in range(count):
            yield Trial(name, number, partial(attempt, name=name, command=command, number=number))


def _undisturbed(command: WritingCommand, at: Path, folder: Path) -> Undisturbed:
    copy_inputs(at, folder)
    counted = folder.with_name(f"{folder.name}-operations")
    ended = start(command.arguments, folder, LIMITS, partial(_watch_operations, counted, 0)).wait()
    if ended.code:
        raise RuntimeError(f"undisturbed, it fails: {ended.err}")
    found = {name: read(folder / name) for name, read in command.outputs.items()}
    return Undisturbed(found, _names(folder), ended.seconds, int(counted.read_text()))


def _kill(
    command: WritingCommand,
    undisturbed: Undisturbed,
    at: Path,
    folder: Path,
    rng: np.random.Generator,
) -> Verdict:
    copy_inputs(at, folder)
    earlier = not command.grows and rng.random() < 0.5
    if earlier:
        for name in command.outputs:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(EARLIER)
    sent, ended = _end_somehow(command, undisturbed, folder, rng)
    fault = _ended_wrongly(sent, ended)
    fault = fault or _half_written(command, undisturbed, folder, earlier=earlier)
    if fault or ended is None:
        return Verdict("fault", fault)
    again = run(command.arguments, folder, LIMITS)
    verdict = judged(again, codes=())
    if verdict.fault or again.code:
        return Verdict("fault", f"run again: {verdict.fault or again.err}", verdict.told)
    for name, read in command.outputs.items():
        if read(folder / name) != undisturbed.found[name]:
            return Verdict("fault", f"run again, {name} is another")
    left = _names(folder) - undisturbed.files
    if left:
        return Verdict("fault", f"left for ever: {sorted(left)[0]}")
    return Verdict("finished first" if ended.code == 0 else sent.name, None, verdict.told)


def _end_somehow(
    command: WritingCommand, undisturbed: Undisturbed, folder: Path, rng: np.random.Generator
) -> tuple[signal.Signals, Ended | None]:
    """Run a command and end it; return the signal, and how it ended, None if it did not."""
    way = rng.random()
    if way < 0.25:
        number = 1 + int(rng.integers(undisturbed.operations))
        watch = partial(_watch_operations, None, number)
        return signal.SIGKILL, start(command.arguments, folder, LIMITS, watch).wait()
    sent = signal.SIGKILL if way < 0.75 else signal.SIGTERM if way < 0.875 else signal.SIGINT
    child = start(command.arguments, folder, LIMITS)
    ended = child.wait_for(float(rng.uniform(0, 1.05 * undisturbed.seconds)))
    if ended is None:
        child.signal(sent)
        ended = child.wait_for(PATIENCE)
    if ended is None:
        child.signal(signal.SIGKILL)
        child.wait()
    return sent, ended


def _ended_wrongly(sent: signal.Signals, ended: Ended | None) -> str | None:
    if ended is None:
        return f"{sent.name} did not end it in {PATIENCE:g} s"
    if ended.code not in (0, -sent, 130 if sent == signal.SIGINT else 0):
        return f"exit code {ended.code} on {sent.name}: {ended.err[-300:]}"
    if ended.code == 130:
        lines = ended.err.splitlines()
        if "interrupted" not in lines[-1] or any(
            not each.startswith("frivkit: ") for each in lines
        ):
            return f"not one line on SIGINT: {ended.err[:300]}"
    return None


def _half_written(
    command: WritingCommand, undisturbed: Undisturbed, folder: Path, *, earlier: bool
) -> str | None:
    """Return what is wrong with the outputs right after a kill."""
    for name, read in command.outputs.items():
        path = folder / name
        if command.grows or (not path.exists() and not earlier):
            continue
        if not path.exists():
            return f"the earlier {name} is gone"
        if earlier and path.read_bytes() == EARLIER:
            continue
        try:
            found = read(path)
        except Exception as error:
            return f"{name} is half-written: {type(error).__name__}: {error}"
        if found != undisturbed.found[name]:
            return f"{name} is another"
    return None


def _names(folder: Path) -> frozenset[str]:
    """Return the names of all files, and of unfinished entries of the cache."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    cache = folder.with_name(f"{folder.name}-around") / "cache"
    return frozenset(names | {path.name for path in cache.glob("*") if path.suffix != ".h5"})


def _watch_operations(counted: Path | None, fatal: int) -> None:
    """Count file operations, and kill this process before one of them.

    Args:
        counted: Where their number is written at the end, if anywhere.
        fatal: The number of the operation, from 1; 0 for none.
    """
    made = 0

    def operation() -> None:
        nonlocal made
        made += 1
        if made == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate") or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            operation()

    def syncing(descriptor: int) -> None:
        operation()
        sync(descriptor)

    sync, os.fsync = os.fsync, syncing
    sys.addaudithook(hook)
    if counted is not None:
        atexit.register(lambda: counted.write_text(str(made)))
