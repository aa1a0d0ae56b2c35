"""Subsets of data: examples to calibrate on, and examples to verify on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from frivkit.data.dataset import Dataset
from frivkit.data.preprocess import Augmentation
from frivkit.data.source import Array, Batch, TensorSpec, runs_of

EVERY = 4
"""One of this many consecutive examples is held out if no other data are given to verify on."""


class Subset(Dataset):
    """Some examples of a dataset, in order.

    It has every public member of :class:`~frivkit.data.Dataset`; each takes what it needs from the
    dataset.  Messages about an example give its index in the dataset.

    Args:
        data: The dataset, which may be a subset itself.
        indices: Indices of the examples in ``data``, increasing, at least one; shape (n,).
        selection: The selection in words, such as ``"one in 4"``.

    Attributes:
        spec: The spec of the dataset, without the selection.
        examples: The number of examples in the subset.

    Raises:
        ValueError: the indices are empty, do not increase, or are outside the dataset.
    """

    def __init__(self, data: Dataset, indices: NDArray[np.int64], selection: str) -> None:
        if (
            not len(indices)
            or not 0 <= indices[0] <= indices[-1] < data.examples
            or (np.diff(indices) < 1).any()
        ):
            raise ValueError(f"indices of a subset of {data.examples} examples: {indices}")
        self._data, self._indices, self._selection = data, indices, selection
        self.spec = data.spec
        self.examples = len(indices)
        self.inputs, self.has_labels, self.warnings = data.inputs, data.has_labels, data.warnings

    @property
    def description(self) -> str:
        """The description of the dataset, followed by the selection in words."""
        return f"{self._data.description} ({self._selection})"

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the digest of the dataset and the indices."""
        return hashlib.sha256(self._data.digest.encode() + self._indices.tobytes()).hexdigest()

    def adapted_to(self, inputs: Sequence[TensorSpec] | None) -> "Subset":
        """Return the same examples for other inputs.

        Raises:
            DataError: the examples do not fit the inputs; the message names both.
        """
        return Subset(self._data.adapted_to(inputs), self._indices, self._selection)

    def read(self, start: int, stop: int) -> Batch:
        """Return examples ``start`` to ``stop`` - 1 of the subset.

        Raises:
            DataError: as for the dataset.
            ValueError: the range is not within 0 to :attr:`examples`.
        """
        return replace(self._data.read_chosen(self._chosen(start, stop)), first=start)

    def read_chosen(self, indices: NDArray[np.int64]) -> Batch:
        """Return the examples of some indices in the subset.

        Raises:
            DataError: as for the dataset.
            ValueError: the indices do not increase, or are not within 0 to :attr:`examples`.
        """
        if len(indices) and not 0 <= indices[0] <= indices[-1] < self.examples:
            raise ValueError(f"examples {indices} of {self.examples}")
        return self._data.read_chosen(self._indices[indices])

    def read_raw(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of the subset as they are stored, by column.

        Raises:
            DataError: as for the dataset.
            ValueError: the range is empty or not within 0 to :attr:`examples`.
        """
        chosen = runs_of(self._chosen(start, stop))
        runs = [self._data.read_raw(first, end) for first, end in chosen]
        if not runs:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def preprocess(
        self, stored: Mapping[str, Array], augment: Augmentation | None = None, first: int = 0
    ) -> Batch:
        """Preprocess examples that :meth:`read_raw` returned, or a selection of them.

        Args:
            stored: Examples by column, shapes (n, ...).
            augment: Augments images, which are then not cropped; None to preprocess them as
                :meth:`read` does.
            first: Index of the first example, for messages.

        Raises:
            DataError: as for the dataset.
        """
        return self._data.preprocess(stored, augment, first)

    @property
    def images(self) -> bool:
        """Whether all inputs come from images, which can be augmented."""
        return self._data.images

    def _chosen(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the indices in the dataset of a range of the subset."""
        if not 0 <= start <= stop <= self.examples:
            raise ValueError(f"examples {start} to {stop} of {self.examples}")
        return self._indices[start:stop]


def held_out(examples: int) -> NDArray[np.bool_]:
    """Return a mask that holds out one of each four consecutive examples.

    One of each four, since data are often sorted by class; which of the four is drawn at random,
    since classes may also alternate.  The mask depends on the number of examples only.

    Args:
        examples: The number of examples.

    Returns:
        True for the examples to hold out, shape (examples,).

    Example:
        >>> int(held_out(400).sum())
        100
    """
    index = np.arange(examples)
    drawn = np.random.default_rng(EVERY).integers(EVERY, size=-(-examples // EVERY))
    mask: NDArray[np.bool_] = index % EVERY == drawn[index // EVERY]
    return mask


def split(data: Dataset) -> tuple[Subset, Subset]:
    """Split data into examples to calibrate on and examples held out to verify on.

    Raises:
        ValueError: there are so few examples that a part is empty.
    """
    index, mask = np.arange(data.examples), held_out(data.examples)
    return (
        Subset(data, index[~mask], f"all but one in {EVERY}"),
        Subset(data, index[mask], f"one in {EVERY}"),
    )
