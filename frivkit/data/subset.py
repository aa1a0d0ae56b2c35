"""Examples that calibrate a thinner model, and examples that prove it."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Batch, Dataset

EVERY = 4
"""One in so many examples is kept for the proof where no other data are given for it."""


class Subset(Dataset):
    """Some examples of data, in order.

    Attributes:
        spec: Where they come from, and which they are.
    """

    def __init__(self, data: Dataset, indices: NDArray[np.int64], what: str) -> None:
        """Choose examples.

        Args:
            data: Where they come from.
            indices: Which ones, increasing, at least one.
            what: Which ones, in words.
        """
        self._data, self._indices = data, indices
        self.spec = f"{data.spec} ({what})"
        self.examples = len(indices)
        self.inputs, self.has_labels, self.warnings = data.inputs, data.has_labels, data.warnings

    @property
    def digest(self) -> str:
        """SHA-256 of what is read."""
        return hashlib.sha256(self._data.digest.encode() + self._indices.tobytes()).hexdigest()

    def read(self, start: int, stop: int) -> Batch:
        """Return examples ``start`` to ``stop`` - 1 of those chosen."""
        wanted = self._indices[start:stop]
        if not wanted.size:
            return self._data.read(0, 0)
        ends = np.flatnonzero(np.diff(wanted) != 1) + 1
        runs = [self._data.read(int(run[0]), int(run[-1]) + 1) for run in np.split(wanted, ends)]
        inputs: dict[str, NDArray[Any]] = {
            name: np.concatenate([run.inputs[name] for run in runs]) for name in runs[0].inputs
        }
        labels = [run.labels for run in runs if run.labels is not None]
        return Batch(inputs, np.concatenate(labels) if labels else None, start)


def kept_for_proof(examples: int) -> NDArray[np.bool_]:
    """Choose one of each four examples in a row.

    Of each four, since data often lie class behind class; which of them is drawn, since classes
    also follow each other in turn.  The same for as many examples.

    Example:
        >>> int(kept_for_proof(400).sum())
        100
    """
    index = np.arange(examples)
    drawn = np.random.default_rng(EVERY).integers(EVERY, size=-(-examples // EVERY))
    kept: NDArray[np.bool_] = index % EVERY == drawn[index // EVERY]
    return kept


def split(data: Dataset) -> tuple[Subset, Subset]:
    """Part data into examples to calibrate on and those kept for the proof."""
    index, proof = np.arange(data.examples), kept_for_proof(data.examples)
    return (
        Subset(data, index[~proof], f"all but one in {EVERY}"),
        Subset(data, index[proof], f"one in {EVERY}"),
    )
