"""One allocator over all moves: the next step adds the least predicted error for what it saves.

The allocator starts with the whole network and goes on until nothing can be made smaller.  Each
budget is a place on that path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints, Widths
from frivkit.compression.ledger import Ledger
from frivkit.compression.moves import BranchMove, Moves
from frivkit.compression.plan import (
    Factorization,
    Plan,
    Resource,
    amount,
    group_flags,
    outline,
)
from frivkit.compression.steps import (
    RankSteps,
    Steps,
    UnitSteps,
    active,
    find_steps,
    predicted_error,
)
from frivkit.compression.walker import Path, State, Walker
from frivkit.errors import BudgetError, ModelError, UsageError

Allocation = Literal["global", "uniform"]
"""Whether the next step is the cheapest of all moves, or all moves lose alike."""
CORRECTIONS = 6
"""How often a plan is corrected to what its graph costs, which the ledger may count otherwise."""
FINE_BELOW = 0.25
"""Share of a budget up to which fast widths are finer.  Blocks of 16 channels are too coarse for a
network that keeps so little, and it is far faster than the original at any width."""


POINTS = 48
"""Points of a path that are told of at most."""


@dataclass(frozen=True, slots=True)
class BudgetPath:
    """What was predicted for other budgets, on the path on which a plan was found.

    Attributes:
        resource: What the path saves.
        left: The share of it that is left at each point, falling from 1.
        errors: The predicted error at each point.
    """

    resource: Resource
    left: tuple[float, ...]
    errors: tuple[float, ...]


class Allocator:
    """Plans for one model, under any budget, from the moves of a basis."""

    def __init__(
        self,
        calibration: Calibration,
        moves: Moves,
        allocation: Allocation = "global",
        constraints: Constraints | None = None,
        *,
        fine: bool = False,
    ) -> None:
        """Prepare the moves.

        Args:
            calibration: The model.
            moves: What can be done to it.
            allocation: How a budget is distributed among moves.
            constraints: What plans must keep to beside the budget.
            fine: Whether fast widths are fine ones, see :class:`Widths`.

        Raises:
            ModelError: there is no move.
            UsageError: a pattern of the constraints matches no layer.
        """
        constraints = constraints or Constraints()
        constraints.check_layers([site.layer for site in calibration.site_map.sites])
        if not (moves.units or moves.ranks or moves.branches):
            raise ModelError(_nothing_to_do(calibration, moves))
        self.calibration, self.moves, self._allocation = calibration, moves, allocation
        self.constraints, self._fine = constraints, fine
        self.widths = Widths(calibration.model, calibration.pruning_graph, constraints, fine=fine)
        self._steps = tuple(find_steps(calibration, moves, constraints, self.widths))
        self._finer: Allocator | None = None
        self._walkers: dict[Resource, Walker] = {}
        self._paths: dict[Resource, Path] = {}

    def at_share(self, share: float) -> "Allocator":
        """Return the allocator for a share of the original: with finer widths if it is small."""
        if self._fine or share > FINE_BELOW or self.widths.target is None:
            return self
        if self._finer is None:
            self._finer = Allocator(
                self.calibration, self.moves, self._allocation, self.constraints, fine=True
            )
        return self._finer

    @property
    def _uniform(self) -> bool:
        return self._allocation == "uniform"

    def path(self, resource: Resource) -> Path:
        """Return the path that saves a resource; it is found once.

        Raises:
            UsageError: no move saves this resource.
        """
        if resource not in self._paths:
            walker = self._walker(resource)
            self._paths[resource] = walker.path(uniform=self._uniform)
        return self._paths[resource]

    def known_path(self, kind: str, share: float) -> BudgetPath | None:
        """Return points of the path on which the plan of a budget was found, None if there is none.

        Args:
            kind: What the budget is of.
            share: The share that it allows.
        """
        allocator = self.at_share(share) if kind in ("macs", "params", "units") else self
        resource = next((each for each in allocator._paths if each == kind), None)
        resource = resource or next(iter(allocator._paths), None)
        if resource is None:
            return None
        path = allocator._paths[resource]
        whole = amount(self.calibration.model.ir, self.calibration, resource, None)
        rest = whole - allocator._walker(resource).original
        wanted = np.linspace(path.costs[0], path.costs[-1], POINTS)
        some = np.unique([int(np.abs(path.costs - cost).argmin()) for cost in wanted])
        left = (path.costs[some] + rest) / whole
        return BudgetPath(resource, tuple(left.tolist()), tuple(path.errors[some].tolist()))

    def for_budget(self, resource: Resource, share: float) -> Plan:
        """Return the plan of least predicted error that costs at most a share of the original.

        Raises:
            BudgetError: even the smallest network costs more.
            UsageError: no move saves this resource.
        """
        if (allocator := self.at_share(share)) is not self:
            return allocator.for_budget(resource, share)
        calibration, path, walker = self.calibration, self.path(resource), self._walker(resource)
        whole = amount(calibration.model.ir, calibration, resource, None)
        allowed = share * whole
        # The graph also counts what no weighted node holds, such as batch norms.
        rest = whole - walker.original
        best: Plan | None = None
        for _ in range(CORRECTIONS):
            state = walker.within(path, allowed - rest, uniform=self._uniform)
            plan = self.plan_of(state)
            cost = self.cost(plan, resource)
            if cost <= allowed and (best is None or plan.error < best.error):
                best = plan
            corrected = cost - walker.cost_of(state)
            if corrected == rest or (cost > allowed and corrected < rest):
                break
            rest = corrected
        return best or self._smallest_within(resource, allowed, whole)

    def state_within(self, resource: Resource, cost: float) -> State:
        """Return the state of least predicted error whose cost by the ledger is within a bound.

        It is near the path, or its last state if that costs more.
        """
        path = self.path(resource)
        return self._walker(resource).within(path, cost, uniform=self._uniform)

    def least(self, resource: Resource) -> float:
        """Return what the smallest network costs, counted in its graph."""
        return self.cost(self.plan_of(self.path(resource).states[-1]), resource)

    def _smallest_within(self, resource: Resource, allowed: float, whole: float) -> Plan:
        """Return the first plan of the path whose graph costs no more than is allowed."""
        path = self.path(resource)
        low, high = 0, len(path.states) - 1
        least = self.least(resource)
        if least > allowed:
            raise BudgetError(
                f"{allowed / whole:.4g} of the {resource} of {self.calibration.model.path.name} "
                f"cannot be met: the smallest model has {least / whole:.4g}; ask for more",
                least / whole,
            )
        while low < high:
            middle = (low + high) // 2
            if self.cost(self.plan_of(path.states[middle]), resource) <= allowed:
                high = middle
            else:
                low = middle + 1
        return self.plan_of(path.states[low])

    def for_tolerance(self, tolerance: float) -> Plan:
        """Return the plan in which each move goes as far as a tolerance allows.

        Args:
            tolerance: The share of its variance that each consumer may lose, in (0, 1), by units
                that it no longer reads and by its own factorization together.
        """
        lost: dict[str, float] = {}
        state = []
        for step in self._steps:
            before = sum(lost.get(site, 0.0) for site in step.sites)
            (within,) = np.nonzero(step.errors + before <= tolerance)
            at = int(within[np.argmin(step.sizes[within])]) if within.size else 0
            if isinstance(step, UnitSteps):
                lost |= dict.fromkeys(step.sites, float(step.errors[at]))
            state.append(at)
        return self.plan_of(tuple(state))

    def plan_of(self, state: State) -> Plan:
        """Return the plan of a state of a path."""
        groups = self.calibration.pruning_graph.groups
        kept = np.ones(groups.count, np.bool_)
        factorized: dict[str, Factorization] = {}
        dropped: list[BranchMove] = []
        for i in active(self._steps, state):
            step, at = self._steps[i], state[i]
            if isinstance(step, UnitSteps):
                kept[step.order[: step.counts[at]]] = False
            elif isinstance(step, RankSteps):
                chosen = step.options[at]
                if chosen is not None:
                    factorized[step.node] = chosen
            elif at:
                dropped.append(step.move)
        return Plan(
            groups.flags(kept),
            predicted_error(self._steps, state),
            factorized=factorized,
            dropped=tuple(dropped),
            whole={} if self.moves.units else self._reasons(factorized),
        )

    def cost(self, plan: Plan, resource: Resource) -> float:
        """Return what the network of a plan costs, counted in its graph."""
        return amount(outline(self.calibration, plan), self.calibration, resource, plan)

    def coarsest(self, plan: Plan, resource: Resource) -> tuple[Steps, float] | None:
        """Return the move of a plan whose last step saved most, and how much of a resource.

        None means that no step was taken: the constraints alone make the plan.

        Args:
            plan: A plan of this allocator that changes something.
            resource: The resource.
        """
        kept = group_flags(self.calibration, plan.keep)
        state = tuple(_reached(step, plan, kept) for step in self._steps)
        found = self._walker(resource).coarsest(state)
        return None if found is None else (self._steps[found[0]], found[1])

    def _walker(self, resource: Resource) -> Walker:
        if resource not in self._walkers:
            if resource == "units" and not self.moves.units:
                raise UsageError(
                    "this basis removes no unit, so a share of units means nothing; give --macs "
                    "or --params"
                )
            model, graph = self.calibration.model, self.calibration.pruning_graph
            self._walkers[resource] = Walker(self._steps, Ledger(model, graph, resource), resource)
        return self._walkers[resource]

    def _reasons(self, factorized: Mapping[str, Factorization]) -> dict[str, str]:
        """Return why nodes are not factorized."""
        highest: dict[str, int] = {}
        for each in self.moves.ranks:
            node = each.linear_consumer.consumer.node
            highest[node] = max(highest.get(node, 0), int(each.ranks.max(initial=0)))
        ranks = {
            node: f"a rank below {rank + 1} would lose more than it is worth here"
            for node, rank in highest.items()
            if node not in factorized
        }
        return dict(self.moves.whole or {}) | ranks


def _reached(step: Steps, plan: Plan, kept: NDArray[np.bool_]) -> int:
    """Return the number of the step of a move that a plan has reached.

    Args:
        step: The steps of the move.
        plan: The plan.
        kept: Whether it keeps each group, shape (groups + 1,).
    """
    if isinstance(step, UnitSteps):
        return int(np.searchsorted(step.counts, (~kept[step.order]).sum(), side="right")) - 1
    if isinstance(step, RankSteps):
        return step.options.index(plan.factorized.get(step.node))
    return int(any(move is step.move for move in plan.dropped))


def _nothing_to_do(calibration: Calibration, moves: Moves) -> str:
    """Return why nothing of a model can be made smaller."""
    name, locked = calibration.model.path.name, calibration.pruning_graph.groups.locked
    reasons = (moves.whole or {}).values() or locked.values()
    told = "; ".join(dict.fromkeys(reasons)) or "it has no units"
    done = "factorized" if moves.whole else "removed"
    what = "node" if moves.whole else "unit"
    other = "; --basis auto removes units, too" if moves.whole and calibration.layer_groups else ""
    return f"no {what} of {name} can be {done}: {told[:300]}{other}"
