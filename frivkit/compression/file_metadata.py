"""The metadata that a compressed file carries."""

import onnx_ir as ir

from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Method
from frivkit.compression.plan import Plan

STALE = ("frivkit.trainable_parameters", "frivkit.accuracy")
"""Metadata of the original that are not true of a compressed model."""


def describe(
    compressed: ir.Model, calibration: Calibration, budget: Budget, method: Method, plan: Plan
) -> None:
    """Write into a compressed model what it was made of and how.

    Args:
        compressed: The compressed model, whose metadata are changed.
        calibration: The original, and the examples that it was calibrated on.
        budget: The budget.
        method: The method.
        plan: The plan.
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
    for stale in STALE:
        compressed.metadata_props.pop(stale, None)
    compressed.metadata_props.update(metadata)
