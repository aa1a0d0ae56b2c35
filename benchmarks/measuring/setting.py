"""The setting of a benchmark: threads of all competitors, and a description of the machine."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from frivkit.provenance import package_versions

THREADS = 2
"""Threads of every competitor, in ONNX Runtime and in torch, where elapsed time is measured."""

QUIET = 0.7
"""Load (1 minute) above which other programs are taken to disturb the timings."""

TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that change numpy's speed on one machine only; they are unset for all competitors."""

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


def set_environment() -> None:
    """Set the environment of all competitors; to be called before numpy is imported."""
    for name in TUNING:
        os.environ.pop(name, None)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(THREADS)


def load() -> float:
    """Return the machine's load average over one minute."""
    return os.getloadavg()[0]


def describe(threads: int = THREADS) -> dict[str, object]:
    """Return machine, versions, threads and date for the results."""
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
    caches = [
        f"{(folder / 'size').read_text().strip()} L{(folder / 'level').read_text().strip()}"
        for folder in folders
        if (folder / "type").read_text().strip() != "Instruction"
    ]
    return ", ".join(caches) or "unknown"
