"""Several labels that do not exclude each other: whether each of them is given.

A logit gives its label where it is above 0, a probability where it is above 0.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.runtime.labels import UNDEFINED
from frivkit.tasks.classify import SIGMOIDS, SameLabels, single, threshold


def signs(outputs: NDArray[Any], above: float) -> NDArray[np.int8]:
    """Return 1 where an entry is above a threshold, else 0, ``UNDEFINED`` for NaN.

    Args:
        outputs: Shape (n, ...).
        above: The threshold.

    Returns:
        Shape (n, entries).

    Example:
        >>> signs(np.array([[0.2, -1.0, np.nan]]), 0.0).tolist()
        [[1, 0, -1]]
    """
    rows = outputs.reshape(len(outputs), -1)
    found: NDArray[np.int8] = np.where(np.isnan(rows), UNDEFINED, rows > above).astype(np.int8)
    return found


@dataclass(slots=True)
class LabelCounts:
    """Precision and recall of labels, the original's own being the truth, and exact matches.

    Attributes:
        above: What an entry must exceed to give its label.
    """

    above: float
    _given: int = field(default=0, init=False)
    _found: int = field(default=0, init=False)
    _both: int = field(default=0, init=False)
    _exact: int = field(default=0, init=False)
    _examples: int = field(default=0, init=False)

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        first, second = (signs(each[0], self.above) == 1 for each in (original, other))
        self._given += int(first.sum())
        self._found += int(second.sum())
        self._both += int((first & second).sum())
        self._exact += int((first == second).all(axis=1).sum())
        self._examples += len(first)

    def result(self) -> Mapping[str, float | None]:
        """Return micro-averaged precision and recall, and the share of examples all the same."""
        return {
            "precision": self._both / self._found if self._found else None,
            "recall": self._both / self._given if self._given else None,
            "exact_matches": self._exact / self._examples if self._examples else None,
        }


@dataclass(frozen=True, slots=True)
class Signs(SameLabels):
    """Reads which labels are given.

    Attributes:
        above: What an entry must exceed to give its label.
    """

    above: float = 0.0

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.int8]:
        """Return 1 for a label that is given, else 0, shape (n, entries)."""
        return signs(outputs[0], self.above)

    def figures(self) -> LabelCounts:
        """Return counts of labels."""
        return LabelCounts(self.above)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        if not output.is_float:
            continue
        several = output.shape is not None and len(output.shape) == 2 and output.shape[1] != 1
        if several and output.operator in SIGMOIDS:
            claims.append(single(output, Evidence.SHAPE, "it ends in a sigmoid of several entries"))
        else:
            claims.append(single(output, Evidence.NONE, "it holds numbers"))
    return claims


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    return Signs(threshold(outputs[0]))


MULTILABEL = Task("labels, each given or not,", _claims, _comparer)
"""The sign of each logit, or whether a probability is above 0.5."""
