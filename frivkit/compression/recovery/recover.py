"""Recover what a compressed network lost: train it to compute what the original does.

Its kept features and its outputs are fitted to those of the original, by gradients through the
whole network, on the calibration examples without their labels.  An error that is squared uses
every position of every unit, so that hundreds of examples are enough.

Source:
    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, for features as targets; squared
    errors of outputs in place of the divergence of probabilities as in Kim et al., "Comparing
    Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation", IJCAI 2021.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from frivkit.cache.size import format_size
from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.calibration import Calibration, Run
from frivkit.compression.plan import Plan
from frivkit.compression.recovery.deadline import Deadline, OutOfTimeError
from frivkit.compression.recovery.examples import BATCH, ShuffledExamples
from frivkit.compression.recovery.settings import Recovery, RecoverySettings
from frivkit.compression.recovery.targets import Original, find_targets, output_target
from frivkit.data import Array, Dataset
from frivkit.data.subset import Subset
from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import SiteMap
from frivkit.runtime.example_memory import SMALLEST
from frivkit.runtime.memory import tensor_bytes
from frivkit.verification.agreement import Agreement

if TYPE_CHECKING:  # torch takes a second to import
    from frivkit.compression.recovery.training import Distiller, Training

EXAMPLES_SHARE = 8
"""Stored examples may take one part in this many of the memory."""
TARGETS_SHARE = 4
"""Stored targets may take one part in this many of the memory."""
COPIES = 3
"""Copies of every activation that a step needs: itself, its gradient, and that of the original."""
TRIED = 2
"""Examples on which a network is tried before any work."""

Accept = Callable[[ir.Model], str | None]
"""Returns why a compressed network cannot be taken, None if it can be."""


class Recoverer:
    """Recovers compressed networks of one original.

    Args:
        calibration: The original.
        settings: What the user allows.
        requested: Whether the user asked for the output of the calibration, so that it alone
            counts for agreement.
        clock: Gives the present time in seconds.
    """

    def __init__(
        self,
        calibration: Calibration,
        settings: RecoverySettings,
        *,
        requested: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calibration, self._settings, self._clock = calibration, settings, clock
        self._requested = requested

    def recovered(
        self, plan: Plan, compressed: ir.Model, accept: Accept = lambda model: None
    ) -> tuple[ir.Model, Recovery]:
        """Return a compressed network with better weights, or as it is if there are none.

        Ctrl-C ends the steps; the best weights until then are compared and taken as others are.

        Args:
            plan: What is kept.
            compressed: The network, refitted.
            accept: Returns why a recovered network cannot be taken, None if it can be.
        """
        started = self._clock()
        try:
            model, found = self._attempt(plan, compressed, accept, started)
        except OutOfTimeError:
            reason = "the time is too short for one step"
            model, found = compressed, Recovery(False, reason, stopped="time")
        except KeyboardInterrupt:
            reason = "it was interrupted before anything was gained"
            model, found = compressed, Recovery(False, reason, stopped="interrupted")
        except FrivkitError as error:
            model, found = compressed, Recovery(False, str(error))
        return model, replace(found, seconds=self._clock() - started)

    def _attempt(
        self, plan: Plan, compressed: ir.Model, accept: Accept, started: float
    ) -> tuple[ir.Model, Recovery]:
        from frivkit.compression.recovery.student import torch_faults, with_weights
        from frivkit.torch_io.placement import exact_on, torch_device
        from frivkit.torch_io.threads import torch_threads

        execution = self._calibration.run.execution
        deadline = Deadline(self._clock, started + 60 * self._settings.minutes)
        compared = self._search
        began = self._clock()
        before = compared.agreements(compressed)
        reserve = self._clock() - began
        exact = exact_on(torch_device(execution.device))
        with torch_threads(execution.threads), torch_faults(self._calibration.model), exact:
            distiller = self._distiller(plan, compressed, deadline)
            training = distiller.trained(reserve, execution.progress)
        found = self._record(training)
        if training.best is None:
            return compressed, replace(found, reason=_why_not(training))
        recovered = with_weights(compressed, training.best)
        after = compared.agreements(recovered)
        lost_most = min(zip(before, after, strict=True), key=_change)
        found = replace(found, agreements=lost_most)
        reason = _fallen(*lost_most) or accept(recovered)
        if reason is not None:
            return compressed, replace(found, reason=reason)
        return recovered, replace(found, kept=True)

    @cached_property
    def _examples(self) -> ShuffledExamples:
        run = self._calibration.run
        return ShuffledExamples(run.data, run.execution.memory // EXAMPLES_SHARE)

    @cached_property
    def _search(self) -> AgreementSearch:
        """What compares networks on the held-out examples."""
        examples = self._examples
        if not len(examples.held_out):
            raise ModelError(f"{examples.data.examples} examples are too few to hold some out")
        held_out = Subset(examples.data, examples.held_out, "one in 5")
        return AgreementSearch(self._calibration, held_out, requested=self._requested)

    def _distiller(self, plan: Plan, compressed: ir.Model, deadline: Deadline) -> "Distiller":
        """Return what trains a compressed network."""
        from frivkit.compression.recovery.student import Student
        from frivkit.compression.recovery.training import Distiller

        calibration, execution = self._calibration, self._calibration.run.execution
        model = calibration.model
        targets = find_targets(calibration, plan, compressed)
        if not targets:
            raise ModelError("both networks have no feature and no output in common")
        original = Original(calibration, targets)
        inputs = first_inputs(model, calibration.run.data)
        names = [target.name for target in original.targets]
        student = Student(replace(model, ir=compressed), names, inputs, execution.device)
        fit = student.trainable(inputs, original.computed(inputs))
        original.select(fit)
        student.select(fit)
        distiller = Distiller(
            student,
            original,
            self._examples,
            size=affordable_batch(model, execution.memory),
            exactly=model.batch is not None,
            augment=self._settings.augment,
            seed=execution.seed,
            deadline=deadline,
        )
        room = 0 if self._settings.augment else execution.memory // TARGETS_SHARE
        distiller.measure(room, execution.progress)
        return distiller

    def _record(self, training: "Training") -> Recovery:
        return Recovery(
            kept=False,
            reason=None,
            steps=training.steps,
            planned=training.planned,
            passes=training.steps / training.per_pass,
            examples=len(self._examples.trained),
            held_out=len(self._examples.held_out),
            errors=(training.before, training.after),
            stopped=training.stopped,
        )


def check_recoverable(
    model: Model, site_map: SiteMap, run: Run, settings: RecoverySettings
) -> None:
    """Raise an error, before any work, if compressed networks of a model cannot be recovered.

    Args:
        model: The original.
        site_map: Its layers.
        run: The calibration examples, and how the model is run on them.
        settings: What the user allows.

    Raises:
        UsageError: images may be changed, and the examples are none.
        DeviceError: torch does not have the device.
        FrivkitError: the extra ``to-torch`` is not installed.
        ModelError: the model cannot be used in torch, or one example takes too much memory.
    """
    from frivkit.compression.recovery.student import Student
    from frivkit.torch_io.threads import torch_threads

    settings.check(run.data)
    affordable_batch(model, run.execution.memory)
    inputs = first_inputs(model, run.data)
    computed = {value.name for node in model.graph for value in node.outputs}
    names = [site.name for site in site_map.sites]
    names += [output_target(value) for value in model.graph.outputs]
    with torch_threads(run.execution.threads):
        student = Student(
            model,
            [name for name in dict.fromkeys(names) if name in computed],
            inputs,
            run.execution.device,
        )
        student.trainable(inputs)


def first_inputs(model: Model, data: Dataset) -> Mapping[str, Array]:
    """Return inputs to try a network on: its first examples, as many as it insists on, else two."""
    count = model.batch or TRIED
    inputs = data.read(0, min(count, data.examples)).inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in inputs.items()}


def affordable_batch(model: Model, memory: int) -> int:
    """Return how many examples a step can take at once within half of the memory.

    Raises:
        ModelError: not even one.
    """
    values = (value for node in model.graph for value in node.outputs)
    each = COPIES * sum(map(tensor_bytes, values))
    if model.batch is not None:
        each *= model.batch
    if each > max(memory // 2, SMALLEST):
        what = "one example" if model.batch is None else f"a batch of {model.batch}"
        raise ModelError(
            f"the gradients of {what} of {model.path.name} take {format_size(each)}, more than "
            f"half of --memory ({format_size(memory)}): give a larger one, or do not recover"
        )
    return model.batch or max(1, min(BATCH, memory // 2 // max(1, each)))


def _why_not(training: "Training") -> str:
    """Return why a training gave no better weights."""
    if training.stopped == "interrupted":
        return "it was interrupted before anything was gained"
    if training.stopped == "undefined":
        return "the loss became infinite or no number"
    return "the error on held-out examples did not fall"


def _change(pair: tuple[Agreement, Agreement]) -> float:
    """Return how an agreement changed from the lower end of its interval before, in [-1, 1]."""
    before, after = pair
    return after.share - before.interval[0]


def _fallen(before: Agreement, after: Agreement) -> str | None:
    """Return that an agreement is below the interval of the one before, None if it is not."""
    if after.share >= before.interval[0]:
        return None
    return (
        f"agreement on held-out examples fell from {before.share:.4f} to {after.share:.4f}, below "
        "its interval"
    )
