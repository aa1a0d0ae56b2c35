"""Run two models over the same examples and count equal labels; nothing but sums is stored."""

from collections import Counter
from collections.abc import Iterator
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
from frivkit.runtime.labels import UNDEFINED, LabelReader, are_labels
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.runtime.runner import Runner
from frivkit.verification.agreement import Agreement
from frivkit.verification.difference import Difference


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outputs of two models for the same examples, compared.

    Attributes:
        agreement: The label agreement.
        accuracy: The share of the data's own labels that each model predicts, the original first;
            None if the data have none, or an example has several labels.
        max_abs: The largest absolute difference of outputs; None if outputs are labels.
        relative_l2: The norm of the differences over that of the original's outputs; None if
            outputs are labels.
        undefined: The number of labels that the compressed model leaves undefined, since it gives
            NaN; they agree with none.
        largest_class: The share of the original's labels that are in the most frequent class, in
            [0, 1]; 0 for regression.
    """

    agreement: Agreement
    accuracy: tuple[float, float] | None
    max_abs: float | None
    relative_l2: float | None
    undefined: int
    largest_class: float


class ModelRun:
    """One of the models, ready to run.

    A file with 8-bit activations is run itself, as its users run it; of other models, the graph
    that was read, which computes the same.

    Args:
        model: The model, its shapes complete.
        output: The output that is compared.
        execution: How to run it.
    """

    def __init__(
        self,
        model: Model,
        output: str,
        execution: Execution,
    ) -> None:
        self.name, self.output, self.fixed = str(model.path), output, model.batch is not None
        self.label_reader = LabelReader.of_output(model.graph, output, execution.labels)
        with error_context(model):
            self._baseline = BaselineModel(
                model,
                output,
                execution.placement,
                execution.memory,
                as_file=is_quantized_file(model),
            )
        self._model, self.batch = model, self._baseline.batch

    def run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the outputs for examples, shape (n, ...), run ``batch`` examples at a time."""
        n = len(next(iter(inputs.values())))
        with error_context(self._model):
            parts = [
                self._baseline.run({k: array[i : i + self.batch] for k, array in inputs.items()})
                for i in range(0, n, self.batch)
            ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def compare(original: ModelRun, compressed: ModelRun, data: Dataset, runner: Runner) -> Comparison:
    """Compare the outputs of two models for every example.

    Raises:
        ModelError: the original gives NaN, or the outputs cannot be compared.
    """
    if not (original.fixed or compressed.fixed):  # equal models get equal batches and equal outputs
        original.batch = compressed.batch = min(original.batch, compressed.batch)
    size = max(original.batch, compressed.batch)
    label_reader = original.label_reader
    if label_reader.regression:
        outputs = runner.map(
            data, size, lambda batch: original.run(dict(batch.inputs)), "spread of outputs"
        )
        label_reader = label_reader.fitted(outputs)
    difference = Difference()
    counts: Counter[int] = Counter()
    same = undefined = positions = 0
    correct = [0, 0]
    are_scores = True

    def both(batch: Batch) -> tuple[Batch, NDArray[Any], NDArray[Any]]:
        inputs = dict(batch.inputs)
        return batch, original.run(inputs), compressed.run(inputs)

    for batch, a, b in runner.map(data, size, both, "comparing outputs"):
        _check(original, a, compressed, b)
        first, second = (
            label_reader.labels(a),
            (label_reader if label_reader.regression else compressed.label_reader).against(b, a),
        )
        check_defined(original.name, first, batch.first, data)
        if positions not in (0, first.shape[1]):
            raise ModelError(
                f"output {original.output!r} of {original.name} has {positions} positions for some "
                f"examples and {first.shape[1]} for others; choose another by --output-name"
            )
        positions = first.shape[1]
        same += int((first == second).sum())
        undefined += int((second == UNDEFINED).sum()) if b.dtype.kind == "f" else 0
        for label, count in zip(*np.unique(first, return_counts=True), strict=True):
            counts[int(label)] += int(count)
        if batch.labels is not None and positions == 1:
            for i, labels in enumerate((first, second)):
                correct[i] += int((labels[:, 0] == batch.labels).sum())
        are_scores = not are_labels(a.dtype)
        if are_scores:
            difference.add(a, b)
    has_accuracy = data.has_labels and positions == 1 and not label_reader.regression
    return Comparison(
        agreement=Agreement(same, data.examples, positions),
        accuracy=(correct[0] / data.examples, correct[1] / data.examples) if has_accuracy else None,
        max_abs=difference.max_abs if are_scores else None,
        relative_l2=difference.relative_l2 if are_scores else None,
        undefined=undefined,
        largest_class=0.0 if label_reader.regression else max(counts.values()) / counts.total(),
    )


def _check(original: ModelRun, a: NDArray[Any], compressed: ModelRun, b: NDArray[Any]) -> None:
    if a.shape == b.shape and are_labels(a.dtype) == are_labels(b.dtype):
        return
    first, second = (f"{x.dtype} {x.shape[1:]}" for x in (a, b))
    raise ModelError(
        f"output {original.output!r} of {original.name} gives {first} for an example and "
        f"{compressed.output!r} of {compressed.name} gives {second}: they cannot be "
        "compared; give outputs of one shape, or choose others by --output-name"
    )


def check_defined(original: str, labels: NDArray[np.int32], start: int, data: Dataset) -> None:
    """Raise an error if the original leaves a label undefined.

    Args:
        original: The name of the original.
        labels: Its labels, shape (examples, positions).
        start: The number of the first of these examples.
        data: The examples.

    Raises:
        ModelError: a label is undefined, since the original gives NaN.
    """
    undefined = (labels == UNDEFINED).any(axis=1)
    if undefined.any():
        raise ModelError(
            f"{original} gives NaN for example {start + int(undefined.argmax())} of "
            f"{data.description}: there is no label to agree with; leave out such examples"
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
