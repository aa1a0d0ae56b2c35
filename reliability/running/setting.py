"""When, with what and on which machine a suite was run."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from frivkit.provenance import package_versions

PACKAGES = ("onnxruntime-gpu", "onnx", "onnx-ir", "torch", "numpy", "h5py", "pillow")


def describe() -> dict[str, str]:
    """Return date, commit, machine and versions, for the page of totals."""
    versions = package_versions(PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} shared cores of {platform.machine()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "an unknown commit"
