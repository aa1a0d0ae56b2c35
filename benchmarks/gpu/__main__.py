"""Check a GPU against the CPU, then compare times: ``python -m benchmarks.gpu``.

At most five minutes.  Writes ``benchmarks/results/gpu.json`` and the results in ``docs/gpu.md``.
Exit codes: 0 all bounds are kept, 1 one is not, 3 there is no GPU that ONNX Runtime can use.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measuring import setting

Json = dict[str, Any]

STORED = Path(__file__).parents[1] / "results" / "gpu.json"
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
SECONDS = 280.0
"""How long everything may take."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu compares the CPU with itself")
    parser.add_argument("--examples", type=int, default=128, help="examples of each network")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long all may take")
    parser.add_argument("-o", type=Path, help="where the JSON goes; the page is left as it is")
    arguments = parser.parse_args()
    from frivkit.runtime.selftest import run_once

    problem = run_once(arguments.device)
    if problem is not None:
        print(f"gpu-check: not run: {problem}", file=sys.stderr)
        raise SystemExit(3)
    found = checked(arguments.device, arguments.examples, arguments.seconds)
    text = json.dumps(found, indent=1) + "\n"
    if arguments.o:
        arguments.o.write_text(text)
    elif arguments.device == "cuda":  # the CPU beside itself is no result
        STORED.write_text(text)
        write_page()
    raise SystemExit(0 if found["kept"] else 1)


def checked(device: str, examples: int, seconds: float) -> Json:
    """Return all comparisons; times are compared only if every bound is kept."""
    from benchmarks.gpu import report
    from benchmarks.gpu.correctness import bounds
    from benchmarks.gpu.ratios import ratios
    from frivkit.runtime.providers import gpu_names

    until = time.perf_counter() + seconds
    about = {"setting": setting.describe(0), "device": device, "gpus": list(gpu_names())}
    rows, times = [], []
    with TemporaryDirectory(prefix="frivkit-gpu-") as folder:
        for bound in bounds(Path(folder), device, examples):
            rows.append(report.bound_row(bound))
            print(report.bound_line(rows[-1]), file=sys.stderr, flush=True)
        kept = all(row["kept"] for row in rows)
        if kept:
            times = ratios(Path(folder), device, examples, until - time.perf_counter())
    print(report.markdown({**about, "bounds": rows, "ratios": times}), file=sys.stderr)
    return {**about, "examples": examples, "kept": kept, "bounds": rows, "ratios": times}


def write_page() -> None:
    """Write the results into the page; that there are none, if there are none."""
    from benchmarks.gpu import report

    stored = json.loads(STORED.read_text()) if STORED.exists() else None
    PAGE.write_text(report.in_page(PAGE.read_text(), stored))


if __name__ == "__main__":
    main()
