"""Search for the smallest model whose labels agree often enough with those of the original."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.data import Batch, Dataset
from frivkit.errors import BudgetError, ModelError
from frivkit.runtime.labels import UNDEFINED, LabelReader
from frivkit.runtime.memory import batch_size
from frivkit.runtime.perturbed_model import run_padded
from frivkit.runtime.session import Session
from frivkit.verification.agreement import Agreement
from frivkit.verification.compare import check_defined

STEPS = 8
"""Steps of the bisection."""


class AgreementSearch:
    """Compares compressed models with the original, whose labels are computed once.

    Attributes:
        labels: The labels of the original, shape (examples, positions).
    """

    def __init__(self, calibration: Calibration, data: Dataset) -> None:
        """Run the original.

        Args:
            calibration: The original.
            data: The examples to compare on.

        Raises:
            ModelError: the original gives NaN.
        """
        self._calibration, self._data = calibration, data
        model, run = calibration.model, calibration.run
        self._label_reader = LabelReader.of_output(model.graph, run.output, run.execution.labels)
        self._outputs: NDArray[Any] | None = None  # only numbers need more than labels
        outputs = self._run(model.ir)
        if self._label_reader.regression:
            self._outputs = outputs
            self._label_reader = self._label_reader.fitted([outputs])
            outputs = self._label_reader.labels(outputs)
        self.labels: NDArray[np.int32] = outputs
        check_defined(str(model.path), self.labels, 0, data)

    def agreement(self, compressed: ir.Model) -> Agreement:
        """Return the label agreement of a compressed model with the original."""
        labels = self._run(compressed)
        if self._outputs is not None:
            labels = self._label_reader.against(labels, self._outputs)
        same = (labels == self.labels) & (labels != UNDEFINED)
        return Agreement(int(same.sum()), len(same), same.shape[1])

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
                f"no smaller model was found that surely agrees on {required:.4g} of the labels, "
                f"by {self._data.examples} examples: give more examples or ask for less"
            )
        return best

    def _run(self, graph: ir.Model) -> NDArray[Any]:
        """Return the labels of a model; where outputs are numbers, these."""
        model, run = self._calibration.model, self._calibration.run
        session = Session(graph, run.execution.placement)
        names = [value.name or "" for value in graph.graph.inputs if not value.is_initializer()]

        def result_of(batch: Batch) -> NDArray[Any]:
            inputs = {name: batch.inputs[name] for name in names}
            outputs: NDArray[Any] = run_padded(session, model, inputs, [run.output])[0]
            reader = self._label_reader
            return outputs if reader.regression else reader.labels(outputs)

        size = batch_size(model.graph, run.execution.memory, model.batch)
        results = run.execution.runner.map(self._data, size, result_of, "agreement")
        return np.concatenate([*results])
