"""Measure, simulate and write ``docs/scaling.md``: ``python -m benchmarks.scaling``.

Without ``--only`` all parts are measured, which takes about ten minutes of one core; ``--page``
measures nothing and writes the page from what is stored.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measuring import setting

Json = dict[str, Any]

STORED = Path(__file__).parents[1] / "results" / "scaling.json"
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
PARTS = ("overheads", "decoding", "ResNet-50", "VGG-16", "steps", "check")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="keep the others' results")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement")
    arguments = parser.parse_args()
    setting.set_environment()
    for part in () if arguments.page else arguments.only or PARTS:
        about = {"setting": setting.describe(1), "load": setting.load(), "rounds": arguments.rounds}
        with TemporaryDirectory(prefix="frivkit-scaling-") as folder:
            found = measured(part, Path(folder), arguments.rounds)
        stored = stored_results()
        stored[part] = {**about, "found": found}
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
        print(f"stored {part} in {STORED}", file=sys.stderr, flush=True)
    write_page()


def measured(part: str, folder: Path, rounds: int) -> Any:
    """Return the results of one part."""
    from benchmarks.scaling import check, measure  # numpy reads the environment that was set

    parts: dict[str, Callable[[], Any]] = {
        "overheads": lambda: measure.overheads(rounds),
        "decoding": lambda: measure.decoding(rounds),
        "steps": lambda: measure.sweep(rounds),
        "check": lambda: check.runs(folder, rounds),
    }
    return parts[part]() if part in parts else measure.analysis(part, folder)


def stored_results() -> Json:
    """Return the stored results by part."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def write_page() -> None:
    """Write the page and its picture from the stored results, if all parts are there."""
    from benchmarks.scaling import page, picture, work

    stored = stored_results()
    lacking = [part for part in PARTS if part not in {*stored, *work.NETWORKS}]
    if lacking:
        print(f"no page is written: {', '.join(lacking)} are not measured", file=sys.stderr)
        return
    stored["simulated"] = work.simulated(stored)
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
    PAGE.write_text(page.in_page(PAGE.read_text(), page.blocks(stored)))
    PAGE.with_suffix(".svg").write_text(picture.picture(stored["simulated"]))


if __name__ == "__main__":
    main()
