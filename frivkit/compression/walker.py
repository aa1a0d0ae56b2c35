"""The walk from the whole network to the smallest one, step by step, with the ledger."""

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.ledger import Ledger, Removal
from frivkit.compression.plan import Resource
from frivkit.compression.steps import (
    BranchSteps,
    RankSteps,
    Steps,
    UnitSteps,
    active,
    predicted_error,
)
from frivkit.units.moments import Float64Array

AHEAD = 64
"""Steps of one move that are looked ahead, so that a step of no gain hides none behind it."""
NEAR = 0.95
"""Share of a bound from which on a state is near enough that no other way is tried."""
DETOURS = 8
"""Steps that are left out, one after the other, when the path passes a bound by far."""
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


class Walker:
    """Goes from state to state, and keeps the ledger."""

    def __init__(self, steps: Sequence[Steps], ledger: Ledger, resource: Resource) -> None:
        self._steps, self._ledger, self._resource = steps, ledger, resource
        self.original = ledger.total
        self._removals: list[Removal | None] = [
            ledger.removal(each.order) if isinstance(each, UnitSteps) else None for each in steps
        ]
        self._at = [0] * len(steps)
        self._around: dict[int, list[int]] = {}  # the branches around a step
        for number, step in enumerate(steps):
            for i in step.inside if isinstance(step, BranchSteps) else ():
                self._around.setdefault(i, []).append(number)
        self._start()

    def _start(self) -> None:
        """Go to the first steps, which remove something already if a layer's share is given."""
        for step, removal in zip(self._steps, self._removals, strict=True):
            if isinstance(step, UnitSteps) and removal is not None:
                self._ledger.remove(removal, 0, int(step.counts[0]))

    def cost_of(self, state: State) -> float:
        """Return what a state costs."""
        self._go_to(state)
        return self._ledger.total

    def coarsest(self, state: State) -> tuple[int, float] | None:
        """Return the move whose last step saved most, and what it saved; None without a step.

        Args:
            state: The state.
        """
        self._go_to(state)
        made = [i for i in active(self._steps, state) if state[i]]
        saved = {i: float(-self._saved(i, np.array([state[i] - 1]))[0]) for i in made}
        i = max(saved, key=lambda number: saved[number], default=None)
        return None if i is None else (i, saved[i])

    def path(
        self,
        *,
        uniform: bool,
        start: State | None = None,
        held: Collection[int] = (),
        until: float = 0.0,
    ) -> Path:
        """Return the path from a state on.

        Args:
            uniform: Whether all moves lose alike; else the cheapest step comes next.
            start: The state; None takes the whole network.
            held: Numbers of moves of which no step is taken.
            until: The cost at which the path may end.
        """
        self._go_to((0,) * len(self._steps) if start is None else start)
        best = self._next_alike if uniform else self._next_cheapest
        states, costs = [tuple(self._at)], [self._ledger.total]
        errors = [predicted_error(self._steps, self._at)]
        free = [i for i in range(len(self._steps)) if i not in held]
        heap = [(price, i) for i in free if (price := best(i)[0]) < np.inf]
        heapq.heapify(heap)
        while heap and costs[-1] > until:
            _, i = heapq.heappop(heap)
            price, then = best(i)  # what it saves may have changed since it was pushed
            if heap and price > heap[0][0]:
                if price < np.inf:
                    heapq.heappush(heap, (price, i))
                continue
            if price == np.inf:
                continue
            changed = self._errors(i)
            errors.append(errors[-1] + float(changed[then] - changed[self._at[i]]))
            self._go(i, then)
            states.append(tuple(self._at))
            costs.append(self._ledger.total)
            # The more is gone of a branch, the less its removal adds.
            for other in (i, *self._around.get(i, ())):
                price = np.inf if other in held else best(other)[0]
                if price < np.inf:
                    heapq.heappush(heap, (price, other))
        return Path(states, np.array(costs), np.array(errors))

    def within(self, path: Path, allowed: float, *, uniform: bool) -> State:
        """Return the state of least error, near a path, that costs no more than is allowed.

        The step of the path that meets the bound may save far more than was needed, as that of a
        branch with all that is in it does.  So the path is also left before that step, and gone on
        without it.  If not even the end of the path meets the bound, it is the state returned.

        Args:
            path: The path.
            allowed: The bound, by the ledger.
            uniform: Whether all moves lose alike, so that the path is not left.
        """
        at = path.first_within(allowed)
        best = self.refined(path.states[at], allowed)
        held: set[int] = set()
        for _ in range(0 if uniform else DETOURS):
            if at == 0 or path.costs[at] > allowed or self.cost_of(best) >= NEAR * allowed:
                break
            before, after = path.states[at - 1], path.states[at]
            held |= {i for i in range(len(before)) if before[i] != after[i]}
            path = self.path(uniform=False, start=before, held=held, until=allowed)
            at = path.first_within(allowed)
            if path.costs[at] > allowed:
                break
            for finer in (held, ()):
                found = self.refined(path.states[at], allowed, finer)
                if self._error_of(found) < self._error_of(best):
                    best = found
        return best

    def _error_of(self, state: State) -> float:
        return predicted_error(self._steps, state)

    def refined(self, state: State, allowed: float, held: Collection[int] = ()) -> State:
        """Return a state of less error that costs no more than is allowed.

        The last step of a path often saves more than was needed; what is left over goes to the
        moves where it lowers the error most, those that are held left out.
        """
        self._go_to(state)
        slack = allowed - self._ledger.total
        while slack > 0:
            free = (i for i in range(len(self._steps)) if i not in held)
            gains = {i: self._best_gain(i, slack) for i in free}
            i = max(gains, key=lambda number: gains[number][0], default=None)
            if i is None or gains[i][0] <= 0:
                break
            self._go(i, gains[i][1])
            slack = allowed - self._ledger.total
        return tuple(self._at)

    def _best_gain(self, i: int, slack: float) -> tuple[float, int]:
        """Return by how much the error can fall within the slack, and the step to go to."""
        errors = self._errors(i)
        then = np.arange(len(errors))
        gains = errors[self._at[i]] - errors
        affordable = (-self._saved(i, then) <= slack) & ~np.isnan(gains)  # errors may overflow
        gains = np.where(affordable, gains, -np.inf)
        best = int(gains.argmax())
        return float(gains[best]), best

    def _next_cheapest(self, i: int) -> tuple[float, int]:
        """Return the added error for what is saved, and the step, of the cheapest next step."""
        step, now = self._steps[i], self._at[i]
        count = len(step.errors)
        then = (
            np.arange(count)
            if isinstance(step, RankSteps)
            else np.arange(now + 1, min(count, now + 1 + AHEAD))
        )
        if not then.size:
            return np.inf, now
        saved = self._saved(i, then)
        errors = self._errors(i)
        added = errors[then] - errors[now]
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

    def _errors(self, i: int) -> Float64Array:
        """Return the predicted error at each step of a move, as the other moves are now.

        A dropped branch has its own error in place of those inside it.
        """
        step = self._steps[i]
        if any(self._at[branch] for branch in self._around.get(i, ())):
            return np.zeros(len(step.errors))
        if not isinstance(step, BranchSteps):
            return step.errors
        without = [0 if number == i else at for number, at in enumerate(self._at)]
        inside = step.inside.intersection(active(self._steps, without))
        kept = sum(float(self._steps[j].errors[self._at[j]]) for j in inside)
        return np.array([kept, step.move.error])

    def _saved(self, i: int, then: NDArray[np.intp]) -> Float64Array:
        """Return what is saved by going to other steps of a move."""
        step, ledger, now = self._steps[i], self._ledger, self._at[i]
        removal = self._removals[i]
        if isinstance(step, UnitSteps) and removal is not None:
            return ledger.saved_by_removal(removal, int(step.counts[now]), step.counts[then])
        if isinstance(step, RankSteps):
            node = ledger.index.get(step.node)
            if node is None:
                return np.zeros(len(then))
            costs = ledger.cost_at_ranks(node, step.ranks, step.per_rank[self._resource])
            saved: Float64Array = costs[now] - costs[then]
            return saved
        if isinstance(step, BranchSteps):
            inside = [ledger.index[node] for node in step.move.branch.nodes if node in ledger.index]
            return np.where(
                then == now, 0.0, (1 - 2 * now) * ledger.dropping(inside, now=bool(now))
            )
        return np.zeros(len(then))

    def _go(self, i: int, then: int) -> None:
        step, ledger, now = self._steps[i], self._ledger, self._at[i]
        removal = self._removals[i]
        if isinstance(step, UnitSteps) and removal is not None:
            ledger.remove(removal, int(step.counts[now]), int(step.counts[then]))
        elif isinstance(step, RankSteps) and step.node in ledger.index:
            per_rank = step.per_rank[self._resource][then]
            ledger.set_rank(ledger.index[step.node], int(step.ranks[then]), per_rank)
        elif isinstance(step, BranchSteps) and then != now:
            inside = [ledger.index[node] for node in step.move.branch.nodes if node in ledger.index]
            ledger.set_dropped(inside, dropped=bool(then))
        self._at[i] = then

    def _go_to(self, state: State) -> None:
        for i, then in enumerate(state):
            if then != self._at[i]:
                self._go(i, then)
