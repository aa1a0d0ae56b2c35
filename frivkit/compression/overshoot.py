"""Why a plan leaves far less than its budget allows: its steps are coarse."""

from dataclasses import dataclass

import numpy as np

from frivkit.compression.allocation import Allocator
from frivkit.compression.budget import Budget
from frivkit.compression.plan import Plan, Resource, amount
from frivkit.compression.steps import BranchSteps, RankSteps, Steps, UnitSteps

NEAR = 0.9
"""Share of a budget from which on nobody needs to be told that less is left."""
RESOURCES: tuple[Resource, ...] = ("macs", "params", "units")
NAMED = 3
"""Layers that are named."""


@dataclass(frozen=True, slots=True)
class Overshoot:
    """A budget that a plan goes far below.

    Attributes:
        requested: The share of the resource that was asked for.
        reached: The share that is left.
        reason: The step that made the difference, in words.
    """

    requested: float
    reached: float
    reason: str


def find_overshoot(allocator: Allocator, plan: Plan, budget: Budget) -> Overshoot | None:
    """Return why a plan leaves far less than its budget allows; None if it does not.

    Args:
        allocator: Made the plan.
        plan: The plan.
        budget: Its budget; one of time, of an error or of an agreement has no such share.
    """
    resource = next((each for each in RESOURCES if each == budget.kind), None)
    if resource is None or plan.changes_nothing:
        return None
    calibration = allocator.calibration
    whole = amount(calibration.model.ir, calibration, resource, None)
    reached = allocator.cost(plan, resource) / whole
    if reached >= NEAR * budget.share:
        return None
    made = allocator.at_share(budget.share)
    found = made.coarsest(plan, resource)
    if found is None:
        return Overshoot(budget.share, reached, "the shares of units that --ratio gives leave less")
    step, saved = found
    layers = {site.name: site.layer for site in calibration.site_map.sites}
    named = [layers[site] for site in step.sites] if isinstance(step, UnitSteps) else []
    free = made.widths.target is not None and isinstance(step, UnitSteps)
    reason = (
        f"{_action(step, named)} saves {saved / whole:.3g} of the whole in one step, and no finer "
        f"way of so little error was found{'; --round-to none allows more widths' if free else ''}"
    )
    return Overshoot(budget.share, reached, reason)


def _action(step: Steps, layers: list[str]) -> str:
    """Return what a step does, as the subject of a sentence."""
    if isinstance(step, BranchSteps):
        return f"dropping the branch added at {step.move.branch.add}"
    if isinstance(step, RankSteps):
        return f"factorizing {step.node}"
    more = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
    together = "removing units of " if len(layers) == 1 else "removing the coupled units of "
    least = int(np.diff(step.counts).min(initial=step.members))
    several = "" if least == 1 else f", {least} or more at once,"
    return f"{together}{', '.join(layers[:NAMED])}{more}{several}"
