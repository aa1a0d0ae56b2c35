"""The plan whose network takes a share of the original's time on this machine.

Predicted latency says at how many multiply-accumulates the budget is met.  The network of that plan
is then measured beside the original, and the aim is corrected until the measured share is near the
one that was asked for.  Where the prediction leaves the bracket of what was measured, the bracket
is halved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache as cache_results
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.cache import Cache
from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, outline
from frivkit.compression.walker import Path, State
from frivkit.errors import BudgetError, ModelError
from frivkit.latency.prediction import LatencyModel, fit_latency
from frivkit.latency.stored import latency_key, stored_latency
from frivkit.latency.timing import Latency, interleaved
from frivkit.runtime.session import Device, Session

NEAR = 0.03
"""Distance of the measured share from the budget, relative to it, that is near enough."""
TRIES = 8
"""Plans that are measured at most, and the smallest one if all of them are above the budget."""
COSTS = 257
"""Amounts of multiply-accumulates, from all to the fewest, among which a budget in time is met."""
VARIANTS = 16
"""Random networks along the path from which latency is learned."""
WIDE = 0.1
"""Width of the quartiles of a measured share above which it is uncertain."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What is deployed.

    Attributes:
        batch: Examples of one run.
        threads: Threads of one run; None takes those of the calibration.
    """

    batch: int = 1
    threads: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TimedPlan:
    """A plan under a budget in time, and how it was met.

    Attributes:
        plan: The plan, without fits.
        timing: What was timed.
        requested: The share of the original's latency that was asked for.
        predicted: The share that the latency model predicted.
        measured: The first quartile, the median and the third quartile of the measured share.
        original: The latency of the original.
        compressed: The latency of the plan's network.
        tries: Plans that were measured.
    """

    plan: Plan
    timing: Timing
    requested: float
    predicted: float
    measured: tuple[float, float, float]
    original: Latency
    compressed: Latency
    tries: int

    @property
    def warning(self) -> str | None:
        """Why the budget is not met to 3 %, or not surely; None if it is."""
        low, share, high = self.measured
        if high - low > WIDE:
            return (
                f"the measured share of the latency is uncertain ({low:.2f} to {high:.2f}): the "
                "machine is busy; run it again when it is idle"
            )
        if abs(share / self.requested - 1) > NEAR:
            return (
                f"the latency is {share:.3f} of the original's where {self.requested:.3g} was "
                f"requested: its widths leave no plan nearer to it in {self.tries} tries"
            )
        return None


def plan_for_latency(
    allocator: Allocator, share: float, timing: Timing, cache: Cache | None = None
) -> TimedPlan:
    """Return the plan of least error whose network takes a share of the original's time.

    Args:
        allocator: Makes the plans.
        share: The share of the original's median latency, in (0, 1].
        timing: The batch and the threads that are deployed.
        cache: Where the latency model is kept and reused; None keeps nothing.

    Raises:
        BudgetError: even the smallest network takes longer.
        ModelError: the model takes batches of another size.
    """
    model = allocator.calibration.model
    if model.batch not in (None, timing.batch):
        raise ModelError(
            f"{model.path.name} takes batches of {model.batch} only; give --batch {model.batch}"
        )
    try:
        return _timed_plan(allocator, share, timing, cache)
    except BudgetError:  # finer widths reach further, though they save less time each
        if (finer := allocator.at_share(share)) is allocator:
            raise
        return _timed_plan(finer, share, timing, cache)


def _timed_plan(
    allocator: Allocator, share: float, timing: Timing, cache: Cache | None
) -> TimedPlan:
    """Return the plan of least error at the widths of an allocator."""
    calibration = allocator.calibration
    model, path = calibration.model, allocator.path("macs")
    stopwatch = Stopwatch(calibration, timing)
    latency_model = _latency_model(allocator, path, stopwatch, cache or Cache(None))
    whole = latency_model.predict(model.ir)

    costs = np.linspace(path.costs[0], path.costs[-1], COSTS)

    @cache_results
    def predicted(number: int) -> float:
        plan = allocator.plan_of(allocator.state_within("macs", float(costs[number])))
        return latency_model.predict(outline(calibration, plan)) / whole

    aim, tried, last = share, dict[int, TimedPlan](), COSTS - 1
    above, within = -1, COSTS  # the nearest costs measured above the budget and within it

    def measure(number: int) -> tuple[float, float, float]:
        plan = allocator.plan_of(allocator.state_within("macs", float(costs[number])))
        original, compressed = stopwatch.compare(outline(calibration, plan))
        measured = compressed.against(original)
        tried[number] = TimedPlan(
            plan, timing, share, predicted(number), measured, original, compressed, len(tried) + 1
        )
        return measured

    for _ in range(TRIES):
        number = _first_within(predicted, COSTS, aim)
        if not above < number < within:  # measurements know better than the prediction
            number = (above + within) // 2
        if number in tried or number < 0:
            break
        measured = measure(number)
        if abs(measured[1] / share - 1) <= NEAR:
            break
        if measured[1] > share:
            above = number
        else:
            within = number
        aim *= float(np.clip(share / measured[1], 0.5, 2.0))
    if all(each.measured[1] > share * (1 + NEAR) for each in tried.values()) and last not in tried:
        measure(last)  # whether any network takes so little
    best = _best(list(tried.values()), share)
    if best.measured[1] > share * (1 + NEAR):
        least = tried[last].measured[1]
        raise BudgetError(
            f"{share:.4g} of the latency of {model.path.name} cannot be met: the smallest model "
            f"takes {least:.4g}; ask for more",
            least,
        )
    return replace(best, tries=len(tried))


def least_latency(allocator: Allocator, timing: Timing) -> float:
    """Return the measured share of the latency that the smallest network of an allocator takes."""
    smallest = allocator.plan_of(allocator.path("macs").states[-1])
    stopwatch = Stopwatch(allocator.calibration, timing)
    original, compressed = stopwatch.compare(outline(allocator.calibration, smallest))
    return compressed.against(original)[1]


def _best(tried: Sequence[TimedPlan], share: float) -> TimedPlan:
    """Return the plan nearest to the share; within it, or near enough, comes first.

    Of plans that take as long, it is the one of the least error.
    """

    def distance(timed: TimedPlan) -> tuple[bool, float, float]:
        relative = timed.measured[1] / share - 1
        return relative > NEAR, abs(relative), timed.plan.error

    return min(tried, key=distance)


def _first_within(predicted: Any, count: int, aim: float) -> int:
    """Return the first cost at which a plan is predicted to take no more, else the last."""
    low, high = 0, count - 1
    while low < high:  # latency falls with the operations, but for small steps
        middle = (low + high) // 2
        if predicted(middle) <= aim:
            high = middle
        else:
            low = middle + 1
    return low


class Stopwatch:
    """Times networks beside the original, at the batch and the threads that are deployed.

    Args:
        calibration: The original and its examples, the first of which are run.
        timing: What is deployed; the model must take such batches.
    """

    def __init__(self, calibration: Calibration, timing: Timing) -> None:
        execution, data = calibration.run.execution, calibration.run.data
        threads = execution.threads if timing.threads is None else timing.threads
        self.device = Device(execution.device, threads)
        self.progress, self.batch = execution.progress, timing.batch
        read = data.read(0, min(timing.batch, data.examples)).inputs
        names = {v.name for v in calibration.model.graph.inputs if not v.is_initializer()}
        self.feeds: dict[str, NDArray[Any]] = {
            name: np.resize(array, (timing.batch, *array.shape[1:]))
            for name, array in read.items()
            if name in names
        }
        self._outputs = [value.name or "" for value in calibration.model.graph.outputs]
        self._original = Session(calibration.model.ir, self.device)

    def compare(self, compressed: ir.Model) -> tuple[Latency, Latency]:
        """Return the latency of the original and of a compressed network, in pairs."""
        sessions = (self._original, Session(compressed, self.device))
        runs = [partial(session.run, self.feeds, self._outputs) for session in sessions]
        original, other = interleaved(runs, self.progress, "latency")
        return original, other


def _latency_model(
    allocator: Allocator, path: Path, stopwatch: Stopwatch, cache: Cache
) -> LatencyModel:
    """Return the latency model, learned from networks made of steps that the path takes."""
    calibration = allocator.calibration
    seed = calibration.run.execution.seed

    def fit() -> LatencyModel:
        states = _spread_states(path, seed)
        variants = [outline(calibration, allocator.plan_of(state)) for state in states]
        return fit_latency(
            calibration.model.ir,
            variants,
            stopwatch.feeds,
            device=stopwatch.device,
            progress=stopwatch.progress,
        )

    steps = sha256(np.array(path.states).tobytes()).hexdigest()
    learned_from = {"variants": str(VARIANTS), "seed": str(seed), "steps": steps}
    digest = calibration.model.sha256
    key = latency_key(digest, stopwatch.device, stopwatch.batch, learned_from)
    return stored_latency(cache, key, fit)


def _spread_states(path: Path, seed: int) -> list[State]:
    """Return random states in which each move is spread evenly over the steps that it takes.

    Moves vary independently of each other, so that the latency of each node can be told apart.
    """
    generator = np.random.default_rng(seed)
    taken = np.array(path.states)
    drawn = np.empty((VARIANTS, taken.shape[1]), np.intp)
    for column, steps in enumerate(taken.T):
        values = np.unique(steps)
        shares = (generator.permutation(VARIANTS) + generator.random(VARIANTS)) / VARIANTS
        drawn[:, column] = values[(shares * len(values)).astype(np.intp)]
    return [tuple(state) for state in drawn.tolist()]
