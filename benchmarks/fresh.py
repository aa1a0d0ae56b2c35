"""Work in a process of its own, whose time and peak memory owe nothing to what ran before."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.rounds import Json

Work = tuple[Callable[[], Any], Callable[[Any], Json]]
"""What is measured, and what makes JSON of what that gave, which is not measured."""

ROOT = Path(__file__).parents[1]
PROC = Path("/proc/self")


def measured(side: str, given: Mapping[str, Any], warm: Mapping[str, Any]) -> Json:
    """Run a side in a fresh process.

    Args:
        side: ``"module:function"``; the function makes ready, gets ``given`` and gives
            :data:`Work`.
        given: Its arguments, JSON types only.
        warm: Arguments of a very small run before, whose imports and first allocations are nobody's
            time or memory.

    Returns:
        What the side tells, with ``seconds`` and ``bytes``: the most memory resident at once
        beyond what was resident before (None where the system is not Linux).

    Raises:
        SystemExit: the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.fresh", side, json.dumps([given, warm])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    told: Json = json.loads(done.stdout.splitlines()[-1])  # others may print before
    return told


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    given, warm = json.loads(sys.argv[2])
    side: Callable[..., Work] = getattr(import_module(module), function)
    small, _ = side(**warm)
    small()
    del small
    work, tell = side(**given)
    gc.collect()
    before = _forget_peak()
    start = perf_counter()
    found = work()
    seconds, peak = perf_counter() - start, _peak()
    used = None if before is None or peak is None else peak - before
    print("\n" + json.dumps({"seconds": seconds, "bytes": used} | tell(found)))


def _forget_peak() -> int | None:
    """Let the peak of resident memory start at what is resident now, and give that."""
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
