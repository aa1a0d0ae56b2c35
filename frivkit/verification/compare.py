"""Run two models over the same examples and compare all of their outputs, each by its task."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Batch, Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.runtime.execution import Execution
from frivkit.runtime.file_check import is_quantized_file
from frivkit.runtime.labels import are_labels
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.tasks.choose import OutputTask
from frivkit.tasks.task import Comparer
from frivkit.verification.agreement import Agreement
from frivkit.verification.output_comparison import OutputComparison, OutputCounter, Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All outputs of two models for the same examples, compared.

    Attributes:
        outputs: The comparison of each task, that of the requested or first output first.
        main: The one that counts: of the output that was asked for, else the one that agrees least.
        accuracy: The share of the data's own labels that each model predicts, the original first;
            None if the data have none, or the first output is not one of classes with one label an
            example.
        unproved: Why an output is not compared, by its name.
    """

    outputs: tuple[OutputComparison, ...]
    main: OutputComparison
    accuracy: tuple[float, float] | None
    unproved: Mapping[str, str]

    @property
    def agreement(self) -> Agreement:
        """The agreement that counts."""
        return self.main.agreement


class ModelRun:
    """One of the models, ready to run.

    A file with 8-bit activations is run itself, as its users run it; of other models, the graph
    that was read, which computes the same.

    Args:
        model: The model, its shapes complete.
        outputs: The names of its outputs by those in the original, the first one first.
        execution: How to run it.
    """

    def __init__(self, model: Model, outputs: Mapping[str, str], execution: Execution) -> None:
        self.name, self.fixed = str(model.path), model.batch is not None
        self.outputs = dict(outputs)
        main, *more = self.outputs.values()
        with error_context(model):
            self._baseline = BaselineModel(
                model,
                main,
                execution.placement,
                execution.memory,
                as_file=is_quantized_file(model),
                more=more,
            )
        self.model, self.batch = model, self._baseline.batch

    def run(self, inputs: dict[str, NDArray[Any]]) -> Outputs:
        """Return the outputs for examples, run ``batch`` examples at a time."""
        n = len(next(iter(inputs.values())))
        with error_context(self.model):
            parts = [
                self._baseline.run_all(
                    {k: array[i : i + self.batch] for k, array in inputs.items()}
                )
                for i in range(0, n, self.batch)
            ]
        joined = (
            parts[0] if len(parts) == 1 else [np.concatenate(p) for p in zip(*parts, strict=True)]
        )
        return dict(zip(self.outputs, joined, strict=True))


def compare(
    original: ModelRun,
    compressed: ModelRun,
    tasks: Sequence[OutputTask],
    data: Dataset,
    execution: Execution,
    *,
    requested: bool = False,
) -> Comparison:
    """Compare the outputs of two models for every example.

    Args:
        original: The original.
        compressed: The compressed model.
        tasks: What to compare, the task of the requested or first output first.
        data: The examples.
        execution: The runner, and the memory for predictions.
        requested: Whether the user asked for that output, so that it counts.

    Raises:
        ModelError: the original gives NaN, or the first outputs cannot be compared.
        DataError: predictions take more memory than there is.
    """
    if not (original.fixed or compressed.fixed):  # equal models get equal batches and equal outputs
        original.batch = compressed.batch = min(original.batch, compressed.batch)
    size, runner = max(original.batch, compressed.batch), execution.runner
    comparers = [task.comparer for task in tasks]
    if any(comparer.spread_needed for comparer in comparers):
        comparers = [
            comparer.fitted(
                [outputs[name] for name in task.outputs]
                for outputs in runner.map(
                    data, size, lambda batch: original.run(dict(batch.inputs)), "spread of outputs"
                )
            )
            if comparer.spread_needed
            else comparer
            for task, comparer in zip(tasks, comparers, strict=True)
        ]
    counters = [
        OutputCounter(
            task,
            comparer,
            comparer if task.comparer.spread_needed else _reader(task, compressed),
            data=data,
            memory=execution.memory,
            name=original.name,
        )
        for task, comparer in zip(tasks, comparers, strict=True)
    ]

    def both(batch: Batch) -> tuple[Batch, Outputs, Outputs]:
        inputs = dict(batch.inputs)
        return batch, original.run(inputs), compressed.run(inputs)

    for batch, a, b in runner.map(data, size, both, "comparing outputs"):
        check_comparable(original, compressed, a, b)
        for counter in counters:
            counter.add(batch.first, batch.labels, a, b)
    found = tuple(counter.result() for counter in counters)
    main = found[0] if requested else min(found, key=lambda each: each.agreement.interval[0])
    accuracy = None
    if data.has_labels and counters[0].has_one_label:
        correct = counters[0].correct
        accuracy = correct[0] / data.examples, correct[1] / data.examples
    return Comparison(found, main, accuracy, {})


def _reader(task: OutputTask, compressed: ModelRun) -> Comparer:
    """Return what reads the compressed model's outputs of a task."""
    return task.reader_of(compressed.model, [compressed.outputs[name] for name in task.outputs])


def check_comparable(original: ModelRun, compressed: ModelRun, a: Outputs, b: Outputs) -> None:
    """Raise an error if outputs have different shapes, or only one holds labels.

    Raises:
        ModelError: they do.
    """
    for name, was in a.items():
        now = b[name]
        if was.shape == now.shape and are_labels(was.dtype) == are_labels(now.dtype):
            continue
        first, second = (f"{x.dtype} {x.shape[1:]}" for x in (was, now))
        raise ModelError(
            f"output {name!r} of {original.name} gives {first} for an example and "
            f"{compressed.outputs[name]!r} of {compressed.name} gives {second}: they cannot be "
            "compared; give outputs of one shape, or choose others by --output-name"
        )


@contextmanager
def error_context(model: Model) -> Iterator[None]:
    """Name the model in its errors.

    Raises:
        ModelError: the block raised one; the path of the model is put before its message.
    """
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{model.path}: {error}") from error
