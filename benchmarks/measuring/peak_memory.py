"""Run a command and sample the memory of its process and of all processes that it starts."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic, sleep

EVERY = 0.02
"""Seconds between two samples."""
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """A command that has ended, and the most memory it was seen to have.

    Attributes:
        exit_code: Its exit code; that of a kill if it went beyond ``most``.
        output: What it wrote to standard output and standard error.
        seconds: How long it ran.
        resident: Bytes of physical memory, pages of files that are mapped included.  Pages that
            several processes share count once.
        private: Bytes of them that belong to no file, which the system cannot drop.
    """

    exit_code: int
    output: str
    seconds: float
    resident: int
    private: int


def measure_peak(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, most: int
) -> PeakMemory:
    """Run a command and return the peak of its memory, all its processes taken together.

    Args:
        command: The command line.
        environment: Its environment.
        folder: Where it runs.
        most: Bytes beyond which it is ended.
    """
    resident = private = 0
    start = monotonic()
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env=dict(environment)
        )
        while process.poll() is None:
            now = [_memory_of(pid) for pid in _tree(process.pid)]
            resident = max(resident, sum(each[0] for each in now))
            private = max(private, sum(each[1] for each in now))
            if resident > most:
                process.kill()
            sleep(EVERY)
        output.seek(0)
        text = output.read()
    return PeakMemory(process.returncode, text, monotonic() - start, resident, private)


def _tree(pid: int) -> list[int]:
    """Return a process and all processes that it started, directly or not."""
    found = [pid]
    for each in found:
        try:
            for task in (_PROC / str(each) / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _memory_of(pid: int) -> tuple[int, int]:
    """Return the resident bytes of a process, its share of shared pages; and those of no file."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    values = {
        name: 1024 * int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)
    }
    return values.get("Pss", 0), values.get("Pss_Anon", 0)
