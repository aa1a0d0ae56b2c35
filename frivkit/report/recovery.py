"""What gradients did after a refit, as a part of documents, and in words."""

from collections.abc import Mapping
from typing import Any

from frivkit.compression.recovery.settings import Recovery
from frivkit.documents.compression import RecoveryPart
from frivkit.report.format import number, percent


def recovery_document(recovery: Recovery | None) -> RecoveryPart | None:
    """Return the key ``recovery`` of ``frivkit.compression/1`` and of a plan of a frontier."""
    if recovery is None:
        return None
    error, agreement = recovery.errors, [each.share for each in recovery.agreements]
    return {
        "kept": recovery.kept,
        "reason": recovery.reason,
        "steps": recovery.steps,
        "planned": recovery.planned,
        "passes": recovery.passes,
        "examples": recovery.examples,
        "held_out": recovery.held_out,
        "error": {"before": error[0], "after": error[1]} if error else None,
        "agreement": {"before": agreement[0], "after": agreement[1]} if agreement else None,
        "stopped": recovery.stopped,
        "seconds": recovery.seconds,
    }


def recovery_sentence(recovery: Mapping[str, Any]) -> str:
    """Return what gradients did, in a sentence or two.

    Args:
        recovery: The key ``recovery`` of ``frivkit.compression/1``.

    Example:
        >>> recovery_sentence({"kept": False, "reason": "there was no time", "steps": 0,
        ...                    "planned": 0, "seconds": 60.0})
        'Gradients after the refit changed nothing: there was no time (0 of 0 steps, 60 s).'
    """
    made = f"{recovery['steps']:,} of {recovery['planned']:,} steps, {recovery['seconds']:.0f} s"
    if not recovery["kept"]:
        return f"Gradients after the refit changed nothing: {recovery['reason']} ({made})."
    error, agreement = recovery["error"], recovery["agreement"]
    ended = {
        "flat": " until the error no longer fell",
        "time": " until the time was up",
        "interrupted": " until they were interrupted",
        "undefined": " until the loss was no number",
    }.get(recovery["stopped"], "")
    return (
        f"Recovered by gradients{ended} ({made}): the error of features and outputs on "
        f"{recovery['held_out']:,} calibration examples that they did not use went from "
        f"{number(error['before'])} to {number(error['after'])}, the agreement from "
        f"{percent(agreement['before'])} to {percent(agreement['after'])}."
    )
