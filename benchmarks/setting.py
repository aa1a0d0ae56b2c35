"""Where a benchmark runs: the same threads for every side, and what must be told of the machine."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from frivkit.provenance import package_versions

THREADS = 2
"""Threads that every side may use, ONNX Runtime's and torch's alike."""

QUIET = 0.7
"""Load (1 minute) above which other programs are taken to disturb the timings."""

TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that change numpy's speed on one machine only; no side sees them."""

PACKAGES = (
    "frivkit",
    "onnxruntime-gpu",
    "onnxruntime",
    "torch",
    "captum",
    "delve",
    "onnxsim",
    "torch-pruning",
    "scikit-learn",
    "numpy",
    "onnx",
    "h5py",
)


def even() -> None:
    """Return all sides the same environment; call it before numpy is imported."""
    for name in TUNING:
        os.environ.pop(name, None)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(THREADS)


def load() -> float:
    """Return the machine's load average over one minute."""
    return os.getloadavg()[0]


def described(threads: int = THREADS) -> dict[str, object]:
    """Return machine, versions, threads and date, as they go into the results."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "threads": threads,
        "unset": list(TUNING),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            flag = " with AVX-512" if "avx512f" in info.read_text() else ""
            return line.partition(":")[2].strip() + flag
    return platform.processor() or platform.machine()


def _caches() -> str:
    """Return the caches that the first core sees, for example ``"32K L1, 1024K L2, 32768K L3"``."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    found = [
        f"{(folder / 'size').read_text().strip()} L{(folder / 'level').read_text().strip()}"
        for folder in folders
        if (folder / "type").read_text().strip() != "Instruction"
    ]
    return ", ".join(found) or "unknown"
