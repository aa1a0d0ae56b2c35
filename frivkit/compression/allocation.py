"""One allocator over all moves: the next step adds the least predicted error for what it saves.

The allocator starts with the whole network and goes on until nothing can be made smaller.  Each
budget is a place on that path.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.constraints import Constraints, Widths
from frivkit.compression.ledger import Ledger, Removal
from frivkit.compression.moves import BranchMove, Moves, RankMoves
from frivkit.compression.plan import Factorization, Plan, Resource, amount, outline
from frivkit.compression.ranking import Ranking
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.units.moments import Float64Array

Allocation = Literal["global", "uniform"]
"""Whether the next step is the cheapest of all moves, or all moves lose alike."""
AHEAD = 64
"""Steps of one move that are looked ahead, so that a step of no gain hides none behind it."""
CORRECTIONS = 6
"""How often a plan is corrected to what its graph costs, which the ledger may count otherwise."""
FINE_BELOW = 0.25
"""Share of a budget up to which fast widths are finer.  Blocks of 16 channels are too coarse for a
network that keeps so little, and it is far faster than the original at any width."""
FREE = 1e-12
"""Saving below which a step saves nothing."""


State = tuple[int, ...]
"""For each move, which of its steps was reached."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The way from the whole network to the smallest one, in the order of the allocation.

    Attributes:
        states: The states, the whole network first.
        costs: What each state costs by the ledger, shape (states,).
        errors: The predicted error of each state, summed over moves, shape (states,).
    """

    states: Sequence[State]
    costs: Float64Array
    errors: Float64Array

    def first_within(self, cost: float) -> int:
        """Return the number of the first state that costs no more than this, else of the last."""
        (within,) = np.nonzero(self.costs <= cost)
        return int(within[0]) if within.size else len(self.states) - 1


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
        self.widths = Widths(calibration, constraints, fine=fine)
        self._steps = tuple(_steps(calibration, moves, constraints, self.widths))
        self._finer: Allocator | None = None
        self._walkers: dict[Resource, _Walker] = {}
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

    def path(self, resource: Resource) -> Path:
        """Return the path that saves a resource; it is found once.

        Raises:
            UsageError: no move saves this resource.
        """
        if resource not in self._paths:
            walker = self._walker(resource)
            self._paths[resource] = walker.path(uniform=self._allocation == "uniform")
        return self._paths[resource]

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
            state = walker.refined(path.states[path.first_within(allowed - rest)], allowed - rest)
            plan = self.plan_of(state)
            cost = self.cost(plan, resource)
            if cost <= allowed and (best is None or plan.error < best.error):
                best = plan
            corrected = cost - walker.cost_of(state)
            if corrected == rest or (cost > allowed and corrected < rest):
                break
            rest = corrected
        return best or self._smallest_within(resource, allowed, whole)

    def _smallest_within(self, resource: Resource, allowed: float, whole: float) -> Plan:
        """Return the first plan of the path whose graph costs no more than is allowed."""
        path = self.path(resource)
        low, high = 0, len(path.states) - 1
        least = self.cost(self.plan_of(path.states[high]), resource)
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
            if isinstance(step, _UnitSteps):
                lost |= dict.fromkeys(step.sites, float(step.errors[at]))
            state.append(at)
        return self.plan_of(tuple(state))

    def plan_of(self, state: State) -> Plan:
        """Return the plan of a state of a path."""
        groups = self.calibration.pruning_graph.groups
        kept = np.ones(groups.count, np.bool_)
        factorized: dict[str, Factorization] = {}
        dropped: list[BranchMove] = []
        error = 0.0
        for step, at in zip(self._steps, state, strict=True):
            error += float(step.errors[at])
            if isinstance(step, _UnitSteps):
                kept[step.order[: step.counts[at]]] = False
            elif isinstance(step, _RankSteps):
                chosen = step.options[at]
                if chosen is not None:
                    factorized[step.node] = chosen
            elif at:
                dropped.append(step.move)
        inside = {node for move in dropped for node in move.branch.nodes}
        return Plan(
            groups.flags(kept),
            error,
            factorized={node: how for node, how in factorized.items() if node not in inside},
            dropped=tuple(dropped),
            whole={} if self.moves.units else self._reasons(factorized),
        )

    def cost(self, plan: Plan, resource: Resource) -> float:
        """Return what the network of a plan costs, counted in its graph."""
        return amount(outline(self.calibration, plan), self.calibration, resource, plan)

    def _walker(self, resource: Resource) -> "_Walker":
        if resource not in self._walkers:
            if resource == "units" and not self.moves.units:
                raise UsageError(
                    "this basis removes no unit, so a share of units means nothing; give --macs "
                    "or --params"
                )
            model, graph = self.calibration.model, self.calibration.pruning_graph
            self._walkers[resource] = _Walker(self._steps, Ledger(model, graph, resource), resource)
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


def _nothing_to_do(calibration: Calibration, moves: Moves) -> str:
    """Return why nothing of a model can be made smaller."""
    name, locked = calibration.model.path.name, calibration.pruning_graph.groups.locked
    reasons = (moves.whole or {}).values() or locked.values()
    told = "; ".join(dict.fromkeys(reasons)) or "it has no units"
    done = "factorized" if moves.whole else "removed"
    what = "node" if moves.whole else "unit"
    return f"no {what} of {name} can be {done}: {told[:300]}"


@dataclass(frozen=True, slots=True, eq=False)
class _UnitSteps:
    """The widths that one layer group may have.

    Attributes:
        sites: Its sites.
        order: Its groups, the first to be removed first, without those that must stay.
        members: The number of its groups.
        counts: How many of them are removed at each step, rising, shape (steps,).
        errors: The predicted error at each step, shape (steps,).
    """

    sites: tuple[str, ...]
    order: NDArray[np.intp]
    members: int
    counts: NDArray[np.intp]
    errors: Float64Array

    @property
    def sizes(self) -> NDArray[np.float64]:
        """What is left at each step, comparable among its steps."""
        return (self.members - self.counts).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _RankSteps:
    """The ways in which one node may be factorized.

    Attributes:
        node: Its label.
        options: The factorizations; the first entry, None, leaves it whole.
        errors: The predicted error of each, shape (steps,).
        per_rank: For each what its two parts cost for each rank, by the resource, shape (steps, 2).
        sites: The sites whose units it reads.
    """

    node: str
    options: tuple[Factorization | None, ...]
    errors: Float64Array
    per_rank: Mapping[Resource, Float64Array]
    sites: tuple[str, ...]

    @property
    def ranks(self) -> NDArray[np.intp]:
        """The rank of each step, 0 for the whole node."""
        return np.array([0 if each is None else each.rank for each in self.options], np.intp)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """What is left at each step, comparable among its steps."""
        whole = np.inf  # every rank that is offered saves something
        costs = self.ranks * self.per_rank["macs"].sum(axis=1)
        return np.where(self.ranks > 0, costs, whole)


@dataclass(frozen=True, slots=True, eq=False)
class _BranchSteps:
    """A residual block with its branch, and without it."""

    move: BranchMove
    sites: tuple[str, ...] = ()

    @property
    def errors(self) -> Float64Array:
        return np.array([0.0, self.move.error])

    @property
    def sizes(self) -> NDArray[np.float64]:
        return np.array([1.0, 0.0])


_AnySteps = _UnitSteps | _RankSteps | _BranchSteps


def _steps(
    calibration: Calibration, moves: Moves, constraints: Constraints, widths: Widths
) -> Iterator[_AnySteps]:
    """Yield the steps of each move that the constraints leave."""
    for ranking in moves.units:
        yield _unit_steps(calibration, ranking, constraints, widths)
    produced = {node: site.layer for site in calibration.site_map.sites for node in site.producers}
    by_node: dict[str, list[RankMoves]] = {}
    for each in moves.ranks:
        node = each.linear_consumer.consumer.node
        if not constraints.keeps_whole(produced.get(node, node)):
            by_node.setdefault(node, []).append(each)
    for node, several in by_node.items():
        yield _rank_steps(node, several, widths)
    for move in moves.branches:
        inside = {produced[node] for node in move.branch.nodes if node in produced}
        if not any(map(constraints.keeps_whole, inside)) and not any(
            constraints.share_of(layer) is not None for layer in inside
        ):
            yield _BranchSteps(move)


def _unit_steps(
    calibration: Calibration, ranking: Ranking, constraints: Constraints, widths: Widths
) -> _UnitSteps:
    """Return the steps of one layer group."""
    groups = calibration.pruning_graph.groups
    layers = [site.layer for site in calibration.site_map.sites if site.name in ranking.sites]
    order, errors = _removable(calibration, ranking, constraints.least)
    members = len(np.unique(np.concatenate([groups.of[site] for site in ranking.sites])))
    counts = np.unique(members - widths.counts(ranking.sites))
    counts = counts[(counts >= 0) & (counts <= len(order))]
    shares = [s for s in map(constraints.share_of, layers) if s is not None]
    if any(map(constraints.keeps_whole, layers)):
        counts = counts[:1]
    elif shares:
        wanted = members - max(1, round(max(shares) * members))
        counts = counts[counts <= wanted][-1:]
    curve = np.concatenate([[0.0], errors])[counts]
    return _UnitSteps(ranking.sites, order, members, counts, curve)


def _removable(
    calibration: Calibration, ranking: Ranking, least: int
) -> tuple[NDArray[np.intp], Float64Array]:
    """Return the groups of a ranking that can all be removed, in order, and the errors.

    Every site, and every part into which units are split, keeps at least one unit.
    """
    groups = calibration.pruning_graph.groups
    mine = set(ranking.order.tolist())
    rows = [*(groups.of[site] for site in ranking.sites), *groups.rows]
    rows = [row for row in rows if mine.intersection(row.tolist())]
    allowed = [max(1, min(least, len(row))) for row in rows]
    sizes = [len(row) for row in rows]
    where: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        for group in row.tolist():
            where.setdefault(group, []).append(number)
    order, errors, error, before = [], [], 0.0, 0.0
    for group, after in zip(ranking.order.tolist(), ranking.errors.tolist(), strict=True):
        lost = dict.fromkeys(where[group], 0)
        for number in where[group]:
            lost[number] += 1
        if all(sizes[number] - count >= allowed[number] for number, count in lost.items()):
            for number, count in lost.items():
                sizes[number] -= count
            error += max(after - before, 0.0)
            order.append(group)
            errors.append(error)
        before = after
    return np.array(order, np.intp), np.array(errors)


def _rank_steps(node: str, several: Sequence[RankMoves], widths: Widths) -> _RankSteps:
    """Return the factorizations of one node, of all kinds."""
    options: list[Factorization | None] = [None]
    errors, macs, params = [0.0], [(0.0, 0.0)], [(0.0, 0.0)]
    for moves in several:
        convolves = moves.linear_consumer.source.geometry is not None
        for rank, error, own in zip(
            moves.ranks.tolist(), moves.errors.tolist(), moves.own_errors, strict=True
        ):
            if widths.allows_rank(rank, convolves=convolves):
                options.append(Factorization(moves.kind, rank, own))
                errors.append(error)
                macs.append(moves.macs)
                params.append(moves.params)
    per_rank: dict[Resource, Float64Array] = {
        "macs": np.array(macs),
        "params": np.array(params),
        "units": np.zeros((len(options), 2)),
    }
    sites = several[0].linear_consumer.consumer.sites
    return _RankSteps(node, tuple(options), np.array(errors), per_rank, sites)


class _Walker:
    """Goes from state to state, and keeps the ledger."""

    def __init__(self, steps: Sequence[_AnySteps], ledger: Ledger, resource: Resource) -> None:
        self._steps, self._ledger, self._resource = steps, ledger, resource
        self.original = ledger.total
        self._removals: list[Removal | None] = [
            ledger.removal(each.order) if isinstance(each, _UnitSteps) else None for each in steps
        ]
        self._at = [0] * len(steps)
        self._start()

    def _start(self) -> None:
        """Go to the first steps, which remove something already if a layer's share is given."""
        for step, removal in zip(self._steps, self._removals, strict=True):
            if isinstance(step, _UnitSteps) and removal is not None:
                self._ledger.remove(removal, 0, int(step.counts[0]))

    def cost_of(self, state: State) -> float:
        """Return what a state costs."""
        self._go_to(state)
        return self._ledger.total

    def path(self, *, uniform: bool) -> Path:
        """Return the path from the first state on."""
        self._go_to((0,) * len(self._steps))
        best = self._next_alike if uniform else self._next_cheapest
        states, costs = [tuple(self._at)], [self._ledger.total]
        error = sum(float(step.errors[0]) for step in self._steps)
        errors = [error]
        heap = [(price, i) for i in range(len(self._steps)) if (price := best(i)[0]) < np.inf]
        heapq.heapify(heap)
        while heap:
            _, i = heapq.heappop(heap)
            price, then = best(i)  # what it saves may have changed since it was pushed
            if heap and price > heap[0][0]:
                if price < np.inf:
                    heapq.heappush(heap, (price, i))
                continue
            if price == np.inf:
                continue
            error += float(self._steps[i].errors[then] - self._steps[i].errors[self._at[i]])
            self._go(i, then)
            states.append(tuple(self._at))
            costs.append(self._ledger.total)
            errors.append(error)
            price = best(i)[0]
            if price < np.inf:
                heapq.heappush(heap, (price, i))
        return Path(states, np.array(costs), np.array(errors))

    def refined(self, state: State, allowed: float) -> State:
        """Return a state of less error that costs no more than is allowed.

        The last step of a path often saves more than was needed; what is left over goes to the
        moves where it lowers the error most.
        """
        self._go_to(state)
        slack = allowed - self._ledger.total
        while slack > 0:
            gains = [self._best_gain(i, slack) for i in range(len(self._steps))]
            i = max(range(len(gains)), key=lambda number: gains[number][0], default=None)
            if i is None or gains[i][0] <= 0:
                break
            self._go(i, gains[i][1])
            slack = allowed - self._ledger.total
        return tuple(self._at)

    def _best_gain(self, i: int, slack: float) -> tuple[float, int]:
        """Return by how much the error can fall within the slack, and the step to go to."""
        then = np.arange(len(self._steps[i].errors))
        gains = self._steps[i].errors[self._at[i]] - self._steps[i].errors
        gains = np.where(-self._saved(i, then) <= slack, gains, -np.inf)
        best = int(gains.argmax())
        return float(gains[best]), best

    def _next_cheapest(self, i: int) -> tuple[float, int]:
        """Return the added error for what is saved, and the step, of the cheapest next step."""
        step, now = self._steps[i], self._at[i]
        count = len(step.errors)
        then = (
            np.arange(count)
            if isinstance(step, _RankSteps)
            else np.arange(now + 1, min(count, now + 1 + AHEAD))
        )
        if not then.size:
            return np.inf, now
        saved = self._saved(i, then)
        added = step.errors[then] - step.errors[now]
        prices = np.where(saved > FREE, added / np.maximum(saved, FREE), np.inf)
        best = int(prices.argmin())
        return float(prices[best]), int(then[best])

    def _next_alike(self, i: int) -> tuple[float, int]:
        """Return the share of a move that is gone after its next step, and the step."""
        step, now = self._steps[i], self._at[i]
        sizes = step.sizes
        (smaller,) = np.nonzero(sizes < sizes[now])
        if not smaller.size:
            return np.inf, now
        then = int(smaller[sizes[smaller].argmax()])
        if self._saved(i, np.array([then]))[0] <= FREE:
            return np.inf, now
        largest = sizes[np.isfinite(sizes)].max()
        return float(1 - sizes[then] / largest), then

    def _saved(self, i: int, then: NDArray[np.intp]) -> Float64Array:
        """Return what is saved by going to other steps of a move."""
        step, ledger, now = self._steps[i], self._ledger, self._at[i]
        removal = self._removals[i]
        if isinstance(step, _UnitSteps) and removal is not None:
            return ledger.saved_by_removal(removal, int(step.counts[now]), step.counts[then])
        if isinstance(step, _RankSteps):
            node = ledger.index.get(step.node)
            if node is None:
                return np.zeros(len(then))
            costs = ledger.cost_at_ranks(node, step.ranks, step.per_rank[self._resource])
            saved: Float64Array = costs[now] - costs[then]
            return saved
        if isinstance(step, _BranchSteps):
            inside = [ledger.index[node] for node in step.move.branch.nodes if node in ledger.index]
            return np.where(then == now, 0.0, (1 - 2 * now) * ledger.cost_of(inside))
        return np.zeros(len(then))

    def _go(self, i: int, then: int) -> None:
        step, ledger, now = self._steps[i], self._ledger, self._at[i]
        removal = self._removals[i]
        if isinstance(step, _UnitSteps) and removal is not None:
            ledger.remove(removal, int(step.counts[now]), int(step.counts[then]))
        elif isinstance(step, _RankSteps) and step.node in ledger.index:
            per_rank = step.per_rank[self._resource][then]
            ledger.set_rank(ledger.index[step.node], int(step.ranks[then]), per_rank)
        elif isinstance(step, _BranchSteps):
            inside = [ledger.index[node] for node in step.move.branch.nodes if node in ledger.index]
            ledger.set_dropped(inside, dropped=bool(then))
        self._at[i] = then

    def _go_to(self, state: State) -> None:
        for i, then in enumerate(state):
            if then != self._at[i]:
                self._go(i, then)
