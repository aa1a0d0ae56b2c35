"""What a compressed file says of itself."""

import onnx_ir as ir

from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Method
from frivkit.compression.plan import Plan
from frivkit.compression.recovery.settings import Recovery

STALE = ("frivkit.trainable_parameters", "frivkit.accuracy")
"""Metadata of the original that are not true of a compressed model."""


def set_metadata(
    compressed: ir.Model,
    calibration: Calibration,
    budget: Budget,
    method: Method,
    *,
    plan: Plan,
    recovery: Recovery | None,
) -> None:
    """Write into a compressed model what it was made from and how; it is changed.

    Args:
        compressed: The model.
        calibration: The original and the examples.
        budget: The budget.
        method: The method.
        plan: What is kept.
        recovery: What gradients did after the refit; None if none were taken.
    """
    from frivkit import __version__

    kept = sum(int(flags.sum()) for flags in plan.keep.values())
    units = sum(flags.size for flags in plan.keep.values())
    metadata = {
        "frivkit.compressed": __version__,
        "frivkit.source": calibration.model.sha256,
        "frivkit.calibration": calibration.run.data.digest,
        "frivkit.budget": f"{budget.kind} {budget.share:g}",
        "frivkit.method": f"{method.basis} {method.ranking} {method.refit} {method.allocation}",
        "frivkit.units": f"{kept} of {units}",
    }
    if plan.factorized:
        metadata["frivkit.factors"] = str(len(plan.factorized))
    if plan.dropped:
        metadata["frivkit.dropped_branches"] = str(len(plan.dropped))
    if recovery is not None and recovery.kept:
        metadata["frivkit.recovery"] = f"{recovery.steps} steps"
    for stale in STALE:
        compressed.metadata_props.pop(stale, None)
    compressed.metadata_props.update(metadata)
