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

from benchmarks.measuring import setting

Json = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
README = Path(__file__).parents[1] / "README.md"
ROWS = Path(__file__).parents[1] / "build"
TIMED = ("prunability", "suffix", "moments", "rows", "batches", "entries", "spent", "visualization")
COMPRESSING = ("quality", "latency")
ONE_THREAD = ("prunability", "suffix", "entries", "spent", "visualization", *COMPRESSING)
PARTS = (*TIMED, *COMPRESSING)
"""All parts; the last two take hours, and run only if they are requested."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--only", choices=PARTS, action="append", help="keep the others' results")
    parser.add_argument("--quick", action="store_true", help="one tiny round, to see that it runs")
    parser.add_argument("--wait", type=float, default=0, help="minutes to wait for a quiet machine")
    parser.add_argument("-o", type=Path, help="where the JSON goes, instead of benchmarks/results")
    parser.add_argument("--rows", type=Path, default=ROWS, help="folder of rows to continue")
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10, for latency")
    arguments = parser.parse_args()
    setting.set_environment()
    wait_for_quiet(arguments.wait)
    results = {}
    try:
        rows = None if arguments.quick else arguments.rows
        parts = arguments.only or (PARTS if arguments.quick else TIMED)
        given = (arguments.rounds, rows, arguments.cifar10)
        for name, outcome in run(parts, *given, quick=arguments.quick):
            results[name] = outcome
            if not (arguments.quick or arguments.o):  # at once, for the next part may fail
                store(name, outcome)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:  # tests.assets could not fetch
        raise SystemExit(str(error)) from None
    if arguments.o:
        arguments.o.write_text(as_json(results))
    elif arguments.quick:
        print(as_json(results), end="")


def run(
    parts: Iterable[str], rounds: int, rows_at: Path | None, cifar10: Path | None, *, quick: bool
) -> Iterator[tuple[str, Json]]:
    """Run parts one after the other.

    Args:
        parts: Their names.
        rounds: The number of rounds of each comparison; for quality and latency, of seeds of each
            network.
        rows_at: The folder of rows of quality and latency, None for no files.
        cifar10: The folder of CIFAR-10 for latency, None if there is none.
        quick: Whether to run on few examples.

    Yields:
        The name of a part, and its setting and results.
    """
    # not at the top: these import numpy and torch, which read the environment that was set
    from benchmarks.parts import (
        batches,
        eigenvalues,
        latency,
        moments,
        prefixes,
        prunability,
        quality,
        suffix,
        time_profile,
        visualization,
    )

    def rows_of(part: str) -> Path | None:
        return rows_at and rows_at / f"{part}.jsonl"

    rounds, small = (1, {"repeats": 1, "levels": 3}) if quick else (rounds, {})
    jobs: dict[str, Callable[[Path], object]] = {
        "prunability": lambda at: prunability.measure(at, rounds, **small),
        "suffix": lambda at: suffix.measure(at, rounds, 16 if quick else 128),
        "moments": lambda at: moments.measure(at, rounds, 32 if quick else 1024),
        "rows": lambda at: eigenvalues.measure(at, rounds, 1 / 20 if quick else 1),
        "batches": lambda at: batches.measure(at, rounds, 1 / 8 if quick else 1),
        "entries": lambda at: prefixes.measure(at, rounds, 16 if quick else 2048),
        "spent": lambda at: time_profile.measure(at, **small),
        "visualization": lambda at: visualization.measure(at, rounds, small=quick),
        "quality": lambda at: quality.measure(at, rounds, rows_of("quality"), small=quick),
        "latency": lambda at: latency.measure(at, rounds, rows_of("latency"), cifar10, small=quick),
    }
    for name in parts:
        threads = 1 if name in ONE_THREAD else setting.THREADS
        part_setting = {
            "setting": setting.describe(threads),
            "load": setting.load(),
            "rounds": rounds,
        }
        start = time.perf_counter()
        print(f"{name} (load {part_setting['load']:.2f}) ...", file=sys.stderr, flush=True)
        with TemporaryDirectory(prefix="frivkit-bench-") as folder:
            outcome = jobs[name](Path(folder))
        print(f"{name} took {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        yield name, {**part_setting, "found": outcome}


def wait_for_quiet(minutes: float) -> None:
    """Wait until the load is low, and print a warning if it is not."""
    until = time.monotonic() + 60 * minutes
    while setting.load() > setting.QUIET and time.monotonic() < until:
        time.sleep(5)
    if setting.load() > setting.QUIET:
        message = f"the load is {setting.load():.2f}: other programs will disturb the timings"
        print(f"warning: {message}", file=sys.stderr)


def store(name: str, outcome: Json) -> None:
    """Replace the stored results of a part, and write the tables again."""
    from benchmarks.report import latency_plot, quality_plot
    from benchmarks.report.readme_table import in_readme, readme_table
    from benchmarks.report.tables import in_page, markdown

    RESULTS.mkdir(exist_ok=True)
    latest = RESULTS / "latest.json"
    stored = json.loads(latest.read_text()) if latest.exists() else {}
    text = as_json(stored | {name: outcome})
    tables = markdown(json.loads(text))
    page = in_page(PAGE.read_text(), tables)
    latest.write_text(text)
    latest.with_suffix(".md").write_text(tables)
    PAGE.write_text(page)
    pictures = {"quality": quality_plot.picture, "latency": latency_plot.picture}
    if name in pictures:
        (PAGE.parent / f"{name}.svg").write_text(pictures[name](outcome["found"]))
    if name == "latency":
        README.write_text(in_readme(README.read_text(), readme_table(outcome["found"])))
    print(f"stored {name} in {latest}, latest.md and {PAGE}", file=sys.stderr, flush=True)


def as_json(results: Json) -> str:
    """Return results as text."""
    return json.dumps(results, indent=1) + "\n"


if __name__ == "__main__":
    main()
