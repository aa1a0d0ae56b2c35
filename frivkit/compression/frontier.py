"""The frontier of a model: plans of several sizes, and what each of them keeps and costs.

All plans come from one calibration.  Each is refitted and applied; its labels are compared with
those of the original on examples that were held out, and its network is timed beside the original.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration
from frivkit.compression.compress import Compressor
from frivkit.compression.latency_search import Stopwatch, Timing
from frivkit.compression.method import Method
from frivkit.compression.overshoot import Overshoot, find_overshoot
from frivkit.compression.plan import Plan, Resource, amount
from frivkit.compression.recovery.settings import Recovery
from frivkit.data import Dataset
from frivkit.errors import BudgetError, NotSmallerError
from frivkit.graph.onnx_io.save import written_aside
from frivkit.latency.target import TargetMachine
from frivkit.latency.timing import Latency, Verdict, verdict
from frivkit.measure.pipeline import ONE_SIDED
from frivkit.tasks.choose import OutputTask
from frivkit.verification.agreement import Agreement
from frivkit.verification.verification import WIDE, is_noise

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.15, 0.1)
"""Shares of the multiply-accumulates that are tried unless others are asked for."""
FEWEST = 8
"""Plans that a frontier should have; where some shares cannot be met, others are put between."""
MOST_TRIED = 16
"""Shares that are put between others at most."""
APART = 0.97
"""Quotient of two shares above which none is put between them."""
FAR_APART = 0.2
"""Distance of the quartiles of a ratio, as a share of its median, that leaves it uncertain."""
RESOURCES: tuple[Resource, ...] = ("macs", "params", "units")

CostKind = Literal["latency", "macs"]
"""What is to be small."""


@dataclass(frozen=True, slots=True)
class LatencyPair:
    """The latency of the original and of a plan's network, measured in interleaved turns.

    Example:
        >>> pair = LatencyPair(Latency((2.0, 2.0, 2.0)), Latency((1.0, 1.2, 1.4)))
        >>> tuple(round(end, 2) for end in pair.ratio)
        (0.55, 0.6, 0.65)
    """

    original: Latency
    compressed: Latency

    @property
    def ratio(self) -> tuple[float, float, float]:
        """The first quartile, the median and the third quartile of the share that is left."""
        return self.compressed.against(self.original)

    @property
    def verdict(self) -> Verdict:
        """What was measured of it."""
        return verdict(self.ratio)

    @property
    def uncertain(self) -> bool:
        """Whether no difference was measured, and the quartiles are far apart."""
        low, middle, high = self.ratio
        return self.verdict == "no difference measured" and high - low > FAR_APART * middle


@dataclass(frozen=True, slots=True, eq=False)
class FrontierPoint:
    """A plan, and what its network keeps and costs.

    Attributes:
        share: The share of the multiply-accumulates that the plan was made for, in (0, 1].
        plan: The plan, without fits.
        left: The shares of the original that are left, by the resource; each 0 or more.
        agreement: The label agreement with the original on the held-out examples.
        latency: The latency beside the original's, by batch size; no entry if it was not measured.
        path: The file that was written, None if none was.
        recovery: What gradients did after the refit; None if none were taken.
        overshoot: Why far less is left than the share allows; None if it is not.
    """

    share: float
    plan: Plan
    left: Mapping[Resource, float]
    agreement: Agreement
    latency: Mapping[int, LatencyPair]
    path: Path | None = None
    recovery: Recovery | None = None
    overshoot: Overshoot | None = None

    def cost(self, cost: CostKind, batch: int | None) -> float | None:
        """Return what is left of the latency or of the multiply-accumulates, None if unknown.

        Args:
            cost: Which.
            batch: The batch size whose latency counts; None if none was timed.
        """
        if cost == "macs":
            return self.left["macs"]
        pair = None if batch is None else self.latency.get(batch)
        return None if pair is None else pair.ratio[1]

    @property
    def is_faster_at(self) -> frozenset[int]:
        """The batch sizes at which the plan's network was measured to be faster."""
        return frozenset(batch for batch, p in self.latency.items() if p.verdict == "faster")


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Plans of several sizes for one model, all measured in the same way.

    Attributes:
        calibration: The original model, and its statistics on the calibration examples.
        method: The method that made the plans.
        target: The machine whose kernels set the widths; None if widths are free or given.
        held_out: The examples on which labels were compared.
        points: The plans, the largest first.
        left_out: Why there is no plan for a share that was asked for, by the share.
        timings: What was timed.
        unmeasured: Why latency was not measured, by batch size.
        warnings: What a user should know of the data and the results, a sentence each.
        tasks: How outputs were compared.
    """

    calibration: Calibration
    method: Method
    target: TargetMachine | None
    held_out: Dataset
    points: tuple[FrontierPoint, ...]
    left_out: Mapping[float, str]
    timings: tuple[Timing, ...]
    unmeasured: Mapping[int, str]
    warnings: tuple[str, ...]
    tasks: tuple[OutputTask, ...]

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that were asked for."""
        return tuple(timing.batch for timing in self.timings)

    def original_latency(self, batch: int) -> Latency | None:
        """Return the latency of the original over all pairs, None if it was not measured."""
        pairs = [point.latency[batch] for point in self.points if batch in point.latency]
        turns = tuple(turn for pair in pairs for turn in pair.original.turns)
        return Latency(turns) if turns else None

    def dominated(self, point: FrontierPoint, cost: CostKind, batch: int | None = None) -> bool:
        """Whether another plan agrees at least as often and costs no more, and one of both less.

        The label agreements that were found are compared, not their intervals.

        Args:
            point: The plan.
            cost: What is to be small.
            batch: The batch size whose latency counts; None takes the first.
        """
        batch = next(iter(self.batches), None) if batch is None else batch
        own = point.cost(cost, batch)
        if own is None:
            return False
        for other in self.points:
            cheap = other.cost(cost, batch)
            if cheap is None or cheap > own or other.agreement.share < point.agreement.share:
                continue
            if cheap < own or other.agreement.share > point.agreement.share:
                return True
        return False

    def smallest(
        self,
        agreement: float,
        cost: CostKind = "latency",
        *,
        batch: int | None = None,
        surely: bool = True,
    ) -> FrontierPoint | None:
        """Return the plan of least cost that agrees as often as is asked for.

        Args:
            agreement: The least label agreement, in (0, 1].
            cost: What is to be small.  By latency, only plans that were measured to be faster than
                the original count.
            batch: The batch size whose latency counts; None takes the first.
            surely: Whether the lower end of the 95 % interval must reach the agreement, or only
                the agreement that was found.  The intervals hold for each plan by itself: the best
                of several plans is a little less good than it looks.

        Returns:
            None if no plan agrees as often: then the original is to be kept.
        """
        batch = next(iter(self.batches), None) if batch is None else batch
        costs = []
        for point in self.points:
            found = point.agreement.interval[0] if surely else point.agreement.share
            own = point.cost(cost, batch)
            if own is None or found < agreement:
                continue
            if cost == "latency" and batch not in point.is_faster_at:
                continue
            costs.append((own, -found, point))
        return min(costs, key=lambda each: each[:2])[2] if costs else None


def frontier(
    compressor: Compressor,
    shares: Iterable[float] | None = None,
    *,
    timings: Sequence[Timing] = (Timing(),),
    output: Callable[[float], Path | None] = lambda share: None,
    done: Callable[[FrontierPoint], None] = lambda point: None,
) -> Frontier:
    """Make plans of several sizes, and measure what each of them keeps and costs.

    Args:
        compressor: The model, calibrated.
        shares: The shares of the multiply-accumulates that plans may keep, each in (0, 1]; None
            takes ``SHARES``, and puts others between them where some cannot be met.
        timings: The batches and the threads that are deployed; empty to time nothing.
        output: The file to write for a share; None writes none.
        done: Called with each plan as soon as it is measured.

    Raises:
        UsageError: a share is out of range.
        BudgetError: no share can be met.
        NotSmallerError: no plan makes the model smaller.
        ModelError: the original gives NaN, or a file cannot be written.
    """
    plans, left_out = _plans(compressor, SHARES if shares is None else tuple(shares))
    plans = plans if shares is not None else _with_more(compressor, plans)
    calibration = compressor.calibration
    requested = compressor.request.output is not None
    compared = AgreementSearch(calibration, compressor.held_out, requested=requested)
    unmeasured = {t.batch: r for t in timings if (r := _unmeasured(calibration, t)) is not None}
    timed = [timing for timing in timings if timing.batch not in unmeasured]
    stopwatches = {timing.batch: Stopwatch(calibration, timing) for timing in timed}
    points, asides = [], []
    with ExitStack() as files:  # put in place together, so that a failure leaves what was there
        for share, plan in sorted(plans.items(), reverse=True):
            try:
                fitted, network, recovery = compressor.finished(plan, Budget("macs", share))
            except NotSmallerError as error:
                left_out[share] = str(error)
                continue
            path = output(share)
            if path is not None:
                aside = files.enter_context(written_aside(network, path, calibration.model))
                asides.append(aside)
            point = FrontierPoint(
                share,
                replace(fitted, fits=(), maps={}),  # which hold all weights
                _left(calibration, plan, network),
                compared.agreement(network),
                {b: LatencyPair(*each.compare(network)) for b, each in stopwatches.items()},
                path,
                recovery,
                find_overshoot(compressor.allocator, plan, Budget("macs", share)),
            )
            points.append(point)
            done(point)
        for aside in asides:
            aside.put_in_place()
    if not points:
        raise NotSmallerError(next(iter(left_out.values())))
    found = Frontier(
        calibration,
        compressor.method,
        compressor.allocator.widths.target,
        compressor.held_out,
        tuple(points),
        dict(sorted(left_out.items(), reverse=True)),
        tuple(timings),
        unmeasured,
        compressor.warnings,
        compared.reference.tasks,
    )
    named = compressor.request.data is not None or "frivkit.data" in calibration.model.metadata
    return replace(found, warnings=(*found.warnings, *_warnings(found, compared, named=named)))


def _plans(
    compressor: Compressor, shares: Sequence[float]
) -> tuple[dict[float, Plan], dict[float, str]]:
    """Return the different plans by their shares, and why other shares have none.

    Raises:
        BudgetError: no share can be met.
    """
    plans: dict[float, Plan] = {}
    left_out: dict[float, str] = {}
    last: BudgetError | None = None
    for share in sorted(set(shares), reverse=True):
        try:
            plan, _ = compressor.plan(Budget("macs", share))
        except BudgetError as error:
            left_out[share], last = f"the smallest model keeps {error.least:.3g}", error
            continue
        same = next((other for other, each in plans.items() if _alike(each, plan)), None)
        if plan.changes_nothing:
            left_out[share] = "nothing can be removed under it"
        elif same is not None:
            left_out[share] = f"its plan is that of {same:g}"
        else:
            plans[share] = plan
    if not plans and last is not None:
        raise compressor.with_ways_out(last, Budget("macs", min(shares))) from last
    return plans, left_out


def _with_more(compressor: Compressor, plans: Mapping[float, Plan]) -> dict[float, Plan]:
    """Return plans with others between them, so that there are enough: in the widest gap first."""
    found = dict(plans)
    whole: dict[float, Plan | None] = {1.0: None}
    closed: set[tuple[float, float]] = set()
    for _ in range(MOST_TRIED):
        shares = sorted([*whole, *found], reverse=True)
        gaps = [
            (low / high, low, high)
            for high, low in pairwise(shares)
            if low / high < APART and (low, high) not in closed
        ]
        if len(found) >= FEWEST or not gaps:
            break
        _, low, high = min(gaps)
        share = round(float(np.sqrt(low * high)), 3)
        plan, _ = compressor.plan(Budget("macs", share))
        if plan.changes_nothing or any(_alike(each, plan) for each in found.values()):
            closed.add((low, high))
        else:
            found[share] = plan
    return found


def _alike(one: Plan, other: Plan) -> bool:
    """Whether two plans make the same network, but for weights."""
    return (
        one.factorized == other.factorized
        and {move.branch for move in one.dropped} == {move.branch for move in other.dropped}
        and all(np.array_equal(flags, other.keep[site]) for site, flags in one.keep.items())
    )


def _left(calibration: Calibration, plan: Plan, network: ir.Model) -> dict[Resource, float]:
    """Return the share of each resource that a finished network keeps."""
    left: dict[Resource, float] = {}
    for resource in RESOURCES:
        counted = plan if resource == "units" else None  # biases that a refit adds are there
        whole = amount(calibration.model.ir, calibration, resource, None)
        left[resource] = amount(network, calibration, resource, counted) / whole
    return left


def _unmeasured(calibration: Calibration, timing: Timing) -> str | None:
    """Return why a batch size cannot be timed, None if it can."""
    model = calibration.model
    fits = model.batch in (None, timing.batch)
    return None if fits else f"{model.path.name} takes batches of {model.batch} only"


def _warnings(found: Frontier, compared: AgreementSearch, *, named: bool) -> list[str]:
    """Return what a user should know of the held-out examples and of the latencies."""
    warnings, held_out = [], found.held_out
    if named and is_noise(held_out.spec):
        warnings.append(
            f"the examples are noise ({held_out.description}): agreement on noise may say little "
            "about agreement on real inputs; give real ones by --data"
        )
    warnings += compared.reference.warnings(ONE_SIDED)
    widest = max(high - low for low, high in (point.agreement.interval for point in found.points))
    if widest > WIDE:
        warnings.append(
            f"{held_out.examples} held-out examples leave the agreement uncertain by up to "
            f"{100 * widest:.0f} percentage points: give more examples"
        )
    for batch in found.batches:
        measured = [point.latency[batch] for point in found.points if batch in point.latency]
        unsure = sum(pair.uncertain for pair in measured)
        if unsure:
            warnings.append(
                f"the latency of {unsure} of {len(measured)} plans at batch {batch} is uncertain: "
                "the machine is busy; run it again when it is idle"
            )
        if measured and not any(pair.verdict == "faster" for pair in measured):
            warnings.append(f"no plan was measured to be faster than the original at batch {batch}")
    return warnings
