"""The task of a classifier: the class with the largest score, at every position by itself.

It is in the core since it is what the paper compares, and what is compared where nothing speaks for
another task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import TensorSpec
from frivkit.runtime.labels import UNDEFINED, LabelOptions, LabelReader, are_labels
from frivkit.tasks.task import Claim, Comparer, Evidence, Figures, ModelOutput, NoFigures, Task

SIGMOIDS = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True)
class SameLabels:
    """Compares predictions that are labels: whole numbers, ``UNDEFINED`` where outputs hold NaN.

    A base of comparers whose predictions are of this kind; ``read`` is theirs.
    """

    of_set: bool = field(default=False, init=False)
    spread_needed: bool = field(default=False, init=False)

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> Any:
        """Return itself: nothing is learnt."""
        return self

    def positions(self, predictions: NDArray[Any]) -> int:
        """Return how many labels an example has."""
        return prod(predictions.shape[1:])

    def undefined(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many labels of each example are undefined, shape (n,)."""
        count: NDArray[np.int64] = (
            (predictions == UNDEFINED).reshape(len(predictions), -1).sum(axis=1)
        )
        return count

    def agreement(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of labels of each example that are the same, shape (n,)."""
        same = (original == other) & (other != UNDEFINED)
        share: NDArray[np.float64] = same.reshape(len(same), -1).mean(axis=1)
        return share

    def figures(self) -> Figures:
        """Return no figures."""
        return NoFigures()


@dataclass(frozen=True, slots=True)
class ClassLabels(SameLabels):
    """Reads the index of the largest score along an axis.

    Attributes:
        reader: Reads labels from the output.
    """

    reader: LabelReader = field(default_factory=lambda: LabelReader(""))

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
        """Return labels, shape (n, positions)."""
        return self.reader.labels(outputs[0])


def class_axis(output: ModelOutput, options: LabelOptions) -> int:
    """Return the axis along which the classes of an output lie, counted with the batch."""
    if options.axis is not None:
        return options.axis
    return output.softmax_axis or (2 if output.beside else 1)


def threshold(output: ModelOutput) -> float:
    """Return what separates the two classes of one number: 0.5 behind a sigmoid, else 0."""
    return 0.5 if output.operator in SIGMOIDS else 0.0


def single(output: ModelOutput, evidence: Evidence, reason: str) -> Claim:
    """Return a claim to one output alone."""
    return Claim((output.name,), evidence, reason)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    return [
        single(output, Evidence.SHAPE, "it gives labels")
        if output.dtype is not None and are_labels(output.dtype)
        else single(output, Evidence.NONE, "nothing speaks for another task")
        for output in outputs
    ]


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    (output,) = outputs
    reader = LabelReader(output.name, threshold(output), class_axis(output, options), output.rows)
    return ClassLabels(reader)


CLASSIFY = Task("labels", _claims, _comparer)
"""The index of the largest entry along the class axis, at each position."""
