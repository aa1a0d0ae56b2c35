"""The steps of a compression: open, calibrate, plan, refit, write, verify.  Read from the top."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from frivkit.cache import Cache
from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.allocation import Allocator, BudgetPath
from frivkit.compression.budget import Budget
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.constraints import Constraints
from frivkit.compression.cut_errors import without_refits
from frivkit.compression.foretold import held_layers
from frivkit.compression.latency_search import TimedPlan, Timing, plan_for_latency
from frivkit.compression.metadata import set_metadata
from frivkit.compression.method import Basis, Method, Refit
from frivkit.compression.overshoot import Overshoot, find_overshoot
from frivkit.compression.plan import Plan, apply_plan, units_left
from frivkit.compression.plan_file import read_plan, warnings_of
from frivkit.compression.ranking import Ranker
from frivkit.compression.recovery.recover import Recoverer, check_recoverable
from frivkit.compression.recovery.settings import Recovery, recovery_settings
from frivkit.compression.ruined_layers import ruined_layers
from frivkit.compression.splits import split_examples
from frivkit.compression.unit_kinds import UnitKinds, classify_units
from frivkit.compression.ways_out import with_ways_out
from frivkit.data import Data
from frivkit.errors import BudgetError, ModelError, NotSmallerError, UsageError
from frivkit.graph.model import parameters
from frivkit.graph.onnx_io.finite import check_weights
from frivkit.graph.onnx_io.save import written_aside
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.latency.target import TargetMachine
from frivkit.measure.pipeline import Request, load_model, named_data
from frivkit.quantization import Int8Result, int8_path, write_int8
from frivkit.runtime.blas import blas_threads
from frivkit.runtime.file_check import naming_faults
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.output_check import check_output
from frivkit.runtime.whole_memory import beside_weights, bytes_of_new_weights
from frivkit.tasks.choose import choose_tasks
from frivkit.verification import Verification, verify
from frivkit.verification.verification import BATCHES, put_in_place


@dataclass(frozen=True, slots=True, eq=False)
class Compression:
    """The result of a compression, with all that a report needs.

    Attributes:
        calibration: The original model, and its statistics on the calibration examples.
        method: The method.
        constraints: What the plan keeps to beside the budget.
        budget: The budget.
        target: The machine whose kernels set the widths; None if widths are free or given.
        plan: The units that are kept, and the new weights.
        timing: How a budget in time was met; None for others.
        overshoot: Why far less is left than the budget allows; None if it is not.
        path: The file that was written, None if none was.
        verification: The comparison with the original on other examples; None if no file was
            written.
        int8: The int8 file that was made of it; None if none was.
        warnings: What a user should know of the data and the result, a sentence each.
        recovery: What gradients did after the refit; None if none were taken.
        budget_path: What was predicted for other budgets; None if the plan was found on no path.
    """

    calibration: Calibration
    method: Method
    constraints: Constraints
    budget: Budget
    target: TargetMachine | None
    plan: Plan
    timing: TimedPlan | None
    overshoot: Overshoot | None
    path: Path | None
    verification: Verification | None
    int8: Int8Result | None
    warnings: tuple[str, ...]
    recovery: Recovery | None = None
    budget_path: BudgetPath | None = None

    @property
    def locked_layers(self) -> Mapping[str, str]:
        """The layers of which no unit can be removed, with the reason, by the layer's name.

        None of those that leave with a branch is among them.
        """
        calibration = self.calibration
        reasons = held_layers(
            calibration.model, calibration.site_map, calibration.pruning_graph, self.constraints
        )
        left = {site.layer: units_left(self.plan, site) for site in calibration.site_map.sites}
        return {layer: why for layer, why in reasons.items() if why is not None and left[layer]}

    @property
    def kinds(self) -> UnitKinds:
        """Which of the removed units are prunable, and which redundant."""
        return classify_units(self.calibration, self.plan.keep)


class Compressor:
    """A model that was opened, calibrated and ranked: ready for any budget.

    Attributes:
        calibration: The model and its statistics.
        allocator: Makes its plans.
        held_out: The examples to verify on.
        warnings: What a user should know of the data.
    """

    def __init__(
        self,
        request: Request,
        *,
        verify_data: Data | None = None,
        method: Method | None = None,
        constraints: Constraints | None = None,
        searches: bool = False,
        cache: Cache | None = None,
        recover: float | None = None,
        augment: Sequence[str] = (),
    ) -> None:
        """Open the model and calibrate it.

        Args:
            request: The model, the data to calibrate on and how to run; labels of the data are not
                used.
            verify_data: Data to verify on; None sets aside one in four examples of the others.
            method: Basis, ranking, refit and allocation; None takes the defaults.
            constraints: What plans must keep to beside a budget.
            searches: Whether examples are set aside to search for an agreement.
            cache: Where the calibration is kept and reused; None keeps nothing.
            recover: Minutes that gradients may take after the refit of each plan; None takes
                none, or those of the refit.
            augment: How images may be changed meanwhile, any of ``crop`` and ``flip``.

        Raises:
            UsageError: the method names something that no plugin offers, or a value means nothing.
            FrivkitError: gradients are requested, and the extra ``to-torch`` is not installed.
            ModelError: the model cannot be read or run, gradients are requested and it cannot be
                used in torch, or nothing of it can be made smaller.
            DataError: the data cannot be read, do not fit, or are too few.
        """
        self.method, self._cache = method or Method(), cache
        basis: Basis = installed().load("bases", self.method.basis)
        ranker: Ranker = installed().load("rankings", self.method.ranking)
        self._refit: Refit = installed().load("refits", self.method.refit)
        recovery = recovery_settings(recover, augment, recovers=self._refit.recovers)
        constraints = constraints or Constraints()
        model = load_model(request)
        if model.changes:
            raise ModelError(
                f"{model.path.name} is read otherwise than it is written ({model.changes[0]}), so "
                "no smaller file can be made of it: compress the float32 model that it came from"
            )
        more = bytes_of_new_weights(model, trains=recovery is not None)
        room = beside_weights(request.execution, model, more=more)
        check_weights(model)
        examples, self.warnings = named_data(request, model)
        self.warnings += tuple(f"{model.path.name}: {note}" for note in model.notes)
        room.progress.start("finding layers", 0)
        with naming_faults(model):
            model = prepare_model(model, Opening(room, examples, request.output), keep_file=True)
            model = check_output(model, model.output(request.output), room, examples)
            choose_tasks(model, request.execution.labels, request.output)  # refuses at once
            site_map = find_sites(model, request.output, any_batch_axis=True, every_output=True)
        data, self._search_data, self.held_out = split_examples(
            examples, model, verify_data, searches=searches
        )
        self.request = replace(request, model=model, execution=room)  # it is not read again
        run = Run(data, model.output(request.output), room)
        constraints.check_layers([site.layer for site in site_map.sites])
        if recovery is not None:
            check_recoverable(model, site_map, run, recovery)
        with naming_faults(model), blas_threads(request.execution.threads):
            self.calibration = calibrate(
                model, site_map, run, refits=not self._refit.keeps_weights, cache=cache
            )
            room.progress.start("ranking", 0)
            moves = basis(self.calibration, ranker)
            if self._refit.keeps_weights:
                moves = without_refits(self.calibration, moves)
        widest = max((site.width for site in self.calibration.site_map.sites), default=0)
        if data.examples < widest:
            self.warnings += (
                f"{data.examples} examples calibrate layers of up to {widest} units: fits lean on "
                "ridges, and more examples would do better",
            )
        self.allocator = Allocator(self.calibration, moves, self.method.allocation, constraints)
        self._recoverer = None
        if recovery is not None:
            requested = request.output is not None
            self._recoverer = Recoverer(self.calibration, recovery, requested=requested)

    @cached_property
    def _search(self) -> AgreementSearch:
        data = self._search_data or self.calibration.run.data
        return AgreementSearch(self.calibration, data, requested=self.request.output is not None)

    def plan(self, budget: Budget, timing: Timing | None = None) -> tuple[Plan, TimedPlan | None]:
        """Return the plan under a budget, before a refit, and how a budget in time was met.

        Raises:
            BudgetError: even the smallest network exceeds the budget.
            UsageError: the method has no such budget.
        """
        if budget.kind == "tolerance":
            return self.allocator.for_tolerance(budget.share), None
        if budget.kind == "agreement":
            with blas_threads(self.request.execution.threads):
                return self._search.smallest(self.allocator, self._refit, budget.share), None
        if budget.kind == "latency":
            timed = plan_for_latency(self.allocator, budget.share, timing or Timing(), self._cache)
            return timed.plan, timed
        if budget.kind == "plan":
            raise UsageError("a plan is given; it needs no budget")
        return self.allocator.for_budget(budget.kind, budget.share), None

    def with_ways_out(
        self, error: BudgetError, budget: Budget, timing: Timing | None = None
    ) -> BudgetError:
        """Return an error that also names the options by which its budget can be met."""
        return with_ways_out(error, self.allocator, self.method, budget, timing)

    def read_plan(self, path: Path) -> Plan:
        """Return the plan of a JSON file.

        Raises:
            UsageError: it cannot be read or does not fit the model.
        """
        plan = read_plan(path, self.calibration, self.allocator.moves)
        self.warnings += warnings_of(path)
        return plan

    def refitted(self, plan: Plan, budget: Budget) -> tuple[Plan, ir.Model]:
        """Return a plan with its fits, and the compressed model."""
        calibration = self.calibration
        with blas_threads(self.request.execution.threads):
            refitted = self._refit.refitted(calibration, plan)
        compressed = apply_plan(calibration, refitted)
        if self._too_rare(compressed, budget) is not None:  # as the search tried it
            refitted = self._refit.refitted(calibration, plan, quickly=True)
            compressed = apply_plan(calibration, refitted)
        return refitted, compressed

    def finished(self, plan: Plan, budget: Budget) -> tuple[Plan, ir.Model, Recovery | None]:
        """Return a plan with its fits, the compressed model as it is written, and its recovery.

        Raises:
            NotSmallerError: the compressed model would not be smaller.
        """
        calibration, name = self.calibration, self.calibration.model.path.name
        under = "this plan" if budget.kind == "plan" else f"{budget.kind} {budget.share:g}"
        if plan.changes_nothing:
            reason = f"no unit of {name} can be removed under {under}"
            raise NotSmallerError(f"{reason}, so nothing would be smaller; allow more")
        plan, compressed = self.refitted(plan, budget)
        if parameters(compressed.graph) >= parameters(calibration.model.graph):
            raise NotSmallerError(
                f"{name} would get no smaller under {under}: the biases that are added outweigh "
                "what is saved; ask for a smaller one, or give --refit none, which adds none"
            )
        recovery = None
        if self._recoverer is not None:
            compressed, recovery = self._recoverer.recovered(
                plan, compressed, lambda network: self._too_rare(network, budget)
            )
        set_metadata(compressed, calibration, budget, self.method, plan=plan, recovery=recovery)
        return plan, compressed, recovery

    def _too_rare(self, compressed: ir.Model, budget: Budget) -> str | None:
        """Return that a network agrees too rarely for a budget, None if it does not."""
        counts = budget.kind == "agreement"
        return self._search.too_rare(compressed, budget.share) if counts else None

    def compress(
        self,
        budget: Budget,
        output: Path | None,
        *,
        plan: Plan | None = None,
        timing: Timing | None = None,
        time_batches: Sequence[int] = BATCHES,
        int8: bool = False,
    ) -> Compression:
        """Plan under a budget, refit, verify the compressed model and then put it in its place.

        Args:
            budget: The size or the quality of the compressed model.
            output: The file to write; None makes a plan and writes nothing.
            plan: A plan to take instead of one under the budget.
            timing: The batch and the threads of a budget in time.
            time_batches: Batch sizes at which the file is timed; empty to time nothing.
            int8: Whether to write an int8 file beside it, named by ``int8_path``.

        Raises:
            UsageError: the method has no such budget.
            ModelError: the budget cannot be met, the result would not be smaller, or the file
                cannot be written.
        """
        timed = None
        if plan is None:
            try:
                plan, timed = self.plan(budget, timing)
            except BudgetError as error:
                raise self.with_ways_out(error, budget, timing) from error
        if output is None:
            return self._result(budget, plan, timed)
        self.request.execution.progress.start("refitting weights", 0)
        plan, compressed, recovery = self.finished(plan, budget)
        with written_aside(compressed, output, self.calibration.model) as aside:
            found = verify(self.request, aside.path, data=self.held_out, time_batches=time_batches)
            quantized = None
            if int8:  # before anything is put in its place, which a failure leaves as it was
                quantized = write_int8(
                    self.calibration.model,
                    aside.path,
                    int8_path(output),
                    data=self.calibration.run.data,
                    held_out=self.held_out,
                    execution=self.request.execution,
                    place=output,
                    time_batches=time_batches,
                    float_verification=found,
                )
            (verification,) = put_in_place(aside, found)
        result = self._result(budget, plan, timed)
        return replace(
            result,
            path=output,
            verification=verification,
            int8=quantized,
            warnings=result.warnings + verification.warnings,
            recovery=recovery,
        )

    def _result(self, budget: Budget, plan: Plan, timed: TimedPlan | None) -> Compression:
        """Return the result without a file."""
        warnings = (*self.warnings, *ruined_layers(self.calibration, plan))
        if timed is not None and timed.warning:
            warnings += (timed.warning,)
        return Compression(
            self.calibration,
            self.method,
            self.allocator.constraints,
            budget,
            self.allocator.widths.target,
            plan,
            timed,
            find_overshoot(self.allocator, plan, budget),
            path=None,
            verification=None,
            int8=None,
            warnings=warnings,
            budget_path=self.allocator.known_path(budget.kind, budget.share),
        )


def compress(
    request: Request,
    output: Path | None,
    budget: Budget,
    *,
    verify_data: Data | None = None,
    method: Method | None = None,
    constraints: Constraints | None = None,
    timing: Timing | None = None,
) -> Compression:
    """Compress a model under one budget, write it, and verify it against the original.

    Args:
        request: The model, the data to calibrate on and how to run; labels of the data are not
            used.
        output: The file to write; None makes a plan and writes nothing.
        budget: The size or the quality of the compressed model.
        verify_data: Data to verify on; None sets aside one in four examples of the others.
        method: Basis, ranking, refit and allocation; None takes the defaults.
        constraints: What the plan must keep to beside the budget.
        timing: The batch and the threads of a budget in time.

    Raises:
        UsageError: the method names something that no plugin offers.
        ModelError: the model cannot be read, run or narrowed, the budget cannot be met, the result
            would not be smaller, or the file cannot be written.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    compressor = Compressor(
        request,
        verify_data=verify_data,
        method=method,
        constraints=constraints,
        searches=budget.kind == "agreement",
    )
    return compressor.compress(budget, output, timing=timing)
