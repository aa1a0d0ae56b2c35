"""An attack, and how it is told whether it came to anything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reliability.inputs import SIDE, write_data
from reliability.running.forked import GIBIBYTE, Ended, Limits, start
from reliability.running.verdict import Verdict, judged
from tests.program import write_cnn

SECRET = "the-token-of-the-secret-e0a1f6"  # noqa: S105  # of nothing
HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\nfrivkit: all is well\r\u202e<script>alert(1)</script>\"'>"
"""A name that commands a terminal, begins a line of its own and opens a tag."""

Plant = Callable[[Path], Sequence[str]]
Check = Callable[[Path, Ended], str | None]

LIMITS = Limits(seconds=60, cpu=40, memory=3 * GIBIBYTE)
LITTLE = Limits(seconds=60, cpu=40, memory=300 << 20)
"""Less memory than what is unpacked takes."""


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack.

    Attributes:
        plant: Writes its files into a folder, and returns the command line of the victim.
        refused: Whether the command must fail, not only come to no harm.
        check: Looks for harm beyond what :func:`attempt` looks for.
        prepare: Changes the surroundings of the victim; its argument is the folder.
        limits: What the victim may take.
    """

    plant: Plant
    refused: bool = False
    check: Check | None = None
    prepare: Callable[[Path], None] | None = None
    limits: Limits = field(default_factory=lambda: LIMITS)


def attempt(folder: Path, attack: Attack) -> Verdict:
    """Attack a run in a folder beside one that it must leave alone.

    ``outside/`` holds secrets, as text, numbers and HDF5.  Nothing of them may be in what the run
    writes, nothing in it may change, nothing may be run (which would write ``pwned``), and no name
    may reach a terminal or a page as anything but text.
    """
    outside = _write_outside(folder)
    write_cnn(folder / "net.onnx", 6, SIDE)
    write_data(folder / "x.npz", examples=40)
    command = attack.plant(folder)
    planted = {path.name for path in folder.rglob("*")}
    before = _contents(outside)
    child = start(
        command,
        folder,
        attack.limits,
        (lambda: attack.prepare(folder)) if attack.prepare else None,
    )
    ended = child.wait()
    verdict = judged(ended)
    fault = verdict.fault or (attack.check(folder, ended) if attack.check else None)
    if fault is None and attack.refused and ended.code == 0:
        fault = "it was not refused"
    fault = fault or _harm(folder, ended, planted)
    if fault is None and _contents(outside) != before:
        fault = "files outside were changed"
    return Verdict("fault", fault, verdict.told) if fault else verdict


def _write_outside(folder: Path) -> Path:
    import h5py
    import numpy as np

    outside = folder.with_name("outside")
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET * 200)
    numbers = np.frombuffer((SECRET * 200).encode()[:4096], np.float32)
    (outside / "secret.bin").write_bytes(numbers.tobytes())
    np.save(outside / "secret.npy", numbers)
    with h5py.File(outside / "secret.h5", "w") as file:
        file["x"] = np.full((40, 1, 12, 12), 7.5, np.float32)
    return outside


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _harm(folder: Path, ended: Ended, planted: set[str]) -> str | None:
    if any(path.name == "pwned" for path in folder.parent.rglob("*")):
        return "code was run"
    written = [path for path in folder.rglob("*") if path.name not in planted and _is_file(path)]
    told = [ended.out.encode(), ended.err.encode(), *(path.read_bytes() for path in written)]
    if any(SECRET.encode() in each for each in told):
        return "the secret is in what was written"
    for path in written:
        if path.suffix in (".html", ".svg") and b"<script>alert" in path.read_bytes():
            return f"a name is code in {path.name}"
    return None


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
