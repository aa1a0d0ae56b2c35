"""What a run may end with, and the kind of fault if it ends otherwise."""

import re
import signal
from collections.abc import Collection
from dataclasses import dataclass

from reliability.running.forked import Ended

DOCUMENTED = (1, 2, 3, 4)
"""The exit codes of a run that could not do what was requested."""

_OUR_LINE = re.compile(r"frivkit: ")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial.

    Attributes:
        outcome: One or two words, by which trials are counted.
        fault: What was wrong, None for nothing.
        told: The last line on standard error.
    """

    outcome: str
    fault: str | None = None
    told: str = ""


def judged(ended: Ended, codes: Collection[int] = DOCUMENTED) -> Verdict:
    """Return the verdict on a run that may succeed, or fail with one line on standard error.

    Args:
        ended: The run.
        codes: The exit codes that it may fail with.
    """
    lines = ended.err.splitlines()
    told = lines[-1][:400] if lines else ""
    fault = _fault(ended, lines, codes)
    if fault is not None:
        return Verdict("fault", fault, told)
    return Verdict("done" if ended.code == 0 else "refused", None, told)


def _fault(ended: Ended, lines: list[str], codes: Collection[int]) -> str | None:
    if ended.hung:
        return "hang"
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return "hang" if name == "SIGXCPU" else f"ended by {name}"
    if "Traceback (most recent call last)" in ended.err:
        return f"traceback: {lines[-1]}"
    bug = next((line for line in lines if "a bug in frivkit" in line), None)
    if bug is not None:
        return bug.removeprefix("frivkit: ")
    foreign = next((line for line in lines if not _OUR_LINE.match(line)), None)
    if foreign is not None:
        return f"a line of another on stderr: {foreign}"
    if _CONTROL.search(ended.err) or _CONTROL.search(ended.out):
        return "characters that control a terminal"
    if ended.code == 0:
        return None
    if ended.code not in codes:
        return f"exit code {ended.code}"
    wrong = [line for line in lines if not line.startswith("frivkit: warning: ")]
    if not wrong:
        return "nothing said about a failure"
    return None


def kind_of(fault: str) -> str:
    """Return a fault without its numbers and names, so that those of one kind are one.

    Example:
        >>> kind_of("ValueError: cannot reshape (3, 4) of 'conv1'")
        "ValueError: cannot reshape (#, #) of '…'"
    """
    quoted = re.sub(r"'[^']*'", "'…'", fault)
    return re.sub(r"-?\d+(\.\d+)?", "#", quoted)[:160]
