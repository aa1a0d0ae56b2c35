"""Run a command in a process of its own, with its CPU time and its peak memory."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

from benchmarks.measuring.fresh_process import ROOT


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended.

    Attributes:
        exit_code: Its exit code.
        output: What it wrote to standard output and standard error.
        cpu_seconds: The processor time of all its threads, user and system.
        peak_bytes: The largest resident memory of the process.
    """

    exit_code: int
    output: str
    cpu_seconds: float
    peak_bytes: int


def run_command(command: Sequence[str]) -> Finished:
    """Run a command in the root of the repository and wait for its end."""
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        # the process has been waited for here; Popen must not wait for it again
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return Finished(
            process.returncode,
            output.read(),
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss << 10,
        )
