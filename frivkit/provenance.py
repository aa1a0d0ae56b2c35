"""Where results come from: versions, plugins, command and time, stored with every result."""

import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import frivkit

PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-gpu",
    "h5py",
    "scikit-learn",
    "torch",
    "pluggy",
    "click",
)


@dataclass(frozen=True, slots=True)
class Clock:
    """When work began."""

    started: datetime
    mark: float

    @classmethod
    def start(cls) -> "Clock":
        """Begin now."""
        return cls(datetime.now(UTC), perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return perf_counter() - self.mark


def provenance(clock: Clock, seed: int, plugins: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Return what a result must carry so that it can be repeated or refused a comparison.

    Args:
        clock: Started when the work began.
        seed: The seed of all random choices.
        plugins: Name and version of each plugin that loaded.
    """
    return {
        "frivkit": frivkit.__version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "plugins": dict(plugins),
        "seed": seed,
        "command": ["frivkit", *sys.argv[1:]],
        "started": clock.started.isoformat(timespec="seconds"),
        "seconds": round(clock.seconds, 3),
    }


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of packages, by default of those that results may depend on."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
