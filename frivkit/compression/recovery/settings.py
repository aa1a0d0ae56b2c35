"""What a user allows a recovery, and what one did."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from frivkit.data import Dataset
from frivkit.errors import UsageError, unknown_name
from frivkit.verification.agreement import Agreement

MINUTES = 10.0
"""Minutes that a recovery takes at most if none are given."""

AUGMENTATIONS = ("crop", "flip")
"""Changes of images that a user can allow."""

Stop = Literal["done", "flat", "time", "interrupted", "undefined"]
"""Why steps ended: all were made, the error no longer fell, the time was up, Ctrl-C, or a loss that
is no number."""


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """What a user allows a recovery.

    Attributes:
        minutes: Minutes by the clock that the recovery of one compressed model may take, above 0.
        augment: How images may be changed, any of ``crop`` and ``flip``; empty for not at all.
    """

    minutes: float = MINUTES
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError if a value means nothing."""
        if not (isfinite(self.minutes) and self.minutes > 0):
            raise UsageError(f"{self.minutes:g} minutes are given to recover; give more than 0")
        for kind in self.augment:
            if kind not in AUGMENTATIONS:
                raise unknown_name("augmentation", kind, AUGMENTATIONS)

    def check(self, data: Dataset) -> None:
        """Raise UsageError if images are to be changed, and the examples are none."""
        if self.augment and not data.images:
            raise UsageError(
                f"augmentation by {' and '.join(self.augment)} is for images, and the examples of "
                f"{data.description} are none; leave it out"
            )


def recovery_settings(
    minutes: float | None, augment: Sequence[str], *, recovers: bool
) -> RecoverySettings | None:
    """Return the settings of a recovery, None if there is none.

    Args:
        minutes: The minutes that the user gives; None for none.
        augment: The changes of images that the user allows.
        recovers: Whether the refit ends with a recovery by itself.

    Raises:
        UsageError: a value means nothing, or images may be changed and nothing is recovered.

    Example:
        >>> recovery_settings(None, (), recovers=True)
        RecoverySettings(minutes=10.0, augment=())
    """
    if minutes is None and not recovers:
        if augment:
            raise UsageError(
                f"augmentation by {' and '.join(augment)} is for a recovery, and none is "
                "requested; give its minutes, too, or the refit distil"
            )
        return None
    return RecoverySettings(MINUTES if minutes is None else minutes, tuple(augment))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did.

    Attributes:
        kept: Whether the new weights are in the compressed model; else it is as it was given.
        reason: Why it is as it was given, None if it is not.
        steps: How many steps were made, 0 or more.
        planned: How many were planned, 0 or more.
        passes: How many passes over the examples the steps are.
        examples: The examples that the gradients were computed on.
        held_out: The calibration examples that errors and agreements are those of.
        errors: The squared error of kept features and outputs as a share of their variance, before
            and after; empty if it was not measured.
        agreements: The agreement with the original of the task where it is least, before and after;
            empty if it was not measured.
        stopped: Why the steps ended.
        seconds: Seconds by the clock.
    """

    kept: bool
    reason: str | None
    steps: int = 0
    planned: int = 0
    passes: float = 0.0
    examples: int = 0
    held_out: int = 0
    errors: tuple[float, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    stopped: Stop = "done"
    seconds: float = 0.0
