"""The handwritten digits of scikit-learn."""

import hashlib
from collections.abc import Sequence

import numpy as np
from sklearn.datasets import load_digits

from frivkit.data import DataSpec, TensorSpec
from frivkit.data.arrays import ArraySource
from frivkit.errors import UsageError

TRAINING = 1200  # of 1,797
VALIDATION = 200  # of these, for split=validation without the key validation


class DigitsSource(ArraySource):
    """The digits of a split, in memory."""

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the bytes of all images, then of all labels."""
        content = self.read(0, self.examples)
        return hashlib.sha256(content["x"].tobytes() + content["y"].tobytes()).hexdigest()


def digits(spec: DataSpec, inputs: Sequence[TensorSpec]) -> DigitsSource:
    """Return 1,797 handwritten digits, shape (1, 8, 8), float32 from 0 to 16, with labels 0 to 9.

    They are in a fixed random order; ``split=train`` is the first 1,200, ``split=test`` the other
    597, ``split=all``, the default, both in that order.  ``split=validation`` is the last
    ``validation`` (default 200) of the 1,200.  ``split=train`` includes them unless ``validation``
    is given there, too, so that ``split=train`` alone always has the same examples.

    Raises:
        UsageError: a key is wrong, or ``validation`` leaves the split empty, or is given with
            ``split=all``.

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998, https://doi.org/10.24432/C50P49; the test part, as in scikit-learn's
        ``load_digits``.
    """
    spec.refuse_path()
    spec.check_keys("split", "validation")
    split = spec.choice("split", ("train", "validation", "test", "all"), "all")
    # The streams of RandomState never change, those of the newer generators may.
    order = np.random.RandomState(0).permutation(1797)
    training = TRAINING - _held_out(spec, split)
    indices = {
        "train": order[:training],
        "validation": order[training:TRAINING],
        "test": order[TRAINING:],
        "all": order,
    }[split]
    images, labels = load_digits(return_X_y=True)
    x = images[indices].astype("<f4").reshape(-1, 1, 8, 8)
    y = labels[indices].astype("<i8")
    return DigitsSource({"x": [x], "y": [y]})


def _held_out(spec: DataSpec, split: str) -> int:
    """Return the number of training digits that ``validation`` leaves out of ``split=train``."""
    held_out = spec.whole("validation", default=VALIDATION if split == "validation" else 0)
    if split == "all" and "validation" in spec.options:
        raise UsageError(
            f"data {spec}: split=all has no validation part; give another split, or remove "
            "validation"
        )
    if split != "test" and (held_out >= TRAINING or (split == "validation" and held_out == 0)):
        raise UsageError(
            f"data {spec}: validation={held_out} of {TRAINING:,} training digits leaves none for "
            f"split={split}; give a number from 1 to {TRAINING - 1:,}"
        )
    return held_out
