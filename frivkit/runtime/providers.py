"""ONNX Runtime's execution providers: their options, and why one cannot be used."""

import contextlib
import ctypes
import io
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort

from frivkit.errors import DeviceError

PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""The provider of each device."""
CUDA = {
    "use_tf32": "0",  # products of 10 bits in place of 23 would change labels
    "cudnn_conv_algo_search": "HEURISTIC",  # the default times kernels, and so takes other ones
    "arena_extend_strategy": "kSameAsRequested",  # else the memory that is held doubles
}
"""Options of the provider of ``cuda``: float32 as on the CPU, and the same kernels in each run."""
GPUS = Path("/proc/driver/nvidia/gpus")
"""Where Linux describes the GPUs that the driver of NVIDIA found."""


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """Return the provider of a device and its options, for a session.

    Raises:
        DeviceError: no device has that name, or this ONNX Runtime was built without its provider.

    Example:
        >>> provider_of("cpu")
        ('CPUExecutionProvider', {})
    """
    if device not in PROVIDERS:
        raise DeviceError(f"no device is named {device!r}; known: {', '.join(PROVIDERS)}")
    provider = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise DeviceError(
            f"device {device!r} was asked for; this onnxruntime has no {provider}: install the "
            "package onnxruntime-gpu in its place, or use --device cpu"
        )
    if device == "cuda":
        _load_libraries()
    return provider, dict(CUDA) if device == "cuda" else {}


def unusable(device: str, found: str) -> DeviceError:
    """Return the error for a device whose provider ONNX Runtime has, and cannot use.

    Args:
        device: The device.
        found: What was found in its place, as a clause.
    """
    reason = "" if device != "cuda" or has_driver() else "; no driver of NVIDIA is installed here"
    return DeviceError(
        f"device {device!r} was asked for, {found}{reason}: see 'frivkit doctor', or use "
        "--device cpu"
    )


def has_driver() -> bool:
    """Whether the library of NVIDIA's driver is on this machine."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def gpu_names(folder: Path = GPUS) -> tuple[str, ...]:
    """Return the models of the GPUs of this machine, each once; empty where none is known.

    Args:
        folder: The folder that holds a folder with a file ``information`` for each GPU.
    """
    names = set()
    for file in folder.glob("*/information"):
        with contextlib.suppress(OSError):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            names |= {line.partition(":")[2].strip() for line in lines if line.startswith("Model:")}
    return tuple(sorted(names))


@cache
def _load_libraries() -> None:
    """Load the CUDA libraries of Python packages, which the dynamic linker does not find."""
    preload: Any = getattr(ort, "preload_dlls", None)
    if preload is not None and has_driver():
        with contextlib.redirect_stdout(io.StringIO()):  # what lacks is said when a session fails
            preload()
