"""The outputs of one task of two models, compared batch by batch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.runtime.labels import are_labels
from frivkit.tasks.choose import OutputTask
from frivkit.tasks.constant import ConstantNetwork, is_label
from frivkit.tasks.memory import check_room
from frivkit.tasks.task import Comparer
from frivkit.verification.agreement import Agreement
from frivkit.verification.difference import Difference

Outputs = dict[str, NDArray[Any]]
"""The outputs of a run by their names in the original, each of shape (n, ...)."""


@dataclass(frozen=True, slots=True, eq=False)
class OutputComparison:
    """The outputs of one task of two models for the same examples, compared.

    Attributes:
        task: How they were compared.
        agreement: How far they agree.
        constant: The agreement of a network that gives the same whatever its input, in [0, 1].
        figures: The numbers of the task on all examples, by name; None for one that is undefined.
        max_abs: The largest absolute difference of outputs; None if outputs are labels.
        relative_l2: The norm of the differences over that of the original's outputs; None if
            outputs are labels.
        undefined: The number of predictions that the compressed model leaves undefined, since it
            gives NaN; they agree with none.
        largest_class: The share of the original's labels that are in the most frequent class, in
            [0, 1]; 1 for a task without labels.
    """

    task: OutputTask
    agreement: Agreement
    constant: float
    figures: Mapping[str, float | None]
    max_abs: float | None
    relative_l2: float | None
    undefined: int
    largest_class: float


class OutputCounter:
    """Compares the outputs of one task batch by batch.

    Args:
        task: The task; its comparer has seen what it needs.
        comparer: Compares predictions.
        other: Reads the outputs of the compressed model.
        data: The examples.
        memory: Bytes that predictions may take.
        name: The name of the original, for messages.
    """

    def __init__(
        self,
        task: OutputTask,
        comparer: Comparer,
        other: Comparer,
        *,
        data: Dataset,
        memory: int,
        name: str,
    ) -> None:
        self._task, self._comparer, self._other = task, comparer, other
        self._data, self._memory, self._name = data, memory, name
        self._constant = ConstantNetwork(comparer, memory // 4)
        self._figures, self._difference = comparer.figures(), Difference()
        self._counts: Counter[int] = Counter()
        self._positions: int | None = None
        self._degrees = 0.0
        self._undefined = 0
        self._are_scores = True
        self._kept: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        self.correct = [0, 0]

    @property
    def has_one_label(self) -> bool:
        """Whether an example has one label."""
        return self._task.name == "classify" and self._positions == 1

    def add(self, first: int, labels: NDArray[Any] | None, a: Outputs, b: Outputs) -> None:
        """Add the outputs of both models for some examples.

        Args:
            first: The number of the first of them.
            labels: The data's own labels, None if there are none.
            a: The outputs of the original.
            b: Those of the compressed model.

        Raises:
            ModelError: the original gives NaN, or examples have different numbers of labels.
            DataError: predictions take more memory than there is.
        """
        was, now = ([outputs[name] for name in self._task.outputs] for outputs in (a, b))
        one, two = self._comparer.read(was), self._other.read(now)
        check_defined(self._name, self._comparer, one, first, self._data)
        positions = self._comparer.positions(one)
        if self._positions not in (None, positions):
            raise ModelError(
                f"output {self._task.outputs[0]!r} of {self._name} has {self._positions} positions "
                f"for some examples and {positions} for others; choose another by --output-name"
            )
        self._positions = positions
        if self._comparer.of_set:
            self._keep(one, two)
        else:
            self._degrees += float(self._comparer.agreement(one, two).sum())
        self._constant.add(was, one)
        self._figures.add(was, now)
        if any(each.dtype.kind == "f" for each in now):
            self._undefined += int(self._comparer.undefined(two).sum())
        if is_label(one):
            for label, count in zip(*np.unique(one, return_counts=True), strict=True):
                self._counts[int(label)] += int(count)
        if labels is not None and self.has_one_label:
            for i, predictions in enumerate((one, two)):
                self.correct[i] += int((predictions[:, 0] == labels).sum())
        self._are_scores = not are_labels(was[0].dtype)
        for x, y in zip(was, now, strict=True):
            if not are_labels(x.dtype):
                self._difference.add(x, y)

    def result(self) -> OutputComparison:
        """Return the comparison of all examples that were added."""
        if self._comparer.of_set:
            one, two = (np.concatenate(part) for part in self._kept)
            self._degrees = float(self._comparer.agreement(one, two).sum())
        positions = self._positions or 0
        if positions:
            agreement = Agreement(round(self._degrees * positions), self._data.examples, positions)
        else:
            agreement = Agreement(self._degrees, self._data.examples, graded=True)
        total = self._counts.total()
        return OutputComparison(
            self._task,
            agreement,
            self._constant.agreement(),
            dict(self._figures.result()),
            self._difference.max_abs if self._are_scores else None,
            self._difference.relative_l2 if self._are_scores else None,
            self._undefined,
            max(self._counts.values()) / total if total else 1.0,
        )

    def _keep(self, one: NDArray[Any], two: NDArray[Any]) -> None:
        check_room(one, self._data.examples, self._memory, copies=2)
        self._kept[0].append(one)
        self._kept[1].append(two)


def check_defined(
    original: str, comparer: Comparer, predictions: NDArray[Any], start: int, data: Dataset
) -> None:
    """Raise an error if the original leaves a prediction undefined.

    Args:
        original: The name of the original.
        comparer: What read its outputs.
        predictions: What it read, shape (examples, ...).
        start: The number of the first of these examples.
        data: The examples.

    Raises:
        ModelError: a prediction is undefined, since the original gives NaN.
    """
    undefined = comparer.undefined(predictions) > 0
    if undefined.any():
        raise ModelError(
            f"{original} gives NaN for example {start + int(undefined.argmax())} of "
            f"{data.description}: there is no label to agree with; leave out such examples"
        )
