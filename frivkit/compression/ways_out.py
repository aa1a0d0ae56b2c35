"""Options that lift a refusal: each is tried before it is named."""

from collections.abc import Iterator
from dataclasses import replace

from frivkit.compression.allocation import Allocator
from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints
from frivkit.compression.foretold import cut_rankings
from frivkit.compression.latency_search import NEAR, Timing, least_latency
from frivkit.compression.locks import find_removable
from frivkit.compression.method import Basis, Method, Refit
from frivkit.compression.moves import Moves
from frivkit.compression.overshoot import RESOURCES
from frivkit.compression.plan import amount
from frivkit.compression.ranking import Ranker
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.hooks.registry import installed

_Way = tuple[str, Calibration, Moves, Constraints]
"""What is given in words, and what an allocator then has."""


def with_ways_out(
    error: BudgetError,
    allocator: Allocator,
    method: Method,
    budget: Budget,
    timing: Timing | None = None,
) -> BudgetError:
    """Return an error that also names the options by which a budget can be met, if there are any.

    Args:
        error: Says that the budget cannot be met.
        allocator: Cannot meet it.
        method: Its method.
        budget: The budget; for others than shares of a resource or of the latency the error stays
            as it is.
        timing: The batch and the threads of a budget in time.
    """
    if budget.kind != "latency" and budget.kind not in RESOURCES:
        return error
    found = []
    for name, other, moves, constraints in _ways(allocator, method):
        try:
            tried = Allocator(other, moves, method.allocation, constraints)
            least = _least(tried.at_share(budget.share), budget, timing or Timing())
        except (ModelError, UsageError):  # nothing can be done that way, either
            continue
        if least <= budget.share * (1 + NEAR * (budget.kind == "latency")):
            found.append(f"give {name}, by which {least:.2g} can be left")
    return BudgetError(", or ".join([str(error), *found]), error.least)


def _least(allocator: Allocator, budget: Budget, timing: Timing) -> float:
    """Return the least share of what a budget counts that an allocator can leave."""
    resource = next((each for each in RESOURCES if each == budget.kind), None)
    if resource is None:
        return least_latency(allocator, timing)
    calibration = allocator.calibration
    return allocator.least(resource) / amount(calibration.model.ir, calibration, resource, None)


def _ways(allocator: Allocator, method: Method) -> Iterator[_Way]:
    calibration, moves, constraints = allocator.calibration, allocator.moves, allocator.constraints
    if constraints.round_to != 1:
        yield "--round-to none", calibration, moves, replace(constraints, round_to=1)
    given = {
        "--keep-layer": bool(constraints.keep_layers),
        "--ratio": bool(constraints.ratios),
        "--least": constraints.least > 1,
    }
    if any(given.values()):
        names = " and ".join(name for name, is_given in given.items() if is_given)
        free = Constraints(constraints.round_to, constraints.target)
        yield f"less by {names}", calibration, moves, free
    every = moves
    if method.basis != "auto":
        every = _every_move(calibration, method)
        yield "--basis auto", calibration, every, constraints
    refit: Refit = installed().load("refits", method.refit)
    if not refit.keeps_weights:
        graph = find_removable(calibration.model, calibration.site_map, refits=False).pruning_graph
        if len(graph.groups.locked) < len(calibration.pruning_graph.groups.locked):
            cut = replace(calibration, pruning_graph=graph)
            units = cut_rankings(calibration.site_map, graph)
            if moves.units or every is moves:  # none of them may be free with a refit
                yield "--refit none", cut, replace(moves, units=units), constraints
            if every is not moves:
                together = replace(every, units=units)
                yield "--basis auto with --refit none", cut, together, constraints


def _every_move(calibration: Calibration, method: Method) -> Moves:
    basis: Basis = installed().load("bases", "auto")
    ranker: Ranker = installed().load("rankings", method.ranking)
    return basis(calibration, ranker)
