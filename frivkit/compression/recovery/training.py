"""Steps of gradients until the time is up or the error on held-out examples no longer falls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import cos, isfinite, pi

import numpy as np
import torch
from torch import Tensor

from frivkit.compression.recovery.augmentation import augmentation
from frivkit.compression.recovery.deadline import Deadline, OutOfTimeError
from frivkit.compression.recovery.examples import Indices, ShuffledExamples
from frivkit.compression.recovery.settings import Stop
from frivkit.compression.recovery.student import Student, StudentWeights
from frivkit.compression.recovery.targets import Original
from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.progress import Progress
from frivkit.runtime.session import Feeds

PERIODS = 30
"""Comparisons on held-out examples, each behind so many steps."""
PERIOD = 12
"""Steps between two comparisons at least; a pass over the examples if that is more."""
PATIENCE = 4
"""In the second half of the steps, while the learning rate falls, they end if the mean error of so
many comparisons is no smaller than that of as many before."""
RATE = 5e-4
"""The largest learning rate."""
WARM_UP = 0.1
"""The share of the steps in which the learning rate rises; it then falls to 0 along a cosine."""


@dataclass(slots=True)
class Training:
    """How far a training came.

    Attributes:
        before: The error on held-out examples before.
        after: The least error of all comparisons.
        best: The weights that have it; None for those before.
        steps: Steps that were made.
        planned: Steps that were planned.
        per_pass: Steps of one pass.
        stopped: Why it ended.
        errors: The errors on held-out examples, in order.
    """

    before: float
    after: float
    best: StudentWeights | None = None
    steps: int = 0
    planned: int = 0
    per_pass: int = 1
    stopped: Stop = "done"
    errors: list[float] = field(default_factory=list)


class Distiller:
    """A compressed network, and what it should compute.

    Args:
        student: The network.
        original: What it should compute.
        examples: The examples.
        size: Examples that fit into memory at once; the network takes no other number if
            ``exactly``.
        exactly: Whether the network insists on that number.
        augment: How images may be changed.
        seed: The seed of all that is drawn.
        deadline: When steps must end.
    """

    def __init__(
        self,
        student: Student,
        original: Original,
        examples: ShuffledExamples,
        *,
        size: int,
        exactly: bool,
        augment: Sequence[str],
        seed: int,
        deadline: Deadline,
    ) -> None:
        self.student, self.original, self.examples = student, original, examples
        self._size, self._exactly = size, exactly
        self._augment, self._seed, self._deadline = tuple(augment), seed, deadline

    def chunks(self, indices: Indices) -> list[Indices]:
        """Return examples in parts that fit into memory; a part may repeat some to be complete."""
        parts = np.array_split(indices, max(1, -(-len(indices) // self._size)))
        if self._exactly:
            starts = range(0, len(indices), self._size)
            parts = [np.resize(indices[i : i + self._size], self._size) for i in starts]
        return parts

    def measure(self, room: int, progress: Progress) -> None:
        """Run the original over the examples for gradients: find variances, and store targets.

        Args:
            room: Bytes that stored targets may take; 0 to store none.
            progress: Where steps are reported.

        Raises:
            OutOfTimeError: the time is up.
            ModelError: ONNX Runtime fails, or every target is constant.
        """
        chunks = self.chunks(self.examples.trained)
        progress.start("features of the original", len(chunks))
        try:
            self.original.measure(self._runs(chunks, progress), room)
        finally:
            progress.finish()
        if not self.original.targets:
            raise ModelError("the features and outputs of the original are constant, or not finite")
        self.student.select([target.name for target in self.original.targets])

    def _runs(
        self, chunks: Sequence[Indices], progress: Progress
    ) -> Iterator[tuple[Indices, Feeds]]:
        for part in chunks:
            self._deadline.check()
            yield part, self.examples.inputs(part)
            progress.advance()

    def error(self, indices: Indices) -> float:
        """Return the mean error of examples: squared, as a share of the variance.

        Raises:
            OutOfTimeError: the time is up.
        """
        total = 0.0
        chunks = self.chunks(indices)
        with torch.no_grad():
            for part in chunks:
                self._deadline.check()
                inputs = self.examples.inputs(part)
                wanted = self.original.computed(inputs)
                total += float(self._loss(wanted, self.student.outputs(inputs))) * len(part)
        return total / sum(map(len, chunks))

    def gradients(self, indices: Indices, step: int) -> float:
        """Compute the gradients of one step, and return its loss."""
        total = 0.0
        chunks = self.chunks(indices)
        count = sum(map(len, chunks))
        for number, part in enumerate(chunks):
            if self._augment:
                change = augmentation(self._augment, (self._seed, step, number))
                inputs = self.examples.inputs(part, change)
                wanted = self.original.computed(inputs)
            else:
                inputs = self.examples.inputs(part)
                wanted = self.original.stored(part) or self.original.computed(inputs)
            with torch.enable_grad():
                loss = self._loss(wanted, self.student.outputs(inputs)) * (len(part) / count)
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
            total += float(loss.detach())
        return total

    def _loss(self, wanted: Sequence[Array], found: Sequence[Tensor]) -> Tensor:
        """Return the error: the mean over features and the mean over outputs, added."""
        terms: dict[bool, list[Tensor]] = {False: [], True: []}
        rows = zip(self.original.targets, self.original.variances, wanted, found, strict=True)
        for target, variance, array, tensor in rows:
            apart = tensor - torch.from_numpy(array).to(tensor.device, tensor.dtype)
            terms[target.is_output].append(apart.square().mean() / variance)
        return torch.stack([torch.stack(each).mean() for each in terms.values() if each]).sum()

    def trained(self, reserve: float, progress: Progress) -> Training:
        """Train until all steps are made, the error no longer falls, or the time is up.

        Args:
            reserve: Seconds that are needed afterwards.
            progress: Where steps are reported.

        Raises:
            OutOfTimeError: there is no time for a single step.
            KeyboardInterrupt: the user interrupts before the first step.
        """
        clock, started = self._deadline.clock, self._deadline.clock()
        before = self.error(self.examples.held_out)
        to_compare = clock() - started
        random = np.random.default_rng(self._seed)
        order = self.examples.batches(random)
        self.gradients(order[0], 0)  # the first run takes longer
        started = clock()
        self.gradients(order[0], 0)
        a_step = clock() - started
        per_pass = len(order)
        period = max(PERIOD, per_pass)
        planned = _planned(self._deadline.left - reserve, period, a_step, to_compare)
        training = Training(before, before, planned=planned, per_pass=per_pass)
        progress.start("recover by gradients", planned)
        try:
            self._steps(training, order, random, reserve + to_compare, progress)
        except OutOfTimeError:
            training.stopped = "time"
        except KeyboardInterrupt:
            training.stopped = "interrupted"
        finally:
            progress.finish()
        return training

    def _steps(
        self,
        training: Training,
        order: list[Indices],
        random: np.random.Generator,
        reserve: float,
        progress: Progress,
    ) -> None:
        """Make the steps; the training is changed."""
        optimizer = torch.optim.Adam(self.student.parameters.values(), RATE)
        while training.steps < training.planned:
            at = training.steps % training.per_pass
            if training.steps and not at:
                order = self.examples.batches(random)
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = _rate((training.steps + 0.5) / training.planned)
            if not isfinite(self.gradients(order[at], training.steps)):
                training.stopped = "undefined"
                return
            optimizer.step()
            training.steps += 1
            progress.advance()
            short = self._deadline.left <= reserve
            period = max(PERIOD, training.per_pass)
            if training.steps % period and training.steps < training.planned and not short:
                continue
            found = self.error(self.examples.held_out)
            training.errors.append(found)
            if found < training.after:
                training.best, training.after = self.student.weights(), found
            if short and training.steps < training.planned:
                training.stopped = "time"
                return
            if training.steps > training.planned / 2 and _flat(training.errors):
                training.stopped = "flat"
                return


def _flat(errors: Sequence[float]) -> bool:
    """Whether the last errors are no smaller than those before, on average.

    Example:
        >>> _flat([5, 4, 4, 3, 3, 3, 2, 2]), _flat([4, 4, 3, 3, 4, 4, 3, 3])
        (False, True)
    """
    last, before = errors[-PATIENCE:], errors[-2 * PATIENCE : -PATIENCE]
    return len(before) == PATIENCE and sum(last) >= sum(before)


def _rate(progress: float) -> float:
    """Return the learning rate when a share of the steps is made.

    Example:
        >>> [round(_rate(share) / RATE, 2) for share in (0, 0.05, 0.1, 0.55, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < WARM_UP:
        return RATE * progress / WARM_UP
    return RATE * (1 + cos(pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


def _planned(seconds: float, period: int, a_step: float, to_compare: float) -> int:
    """Return how many steps fit into a time, with a comparison after each period.

    Raises:
        OutOfTimeError: none does.

    Example:
        >>> _planned(100, 10, 1, 5), _planned(8, 10, 1, 5), _planned(1e9, 10, 1, 5)
        (65, 3, 300)
    """
    whole = period * a_step + to_compare
    periods = int(seconds / max(1e-9, whole))
    rest = int((seconds - periods * whole - to_compare) / max(1e-9, a_step))
    steps = min(periods * period + max(0, rest), PERIODS * period)
    if steps < 1:
        raise OutOfTimeError
    return steps
