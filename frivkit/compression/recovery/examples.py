"""The calibration examples in any order: some for gradients, others set aside to compare."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.patch_moments import VALIDATION_SHARE
from frivkit.data import Array, Dataset
from frivkit.data.preprocess import Augmentation
from frivkit.data.subset import Subset

BATCH = 50
"""Examples of one step."""

Indices = NDArray[np.int64]
"""Which examples, shape (n,)."""


class ShuffledExamples:
    """Examples that are read in any order, and kept in memory if there is room.

    Args:
        data: The examples.
        room: Bytes that stored examples may take.

    Attributes:
        data: The examples.
        trained: Those for gradients: all but one in five.
        held_out: The others; empty if there are fewer than ten.
    """

    def __init__(self, data: Dataset, room: int) -> None:
        self.data = data
        index = np.arange(data.examples)
        aside = index % VALIDATION_SHARE == VALIDATION_SHARE - 1
        if data.examples < 2 * VALIDATION_SHARE:
            aside[:] = False
        self.trained, self.held_out = index[~aside], index[aside]
        each = sum(array.nbytes for array in data.read_raw(0, 1).values())
        fits = each * data.examples <= room
        self._stored = data.read_raw(0, data.examples) if fits else None

    def inputs(self, indices: Indices, augment: Augmentation | None = None) -> Mapping[str, Array]:
        """Return examples as the model takes them, by the names of its inputs.

        Args:
            indices: Which examples.
            augment: Changes images; None leaves them.
        """
        if self._stored is None:
            different, place = np.unique(indices, return_inverse=True)
            subset = Subset(self.data, different, f"{len(different)} of them")
            found = subset.read_raw(0, len(different))
            stored = {name: array[place] for name, array in found.items()}
        else:
            stored = {name: array[indices] for name, array in self._stored.items()}
        return self.data.preprocess(stored, augment).inputs

    def batches(self, random: np.random.Generator) -> list[Indices]:
        """Return the examples for gradients in random batches of about :data:`BATCH`."""
        count = max(1, round(len(self.trained) / BATCH))
        drawn = random.permutation(self.trained)
        return [np.sort(part) for part in np.array_split(drawn, count)]
