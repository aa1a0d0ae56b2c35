"""The digits that come with scikit-learn."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.errors import UsageError

TRAINING = 1200  # of 1,797
VALIDATION = 200  # of these, for split=validation unless validation= says otherwise


@dataclass(frozen=True, slots=True, eq=False)
class InMemorySource:
    """Columns that are small enough to be held in memory."""

    arrays: Mapping[str, Array]

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        return min(map(len, self.arrays.values()))

    @property
    def columns(self) -> dict[str, TensorSpec]:
        """Return number type and shape of one example, by column."""
        return {
            name: TensorSpec(name, array.dtype.name, array.shape[1:])
            for name, array in self.arrays.items()
        }

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the arrays' bytes, in hexadecimal."""
        return hashlib.sha256(b"".join(map(np.ndarray.tobytes, self.arrays.values()))).hexdigest()

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        return {name: array[start:stop].copy() for name, array in self.arrays.items()}


def digits(spec: DataSpec, inputs: Sequence[TensorSpec]) -> InMemorySource:
    """Return 1,797 handwritten digits, shape (1, 8, 8), float32 from 0 to 16, with labels 0 to 9.

    They are shuffled once and for all; ``split=train`` is the first 1,200, ``split=test`` the
    other 597, ``split=all``, the default, both in that order.  ``split=validation`` is the last
    ``validation`` (default 200) of the 1,200.  They stay in ``split=train`` unless ``validation``
    is given there, too, so that a plain ``split=train`` always means the same.

    Raises:
        UsageError: a key is wrong, or ``validation`` leaves nothing, or goes with ``split=all``.

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998, https://doi.org/10.24432/C50P49; the test part, as in scikit-learn's
        ``load_digits``.
    """
    spec.refuse_path()
    spec.check_keys("split", "validation")
    split = spec.choice("split", ("train", "validation", "test", "all"), "all")
    # RandomState's streams are frozen for good, those of the newer generators are not.
    order = np.random.RandomState(0).permutation(1797)
    training = TRAINING - _held_out(spec, split)
    chosen = {
        "train": order[:training],
        "validation": order[training:TRAINING],
        "test": order[TRAINING:],
        "all": order,
    }[split]
    images, labels = load_digits(return_X_y=True)
    x = images[chosen].astype("<f4").reshape(-1, 1, 8, 8)
    y = labels[chosen].astype("<i8")
    return InMemorySource({"x": x, "y": y})


def _held_out(spec: DataSpec, split: str) -> int:
    """Return the number of training digits that ``validation`` leaves out of ``split=train``."""
    held_out = spec.whole("validation", default=VALIDATION if split == "validation" else 0)
    if split == "all" and "validation" in spec.options:
        raise UsageError(
            f"data {spec}: split=all leaves nothing out; give another split, or leave validation "
            "out"
        )
    if split != "test" and (held_out >= TRAINING or (split == "validation" and held_out == 0)):
        raise UsageError(
            f"data {spec}: validation={held_out} of {TRAINING:,} training digits leaves none for "
            f"split={split}; choose a number from 1 to {TRAINING - 1:,}"
        )
    return held_out
