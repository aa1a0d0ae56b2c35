"""The kind of a machine, on which the last bits of a result may depend, and its cores."""

import os
import platform
from functools import cache
from pathlib import Path

from frivkit.provenance import package_versions

FEATURES = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
"""Features of processors by which libraries choose their kernels."""
LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch")


@cache
def machine_kind() -> str:
    """Return the processor's features and the versions of the libraries that compute, in one line.

    Machines of one kind give the same bits; machines of two kinds may differ in the last ones.

    Example:
        >>> machine_kind().split()[0] == platform.machine()
        True
    """
    libraries = " ".join(f"{name} {version}" for name, version in _versions().items())
    return f"{platform.machine()} {' '.join(_features())}; {libraries}"


def available_cores() -> int:
    """Return how many cores this process may use.

    Example:
        >>> available_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    return package_versions(LIBRARIES)


def _features() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return [platform.processor() or platform.system()]
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    present = set(lines[0].split()) if lines else set()
    return [name for name in FEATURES if name in present]
