"""Search for the smallest model that agrees often enough with the original, by its tasks."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.data import Batch, Dataset
from frivkit.errors import BudgetError, ModelError
from frivkit.runtime.padded_runs import examples_at_once, run_padded
from frivkit.runtime.session import Session
from frivkit.tasks.choose import choose_tasks
from frivkit.tasks.doubt import some_outputs
from frivkit.tasks.provable import provable
from frivkit.tasks.reference import Reference
from frivkit.verification.agreement import Agreement
from frivkit.verification.output_comparison import check_defined

STEPS = 8
"""Steps of the bisection."""


class AgreementSearch:
    """Compares compressed models with the original, whose outputs are read once.

    Attributes:
        reference: What the original says, by each task that counts.
    """

    def __init__(self, calibration: Calibration, data: Dataset, *, requested: bool = False) -> None:
        """Run the original.

        Args:
            calibration: The original.
            data: The examples to compare on.
            requested: Whether the user asked for the output of the calibration, so that it alone
                counts; else every output does.

        Raises:
            ModelError: the original gives NaN.
            DataError: what outputs say takes more memory than there is.
        """
        self._calibration, self._data = calibration, data
        model, run = calibration.model, calibration.run
        execution = run.execution
        values = partial(some_outputs, model, data, execution.placement)
        tasks = choose_tasks(model, execution.labels, run.output, values=values)
        if requested:
            tasks = tasks[:1]
        else:
            tasks, _ = provable(model, tasks, data, execution.placement)
        self.reference = Reference(
            tasks, lambda names: self._runs(model.ir, names), data.examples, execution.memory
        )
        for comparer, predictions in zip(
            self.reference.comparers, self.reference.predictions, strict=True
        ):
            check_defined(str(model.path), comparer, predictions, 0, data)

    def agreement(self, compressed: ir.Model) -> Agreement:
        """Return the agreement of a compressed model with the original: the least of its tasks."""
        return min(self.agreements(compressed), key=lambda each: each.interval[0])

    def agreements(self, compressed: ir.Model) -> tuple[Agreement, ...]:
        """Return the agreement of a compressed model with the original, by each task."""
        reference = self.reference
        sums = reference.sums(
            reference.compared(run, first)
            for first, run in self._numbered(self._runs(compressed, reference.outputs))
        )
        found = []
        for comparer, predictions, total in zip(
            reference.comparers, reference.predictions, sums, strict=True
        ):
            positions = comparer.positions(predictions)
            same = round(total * positions) if positions else total
            found.append(Agreement(same, len(predictions), positions or 1, graded=not positions))
        return tuple(found)

    def too_rare(self, compressed: ir.Model, required: float) -> str | None:
        """Return that a compressed model is not shown to agree as often, None if it is."""
        low = self.agreement(compressed).interval[0]
        rare = f"agreement is shown to be {low:.4f} or more, less than {required:g}"
        return rare if low < required else None

    def smallest(self, allocator: Allocator, refit: Refit, required: float) -> Plan:
        """Return the plan of fewest multiply-accumulates that agrees as often as required.

        The share of multiply-accumulates is bisected; plans are tried with the quick refit.

        Args:
            allocator: Makes the plans.
            refit: Refits them.
            required: The least lower end of the interval of the label agreement, in (0, 1).

        Returns:
            The plan, without fits.

        Raises:
            ModelError: no model that was tried agrees as often.
        """
        low, high = 0.0, 1.0
        best: Plan | None = None
        for _ in range(STEPS):
            share = (low + high) / 2
            try:
                plan = allocator.for_budget("macs", share)
            except BudgetError:  # even the smallest model is larger
                low = share
                continue
            fitted = refit.refitted(self._calibration, plan, quickly=True)
            compressed = apply_plan(self._calibration, fitted)
            if self.agreement(compressed).interval[0] >= required:
                best, high = plan, share
            else:
                low = share
        if best is None:
            raise ModelError(
                f"no smaller model was found that surely agrees on {required:.4g} of the "
                f"{self.reference.tasks[0].compares}, by {self._data.examples} examples: give more "
                "examples or ask for less"
            )
        return best

    def _runs(self, graph: ir.Model, outputs: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
        """Yield outputs of a model, batch by batch."""
        model, run = self._calibration.model, self._calibration.run
        session = Session(graph, run.execution.placement)
        names = [value.name or "" for value in graph.graph.inputs if not value.is_initializer()]

        def result_of(batch: Batch) -> list[NDArray[Any]]:
            inputs = {name: batch.inputs[name] for name in names}
            return run_padded(session, model, inputs, outputs)

        size = examples_at_once(model, outputs, run.execution.memory)
        return run.execution.runner.map(self._data, size, result_of, "agreement")

    @staticmethod
    def _numbered(
        runs: Iterator[list[NDArray[Any]]],
    ) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield the number of the first example of each run with its outputs."""
        first = 0
        for run in runs:
            yield first, run
            first += len(run[0])
