"""A task: which outputs it fits, and how the outputs of two networks are compared.

A comparison has two steps.  Predictions are first read from the outputs of a run: what they say, in
a compact form with a row for each example (labels, peaks, boxes).  Then the predictions of two runs
are compared, example by example.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.data import TensorSpec
from frivkit.runtime.labels import LabelOptions


@dataclass(frozen=True, slots=True)
class JoinedTensor:
    """One of the tensors that a Concat joins into an output.

    Attributes:
        operator: The operator that computes it, those that only move numbers left out.
        sizes: Its shape with the batch, None where a size is not known; None if none is.
    """

    operator: str
    sizes: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What is known of an output before the network is run.

    Attributes:
        name: Its name.
        shape: Its sizes with the batch in front, None where a size is open; None if not even the
            number of axes is known.  Where several rows are one example, these have axis 1.
        dtype: The type of its numbers, None if it is not known.
        operator: The last operator that computes it, those that only move numbers left out; empty
            for one that is an input.
        softmax_axis: The axis that a Softmax or LogSoftmax at the end normalises, if there is one
            and nothing moves axes behind it.
        normalized: Whether it ends in a division by a norm.
        parts: What the last Concat joins, empty if there is none at the end.
        beside: Whether another output has as many entries along axis 1 and others along axis 2, so
            that places lie along axis 1 and scores along axis 2.
        rows: Whether several rows of the output in the file are one example.
        varying: Whether an example has as many rows as its input makes it have; they lie along axis
            1, filled up to ``frivkit.runtime.varying_rows.ROWS``.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype[Any] | None = None
    operator: str = ""
    softmax_axis: int | None = None
    normalized: bool = False
    parts: tuple[JoinedTensor, ...] = ()
    beside: bool = False
    rows: bool = False
    varying: bool = False

    @property
    def rank(self) -> int | None:
        """The number of axes, the batch included; None if it is not known."""
        return None if self.shape is None else len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether its numbers are fractions, as far as is known."""
        return self.dtype is None or self.dtype.kind == "f"


class Evidence(IntEnum):
    """How much speaks for a task: the strongest claim wins."""

    NONE = 0
    SHAPE = 1
    VALUES = 2
    NAME = 3
    GRAPH = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """Outputs that a task can read together, and what speaks for it.

    Attributes:
        outputs: Their names, in the order in which the task reads them.
        evidence: How much speaks for the task.
        reason: What does, in words that follow "since".
        guess: Whether it may well be otherwise, so that a user should be told.
    """

    outputs: tuple[str, ...]
    evidence: Evidence
    reason: str
    guess: bool = False


class Figures(Protocol):
    """Numbers on all examples together, gathered batch by batch."""

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples, each of shape (n, ...)."""

    def result(self) -> Mapping[str, float | None]:
        """Return the numbers by their names; None for one that is not defined."""


class Comparer(Protocol):
    """Reads the outputs of a task, and compares two predictions.

    Attributes:
        of_set: Whether an example is compared by its place among all others, so that
            ``agreement`` needs the predictions of all examples at once.
        spread_needed: Whether ``fitted`` must see the outputs of the original first.
    """

    @property
    def of_set(self) -> bool: ...  # noqa: D102

    @property
    def spread_needed(self) -> bool: ...  # noqa: D102

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> "Comparer":
        """Return a comparer that has seen the outputs of the original, batch by batch."""

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return what outputs say, a row for each example, shape (n, ...).

        Args:
            outputs: An array of shape (n, ...) for each output of the task.

        Raises:
            ModelError: the outputs have a shape that the task cannot read.
        """

    def positions(self, predictions: NDArray[Any]) -> int:
        """Return how many predictions of an example are the same or not.

        0 for a task in which an example agrees by degrees.
        """

    def undefined(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many predictions of each example are undefined (NaN), shape (n,)."""

    def agreement(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far the second predictions of each example agrees with the first, shape (n,).

        From 0 to 1.  A prediction that is undefined agrees with none.
        """

    def figures(self) -> Figures:
        """Return what gathers numbers on all examples."""


@dataclass(frozen=True, slots=True)
class Task:
    """A way to compare outputs; what an offer of ``tasks`` names.

    Attributes:
        compares: What is counted, as the subject of a sentence, such as "labels".
        claims: Called with all outputs and all inputs of a model; gives the outputs that the task
            can read, and what speaks for it.
        comparer: Called with the outputs of one claim and the user's options.
        reads_varying: Whether it reads outputs of as many rows as the input makes them have, which
            are filled up by zeros, and by -1 where they hold whole numbers.
    """

    compares: str
    claims: Callable[[Sequence[ModelOutput], Sequence[TensorSpec]], Sequence[Claim]]
    comparer: Callable[[Sequence[ModelOutput], LabelOptions], Comparer]
    reads_varying: bool = False


class NoFigures:
    """Figures of a task that has none."""

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Do nothing."""

    def result(self) -> Mapping[str, float | None]:
        """Return no numbers."""
        return {}
