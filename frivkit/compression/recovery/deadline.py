"""When a recovery must be over."""

from collections.abc import Callable
from dataclasses import dataclass


class OutOfTimeError(Exception):
    """The time is up before anything was gained."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a recovery must be over.

    Attributes:
        clock: Gives the present time in seconds.
        end: The time at which it must be over.
    """

    clock: Callable[[], float]
    end: float

    @property
    def left(self) -> float:
        """Seconds that are left; negative if the time is up."""
        return self.end - self.clock()

    def check(self) -> None:
        """Raise OutOfTimeError if the time is up."""
        if self.left <= 0:
            raise OutOfTimeError
