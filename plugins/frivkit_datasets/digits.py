"""The digits that come with scikit-learn."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from frivkit.data import Array, DataSpec, TensorSpec

TRAINING = 1200  # of 1,797


@dataclass(frozen=True, slots=True, eq=False)
class HeldRecords:
    """Columns that are small enough to be held in memory."""

    arrays: Mapping[str, Array]

    @property
    def examples(self) -> int:
        """Give the number of examples."""
        return min(map(len, self.arrays.values()))

    @property
    def columns(self) -> dict[str, TensorSpec]:
        """Give number type and shape of one example, by column."""
        return {
            name: TensorSpec(name, array.dtype.name, array.shape[1:])
            for name, array in self.arrays.items()
        }

    @property
    def digest(self) -> str:
        """Give the SHA-256 of the arrays' bytes, in hexadecimal."""
        return hashlib.sha256(b"".join(map(np.ndarray.tobytes, self.arrays.values()))).hexdigest()

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Give examples ``start`` to ``stop`` - 1 of every column."""
        return {name: array[start:stop].copy() for name, array in self.arrays.items()}


def digits(spec: DataSpec, inputs: Sequence[TensorSpec]) -> HeldRecords:
    """Give 1,797 handwritten digits, shape (1, 8, 8), float32 from 0 to 16, with labels 0 to 9.

    They are shuffled once and for all; ``split=train`` is the first 1,200, ``split=test`` the
    other 597, ``split=all``, the default, both in that order.

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998, https://doi.org/10.24432/C50P49; the test part, as in scikit-learn's
        ``load_digits``.
    """
    spec.refuse_path()
    spec.check_keys("split")
    split = spec.choice("split", ("train", "test", "all"), "all")
    # RandomState's streams are frozen for good, those of the newer generators are not.
    order = np.random.RandomState(0).permutation(1797)
    chosen = {"train": order[:TRAINING], "test": order[TRAINING:], "all": order}[split]
    images, labels = load_digits(return_X_y=True)
    x = images[chosen].astype("<f4").reshape(-1, 1, 8, 8)
    y = labels[chosen].astype("<i8")
    return HeldRecords({"x": x, "y": y})
