"""The suite ``kills``: runs that are killed, and whether another run makes good all of it.

Half of the trials send SIGKILL at a random moment, a quarter at a random file operation, and the
others send SIGTERM or SIGINT at a random moment.  Then no file may be half-written, an earlier
result must be there or be replaced by a whole one, and the same command again must give the results
of an undisturbed run and leave no file that this does not leave.
"""

import atexit
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frivkit.cli import COMMANDS
from reliability.inputs import write_data, write_model, write_recipe
from reliability.running.forked import Limits, run, start
from reliability.running.trials import Trial
from reliability.running.verdict import Verdict, judged

EARLIER = b"an earlier result"
LIMITS = Limits(seconds=120)
PATIENCE = 10.0
"""Seconds within which a signal must end a run."""
DATA = ("--data", "npz:x.npz")
INPUTS = ("net.onnx", "x.npz", "recipe.toml")


def _json(path: Path) -> Any:
    """Return a document without what differs between two runs."""
    return _without(json.loads(path.read_bytes()), {"provenance", "seconds", "latency_ms"})


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, keys) for key, each in value.items() if key not in keys}
    return [_without(each, keys) for each in value] if isinstance(value, list) else value


def _page(path: Path) -> str:
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError(f"{path.name} has no end")
    return "whole"


def _bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _arrays(path: Path) -> dict[str, str]:
    found = {}
    with h5py.File(path, "r") as file:

        def add(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                content = np.asarray(item[()])
                found[name] = hashlib.sha256(content.tobytes()).hexdigest()

        file.visititems(add)
    return found


def _lines(path: Path) -> list[str]:
    rows = [_without(json.loads(line), {"seconds"}) for line in path.read_text().splitlines()]
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def _any(path: Path) -> str:
    json.loads(path.read_text())
    return "whole"


@dataclass(frozen=True, slots=True)
class KilledCommand:
    """A command that is killed.

    Attributes:
        arguments: Its command line.
        outputs: For each file that it writes, a function from the file to what must be equal; it
            raises an error if the file is not whole.
        grows: Whether its outputs grow line by line, so that an unfinished one is no fault.
    """

    arguments: tuple[str, ...]
    outputs: Mapping[str, Callable[[Path], Any]]
    grows: bool = False


ALL = {
    "analyze": KilledCommand(
        (
            *("analyze", "net.onnx", *DATA, "--metric", "prunability", "--metric", "redundancy"),
            *("--json", "result.json", "--report", "page.html", "--units", "map"),
        ),
        {"result.json": _json, "page.html": _page},
    ),
    "activations": KilledCommand(
        ("activations", "net.onnx", *DATA, "-o", "out.h5", "--force", "--memory", "4MB"),
        {"out.h5": _arrays},
    ),
    "compress": KilledCommand(
        (
            *("compress", "net.onnx", *DATA, "-o", "thin.onnx", "--macs", "0.5", "--no-time"),
            *("--json", "result.json", "--report", "page.html"),
        ),
        {"thin.onnx": _bytes, "result.json": _json, "page.html": _page},
    ),
    "train": KilledCommand(
        (
            *("train", "mlp", "--data", "digits?n=400", "--width", "0.25"),
            *("--option", "epochs=4", "-o", "trained.onnx"),
        ),
        {"trained.onnx": _bytes},
    ),
    "sweep": KilledCommand(
        ("sweep", "recipe.toml", "-o", "swept"),
        {"swept/results.jsonl": _lines, "swept/run.json": _any},
        grows=True,
    ),
    "visualize": KilledCommand(
        ("visualize", "net.onnx", "--units", "2", "--seed", "0", "-o", "pictures"), {}
    ),
}
KILLED = {name: command for name, command in ALL.items() if name in COMMANDS}


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
    at.mkdir(parents=True)
    write_model(at / "net.onnx")
    write_data(at / "x.npz")
    write_recipe(at / "recipe.toml")
    references: dict[str, Undisturbed] = {}
    for name, command in KILLED.items():

        def attempt(folder: Path, name: str, command: KilledCommand, number: int) -> Verdict:
            if name not in references:
                references[name] = _undisturbed(command, at, at / name)
            rng = np.random.default_rng([seed, number, *name.encode()])
            return _kill(command, references[name], at, folder, rng)

        for number in range(count):
            yield Trial(name, number, partial(attempt, name=name, command=command, number=number))


def _undisturbed(command: KilledCommand, at: Path, folder: Path) -> Undisturbed:
    _copy_inputs(at, folder)
    counted = folder.with_name(f"{folder.name}-operations")
    ended = start(command.arguments, folder, LIMITS, partial(_watch_operations, counted, 0)).wait()
    assert ended is not None
    if ended.code:
        raise RuntimeError(f"undisturbed, it fails: {ended.err}")
    found = {name: read(folder / name) for name, read in command.outputs.items()}
    return Undisturbed(found, _names(folder), ended.seconds, int(counted.read_text()))


def _kill(
    command: KilledCommand,
    undisturbed: Undisturbed,
    at: Path,
    folder: Path,
    rng: np.random.Generator,
) -> Verdict:
    _copy_inputs(at, folder)
    earlier = not command.grows and rng.random() < 0.5
    if earlier:
        for name in command.outputs:
            (folder / name).write_bytes(EARLIER)
    way = rng.random()
    if way < 0.25:
        number = 1 + int(rng.integers(undisturbed.operations))
        child = start(command.arguments, folder, LIMITS, partial(_watch_operations, None, number))
        sent = signal.SIGKILL
    else:
        child = start(command.arguments, folder, LIMITS)
        sent = signal.SIGKILL if way < 0.75 else signal.SIGTERM if way < 0.875 else signal.SIGINT
        ended = child.wait(float(rng.uniform(0, 1.05 * undisturbed.seconds)))
        if ended is None:
            child.signal(sent)
            ended = child.wait(PATIENCE)
            if ended is None:
                child.wait(0)
                child.signal(signal.SIGKILL)
                child.wait()
                return Verdict("fault", f"{sent.name} did not end it in {PATIENCE:g} s")
    if way < 0.25:
        ended = child.wait()
    assert ended is not None
    if sent == signal.SIGINT and ended.code not in (0, 130, -signal.SIGINT):
        return Verdict("fault", f"exit code {ended.code} on SIGINT: {ended.err[-300:]}")
    if ended.code == 130 and len(ended.err.splitlines()) > 1 + command.grows:
        return Verdict("fault", f"several lines on SIGINT: {ended.err[:300]}")
    half = _half_written(command, undisturbed, folder, earlier=earlier)
    if half:
        return Verdict("fault", half)
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


def _half_written(
    command: KilledCommand, undisturbed: Undisturbed, folder: Path, *, earlier: bool
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


def _copy_inputs(at: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in INPUTS:
        shutil.copy(at / name, folder / name)


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
