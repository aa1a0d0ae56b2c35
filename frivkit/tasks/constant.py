"""The constant network: how well a network agrees that gives the same whatever its input.

What agrees as well as that shows nothing: a classifier on data of one class, a detector on pictures
without objects, a heat map that has its peak always at one place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.tasks.choose import OutputTask
from frivkit.tasks.task import Comparer

TYPICAL = 3
"""Examples whose predictions are tried as a constant."""


class ConstantNetwork:
    """Gathers what the original gives, and compares a constant with it.

    Where predictions are whole numbers (labels), the constant is the most frequent one of each
    position, than which none agrees better; else it is what agrees best of the mean of all outputs,
    of zeros, and of what the original says of a few examples.

    Args:
        comparer: Compares outputs.
        room: Bytes that predictions may take; beyond, only the first examples are compared with.
    """

    def __init__(self, comparer: Comparer, room: int) -> None:
        self._comparer, self._room = comparer, room
        self._sums: list[NDArray[np.float64]] | None = None
        self._dtypes: list[np.dtype[Any]] = []
        self._count = 0
        self._kept: list[NDArray[Any]] = []

    def add(self, outputs: Sequence[NDArray[Any]], predictions: NDArray[Any]) -> None:
        """Add the outputs of the original for some examples, and what was read from them."""
        most = max(self._room // max(1, predictions[:1].nbytes), 0 if self._kept else 1)
        if most > 0:
            part = predictions[:most]
            self._kept.append(part)
            self._room -= part.nbytes
        if is_label(predictions):
            return
        sums = [each.sum(axis=0, dtype=np.float64) for each in outputs]
        self._count += len(predictions)
        if self._sums is None:
            self._sums, self._dtypes = sums, [each.dtype for each in outputs]
        else:
            self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)]

    def agreement(self) -> float:
        """Return the agreement of the constant with the original, in [0, 1]."""
        original = np.concatenate(self._kept)
        if self._sums is None:
            constants = [_modes(original)]
        else:
            zeros = [np.zeros_like(total) for total in self._sums]
            constants = [self._mean(self._sums), self._mean(zeros)]
            constants += [original[i : i + 1] for i in range(min(TYPICAL, len(original)))]
        return max(
            float(self._comparer.agreement(original, np.repeat(each, len(original), axis=0)).mean())
            for each in constants
        )

    def _mean(self, sums: Sequence[NDArray[np.float64]]) -> NDArray[Any]:
        """Return the predictions of the mean of all outputs, shape (1, ...)."""
        with np.errstate(over="ignore", invalid="ignore"):
            means = [
                (total / self._count)[np.newaxis].astype(dtype)
                for total, dtype in zip(sums, self._dtypes, strict=True)
            ]
        return self._comparer.read(means)


def is_label(predictions: NDArray[Any]) -> bool:
    """Whether predictions are whole numbers."""
    return predictions.dtype.kind in "iu"


def constant_warning(task: OutputTask, agreement: float) -> str:
    """Return a warning that a constant network agrees that often with the original.

    Args:
        task: What is compared.
        agreement: The agreement of the constant network, in [0, 1].
    """
    return (
        f"a network that gives the same whatever its input would keep {agreement:.1%} of the "
        f"{task.compares} ({task.name} of {', '.join(task.outputs)}): the agreement cannot tell a "
        "dead network from a live one; give more varied data, or another --task"
    )


def _modes(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the most frequent label of each position, shape (1, ...)."""
    from scipy.stats import mode

    found: NDArray[Any] = mode(labels, axis=0, keepdims=True).mode
    return found
