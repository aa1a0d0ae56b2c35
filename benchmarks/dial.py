"""How far a rival is turned up to meet a budget: one ratio is all that it lets its user choose."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.judging import Amounts, amounts
from benchmarks.subjects import Kind, Subject

COARSE, FINE = 32, 16
"""Ratios that are tried in turn, and those between two of them; 1/512 is less than a unit."""


class OutOfReach(Exception):  # noqa: N818  # a finding, and no error
    """A budget that a side cannot meet.

    Attributes:
        least: The smallest share that it reaches.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"cannot: stays at {least:.2f}")
        self.least = least


class Dial:
    """Finds the least ratio at which a rival meets a budget.

    What is left need not fall as the ratio grows: Torch-Pruning leaves a layer whole that would
    lose all of its channels.  So ratios are tried upwards, and only between the first that meets
    the budget and the one before it is the least one found by bisection.

    Args:
        write: Writes the thinner file of a ratio in [0, 1).
        subject: The network.
        path: Where files are written.
    """

    def __init__(self, write: Callable[[float, Path], None], subject: Subject, path: Path) -> None:
        self._write, self._subject, self._path = write, subject, path
        self._whole = amounts(subject, subject.model)
        self._known: dict[int, Amounts] = {}

    def ratio(self, kind: Kind, level: float) -> float:
        """Return the least ratio that leaves at most the share ``level``.

        Raises:
            OutOfReach: none does.
        """
        tried = range(FINE, COARSE * FINE, FINE)
        high = next((step for step in tried if self._share(kind, step) <= level), None)
        if high is None:
            raise OutOfReach(min(self._share(kind, step) for step in tried))
        low = high - FINE
        while high - low > 1:
            middle = (low + high) // 2
            if self._share(kind, middle) <= level:
                high = middle
            else:
                low = middle
        return high / (COARSE * FINE)

    def _share(self, kind: Kind, step: int) -> float:
        if step not in self._known:
            self._write(step / (COARSE * FINE), self._path)
            self._known[step] = amounts(self._subject, self._path)
        return self._known[step][kind] / self._whole[kind]
