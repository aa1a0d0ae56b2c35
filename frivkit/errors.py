"""The errors a user can meet.

Each message is one line: what was requested, what was found and what to do.  The command line turns
a :class:`FrivkitError` into that line and the exit code of its class; anything else that escapes is
a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_NO_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "allocate memory",
    "could not create a primitive",
    "failed to map segment",
    "out of memory",
    "memory allocation failed",
    "unable to allocate",
)
"""What C++, ONNX Runtime, torch, HDF5, numpy and the dynamic linker say for want of memory."""


class FrivkitError(Exception):
    """The work could not be done (exit code 1)."""

    exit_code = 1


class ModelError(FrivkitError):
    """A model file cannot be read, run or analysed."""


class BudgetError(ModelError):
    """A model cannot be made as small as it was asked to be.

    Attributes:
        least: The smallest share that can be left.
    """

    def __init__(self, message: str, least: float) -> None:
        super().__init__(message)
        self.least = least


class NotSmallerError(ModelError):
    """A compressed model would be no smaller than the original."""


class DataError(FrivkitError):
    """A data source cannot be read, or does not fit the model."""


class CacheError(FrivkitError):
    """A cache file cannot be used."""


class PluginError(FrivkitError):
    """A plugin that was asked for is missing a piece or failed to load."""


class UsageError(FrivkitError):
    """The command line, a data spec or an option is wrong (exit code 2)."""

    exit_code = 2


class DeviceError(FrivkitError):
    """A device or engine that was asked for is not there (exit code 3)."""

    exit_code = 3


class WorkerLostError(FrivkitError):
    """The workers that ran a task were lost, several times."""


class RequirementError(FrivkitError):
    """The work was done, and its result is not what was required (exit code 4)."""

    exit_code = 4


def one_line(error: BaseException, *, named: bool = False) -> str:
    """Return the message of an error without line breaks.

    Args:
        error: The error.
        named: Put the name of its class in front; else the message is cut at 300 characters, and
            the name stands for an empty message.

    Example:
        >>> one_line(ValueError("no   rows")), one_line(KeyError())
        ('no rows', 'KeyError')
        >>> one_line(ValueError("no rows"), named=True)
        'ValueError: no rows'
    """
    if named:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be allocated; libraries say it in many ways.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc"))
        (True, True)
        >>> is_out_of_memory(RuntimeError("could not create a primitive"))  # torch's oneDNN
        True
        >>> is_out_of_memory(ValueError("no rows"))
        False
    """
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY)


def unknown_name(kind: str, requested: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that nothing offers, with the nearest known names first.

    Example:
        >>> str(unknown_name("metric", "prunabilty", ["prunability", "redundancy"]))
        "no metric is named 'prunabilty'; did you mean prunability? known: prunability, redundancy"
    """
    names = sorted(known)
    hint = nearest(requested, names)
    return UsageError(
        f"no {kind} is named {requested!r};{hint} known: {', '.join(names) or 'none'}"
    )


def nearest(requested: str, known: Iterable[str]) -> str:
    """Return a question for the nearest of the known names, after a space; empty if none is near.

    Example:
        >>> nearest("conv1a", ["conv1", "conv2", "fc"])
        ' did you mean conv1 or conv2?'
    """
    near = get_close_matches(requested, list(known), n=3, cutoff=0.6)
    return f" did you mean {' or '.join(near)}?" if near else ""
