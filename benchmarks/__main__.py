"""Run the benchmarks: ``python -m benchmarks`` from the root of the repository."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks import setting

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PARTS = ("prunability", "suffix", "batches", "entries", "spent")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--only", choices=PARTS, action="append", help="leave out the others")
    parser.add_argument("--quick", action="store_true", help="one tiny round, to see that it runs")
    parser.add_argument("--wait", type=float, default=0, help="minutes to wait for a quiet machine")
    parser.add_argument("-o", type=Path, help="where the JSON goes, instead of benchmarks/results")
    given = parser.parse_args()
    setting.even()
    wait_for_quiet(given.wait)
    try:
        results = run(given.only or PARTS, 1 if given.quick else given.rounds, quick=given.quick)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:  # tests.assets could not fetch
        raise SystemExit(str(error)) from None
    if given.quick or given.only or given.o:
        save(results, given.o)
        return
    from benchmarks.tables import in_page, markdown

    RESULTS.mkdir(exist_ok=True)
    save(results, RESULTS / "latest.json")
    (RESULTS / "latest.md").write_text(markdown(results))
    PAGE.write_text(in_page(PAGE.read_text(), markdown(results)))
    print(f"wrote {RESULTS}/latest.json, latest.md and the table in {PAGE}", file=sys.stderr)


def run(parts: "tuple[str, ...] | list[str]", rounds: int, *, quick: bool) -> dict[str, object]:
    """Run parts one after the other and give their results by name."""
    # only now, for these import numpy and torch, which read the environment that was made even
    from benchmarks import batches, entries, prunability, spent, suffix

    small = {"repeats": 1, "levels": 3} if quick else {}
    work: dict[str, Callable[[Path], object]] = {
        "prunability": lambda at: prunability.measure(at, rounds, **small),
        "suffix": lambda at: suffix.measure(at, rounds, 16 if quick else 256),
        "batches": lambda at: batches.measure(at, rounds, 1 / 8 if quick else 1),
        "entries": lambda at: entries.measure(at, rounds, 16 if quick else 2048),
        "spent": lambda at: spent.measure(at, **small),
    }
    results: dict[str, object] = {"setting": setting.described() | {"rounds": rounds}}
    loads = {}
    for name in parts:
        loads[name], start = setting.load(), time.perf_counter()
        print(f"{name} (load {loads[name]:.2f}) ...", file=sys.stderr, flush=True)
        with TemporaryDirectory(prefix="frivkit-bench-") as folder:
            results[name] = work[name](Path(folder))
        print(f"{name} took {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return results | {"load_before": loads}


def wait_for_quiet(minutes: float) -> None:
    """Wait until the load is low, and say so where it is not."""
    until = time.monotonic() + 60 * minutes
    while setting.load() > setting.QUIET and time.monotonic() < until:
        time.sleep(5)
    if setting.load() > setting.QUIET:
        message = f"the load is {setting.load():.2f}: other programs will disturb the timings"
        print(f"warning: {message}", file=sys.stderr)


def save(results: dict[str, object], path: Path | None) -> None:
    """Write JSON to a file, or to standard output."""
    text = json.dumps(results, indent=1) + "\n"
    if path is None:
        print(text, end="")
    else:
        path.write_text(text)


if __name__ == "__main__":
    main()
