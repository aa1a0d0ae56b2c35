"""The origin of a result: versions, plugins, command and time, stored with every result."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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


Settings = list[dict[str, str]]
_command: ContextVar[tuple[str, ...] | None] = ContextVar("command", default=None)
_settings: ContextVar[Callable[[], Settings]] = ContextVar("settings", default=list)


@contextmanager
def command_line(
    arguments: Sequence[str], settings: Callable[[], Settings] = list
) -> Iterator[None]:
    """Record a command line as the origin of the results made inside; for the CLI alone.

    Args:
        arguments: What follows the program's name.
        settings: Gives the options that were found elsewhere: ``option``, ``value``, ``source``.

    Example:
        >>> with command_line(["analyze", "m.onnx"]):
        ...     provenance(Clock.start(), 0, {})["command"]
        ['frivkit', 'analyze', 'm.onnx']
    """
    tokens = _command.set(("frivkit", *arguments)), _settings.set(settings)
    try:
        yield
    finally:
        _command.reset(tokens[0])
        _settings.reset(tokens[1])


@dataclass(frozen=True, slots=True)
class Clock:
    """The start of a piece of work.

    Attributes:
        started: The time of day.
        mark: The reading of ``time.perf_counter``, in seconds.
    """

    started: datetime
    mark: float

    @classmethod
    def start(cls) -> "Clock":
        """Return a clock that starts now."""
        return cls(datetime.now(UTC), perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.mark


def provenance(
    clock: Clock,
    seed: int,
    plugins: Mapping[str, str],
    execution: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the record by which a result can be repeated, JSON types only.

    Args:
        clock: Started when the work began.
        seed: The seed of all random choices.
        plugins: The version of each plugin that loaded, by name
            (:meth:`frivkit.hooks.registry.Registry.versions`).
        execution: Where tasks ran: ``threads`` of each, and ``machines``, the number of tasks by
            the kind of machine; None where nothing was run.

    Returns:
        Versions of frivkit, Python and packages, ``plugins``, ``seed``, ``command`` (the command
        line as a list, None if frivkit was called from Python), ``settings`` (options that were
        not on the command line), ``started`` (ISO 8601, UTC), ``seconds``, and ``execution`` if
        given.
    """
    command = _command.get()
    record: dict[str, object] = {
        "frivkit": frivkit.__version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "plugins": dict(plugins),
        "seed": seed,
        "command": None if command is None else list(command),
        "settings": _settings.get()(),
        "started": clock.started.isoformat(timespec="seconds"),
        "seconds": round(clock.seconds, 3),
    }
    return record if execution is None else {**record, "execution": dict(execution)}


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of packages, by default of those that results may depend on."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
