"""Keep latency models in the cache, under all that they depend on."""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from frivkit.cache import Cache, Key
from frivkit.latency.prediction import LatencyModel
from frivkit.latency.target import this_machine
from frivkit.runtime.session import Device

CPU_FACTS = Path("/proc/cpuinfo")
"""Where Linux says what the processor is called."""
NAME = "latency model"
"""The array of an entry, which holds JSON."""


def latency_key(
    sha256: str, device: Device, batch: int, extra: Mapping[str, str] | None = None
) -> Key:
    """Return the key of the latency model of a network on this machine.

    Args:
        sha256: The digest of the network's file.
        device: Where it runs, and how many threads a run may use.
        batch: Examples in a batch.
        extra: What the variants depend on, such as the widths that they are drawn from.
    """
    machine = {
        "cpu": cpu_name(),
        "block": str(this_machine().block),
        "runtime": device.fingerprint,
        "threads": str(device.threads),
        "batch": str(batch),
    }
    return Key(sha256, "", "", "", "latency", {**(extra or {}), **machine})


def stored_latency(cache: Cache, key: Key, fit: Callable[[], LatencyModel]) -> LatencyModel:
    """Return a latency model from the cache, or fit it and keep it there.

    Args:
        cache: The cache.
        key: What it depends on, see :func:`latency_key`.
        fit: Makes it if the cache does not have it.
    """
    with cache.building(key) as entry:
        if entry is not None:
            with entry:
                return LatencyModel.from_json(bytes(entry.read(NAME)).decode())
        model = fit()
        with cache.build(key) as writer:
            writer.put(NAME, np.frombuffer(model.json.encode(), np.uint8))
    return model


def cpu_name() -> str:
    """Return what the processor is called, as far as the system says it."""
    try:
        lines = CPU_FACTS.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
