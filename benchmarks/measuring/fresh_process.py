"""Run functions in processes of their own, so that time and peak memory do not depend on others."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measuring.rounds import Json

Workload = tuple[Callable[[], Any], Callable[[Any], Json]]
"""A function that is measured, and a function from its result to JSON that is not."""

ROOT = Path(__file__).parents[2]
PROC = Path("/proc/self")


def run_in_process(
    competitor: str, arguments: Mapping[str, Any], warm_up: Mapping[str, Any]
) -> Json:
    """Run a competitor in a fresh process.

    Args:
        competitor: ``"module:function"``; the function prepares and returns :data:`Workload`.
        arguments: Its arguments, JSON types only.
        warm_up: Arguments of a small run before, so that imports and first allocations are not
            measured.

    Returns:
        The JSON of the competitor, with ``seconds`` and ``bytes``: the peak of resident memory less
        the memory that was resident before (None if the system is not Linux).

    Raises:
        SystemExit: the process fails.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.measuring.fresh_process",
        competitor,
        json.dumps([arguments, warm_up]),
    ]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if process.returncode:
        raise SystemExit(f"{competitor} failed:\n{process.stderr}")
    result: Json = json.loads(process.stdout.splitlines()[-1])  # others may print before
    return result


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    arguments, warm_up = json.loads(sys.argv[2])
    competitor: Callable[..., Workload] = getattr(import_module(module), function)
    warm, _ = competitor(**warm_up)
    warm()
    del warm
    work, as_json = competitor(**arguments)
    gc.collect()
    before = _forget_peak()
    start = perf_counter()
    outcome = work()
    seconds, peak = perf_counter() - start, _peak()
    used = None if before is None or peak is None else peak - before
    print("\n" + json.dumps({"seconds": seconds, "bytes": used} | as_json(outcome)))


def _forget_peak() -> int | None:
    """Reset the peak of resident memory, and return the memory that is resident now."""
    if (PROC / "clear_refs").exists():
        (PROC / "clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
    return _peak()


def _peak() -> int | None:
    """Return the most bytes that were resident at once."""
    status = PROC / "status"
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return None


if __name__ == "__main__":
    main()
