"""Run the benchmarks: ``python -m benchmarks`` from the root of the repository."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks import setting

Json = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ROWS = Path(__file__).parents[1] / "build" / "quality.jsonl"
TIMED = ("prunability", "suffix", "moments", "rows", "batches", "entries", "spent")
PARTS = (*TIMED, "quality")
"""All parts; the last takes hours, and runs where it is asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--only", choices=PARTS, action="append", help="keep the others' results")
    parser.add_argument("--quick", action="store_true", help="one tiny round, to see that it runs")
    parser.add_argument("--wait", type=float, default=0, help="minutes to wait for a quiet machine")
    parser.add_argument("-o", type=Path, help="where the JSON goes, instead of benchmarks/results")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where quality goes on from")
    given = parser.parse_args()
    setting.even()
    wait_for_quiet(given.wait)
    results = {}
    try:
        rows = None if given.quick else given.rows
        parts = given.only or (PARTS if given.quick else TIMED)
        for name, found in run(parts, given.rounds, rows, quick=given.quick):
            results[name] = found
            if not (given.quick or given.o):  # as soon as it is there: the next part may fail
                store(name, found)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:  # tests.assets could not fetch
        raise SystemExit(str(error)) from None
    if given.o:
        given.o.write_text(as_json(results))
    elif given.quick:
        print(as_json(results), end="")


def run(
    parts: Iterable[str], rounds: int, rows_at: Path | None, *, quick: bool
) -> Iterator[tuple[str, Json]]:
    """Run parts one after the other.

    Args:
        parts: Which ones.
        rounds: Rounds of each comparison; for quality, draws of each network.
        rows_at: The file of rows of quality; None keeps none.
        quick: Whether all is done in small.

    Yields:
        Name of the part, and when, how and what was measured.
    """
    # only now, for these import numpy and torch, which read the environment that was made even
    from benchmarks import batches, entries, moments, prunability, quality, rows, spent, suffix

    rounds, small = (1, {"repeats": 1, "levels": 3}) if quick else (rounds, {})
    work: dict[str, Callable[[Path], object]] = {
        "prunability": lambda at: prunability.measure(at, rounds, **small),
        "suffix": lambda at: suffix.measure(at, rounds, 16 if quick else 256),
        "moments": lambda at: moments.measure(at, rounds, 32 if quick else 1024),
        "rows": lambda at: rows.measure(at, rounds, 1 / 20 if quick else 1),
        "batches": lambda at: batches.measure(at, rounds, 1 / 8 if quick else 1),
        "entries": lambda at: entries.measure(at, rounds, 16 if quick else 2048),
        "spent": lambda at: spent.measure(at, **small),
        "quality": lambda at: quality.measure(at, rounds, rows_at, small=quick),
    }
    for name in parts:
        threads = 1 if name == "quality" else setting.THREADS
        told = {"setting": setting.described(threads), "load": setting.load(), "rounds": rounds}
        start = time.perf_counter()
        print(f"{name} (load {told['load']:.2f}) ...", file=sys.stderr, flush=True)
        with TemporaryDirectory(prefix="frivkit-bench-") as folder:
            found = work[name](Path(folder))
        print(f"{name} took {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        yield name, {**told, "found": found}


def wait_for_quiet(minutes: float) -> None:
    """Wait until the load is low, and say so where it is not."""
    until = time.monotonic() + 60 * minutes
    while setting.load() > setting.QUIET and time.monotonic() < until:
        time.sleep(5)
    if setting.load() > setting.QUIET:
        message = f"the load is {setting.load():.2f}: other programs will disturb the timings"
        print(f"warning: {message}", file=sys.stderr)


def store(name: str, found: Json) -> None:
    """Put one part's results in the place of earlier ones, and write the tables anew."""
    from benchmarks.qualityplot import picture
    from benchmarks.tables import in_page, markdown

    RESULTS.mkdir(exist_ok=True)
    latest = RESULTS / "latest.json"
    stored = json.loads(latest.read_text()) if latest.exists() else {}
    text = as_json(stored | {name: found})
    tables = markdown(json.loads(text))
    page = in_page(PAGE.read_text(), tables)
    latest.write_text(text)
    latest.with_suffix(".md").write_text(tables)
    PAGE.write_text(page)
    if name == "quality":
        (PAGE.parent / "quality.svg").write_text(picture(found["found"]))
    print(f"stored {name} in {latest}, latest.md and {PAGE}", file=sys.stderr, flush=True)


def as_json(results: Json) -> str:
    """Return results as text."""
    return json.dumps(results, indent=1) + "\n"


if __name__ == "__main__":
    main()
