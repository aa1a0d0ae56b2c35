"""Uncorrelated inputs with the labels of a teacher network, as in the paper."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frivkit.errors import DataError

TEST = 1000
"""Number of test examples, whatever the number of training examples."""

TEACHER = 32
"""Hidden units of the teacher, a network of width 1/4."""

PARTS = ("train", "validation", "test")
DRAWS = 1000
"""Teachers that are drawn at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Labelled examples.

    Attributes:
        inputs: Shape (n, inputs + 1), float32; the last column is 1, the input of the bias.
        labels: 0 or 1, shape (n,), float32.
    """

    inputs: Tensor
    labels: Tensor

    def first(self, count: int) -> "Part":
        """Return the first ``count`` examples, or all if there are fewer."""
        return Part(self.inputs[:count], self.labels[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The examples on which networks are trained, chosen and measured.

    Attributes:
        parts: ``train``, ``validation`` (as many again) and ``test`` (1,000 examples).
        share: Share of training labels that are 1, in [0, 1].
    """

    parts: dict[str, Part]
    share: float


@lru_cache(maxsize=1)  # the largest takes 120 MB, and a sweep needs one at a time
def make_data(inputs: int, examples: int, seed: int, balance: float) -> Data:
    """Return inputs drawn from N(0, 1) with the labels of a random teacher.

    The teacher is a network inputs → 32 ReLU → 2 with truncated normal weights of s.d. 0.01 and no
    biases; the label is the larger output.  All parts have the same teacher.

    Args:
        inputs: Inputs of one example, at least 1.
        examples: Examples to train on, at least 2.
        seed: Seed of inputs and teacher, at least 0.
        balance: The least share of each label in the training part, in [0, 0.5); teachers are
            drawn until one gives it.

    Raises:
        DataError: none of 1,000 teachers gave that balance.

    Source:
        Casper et al. 2021, arXiv:1912.04783, section 4 ("verified ... to output each label for
        between 40% and 60%"); ``create_linear_dataset.py`` of the published code, where the two
        scales and the number of test examples come from.

    Example:
        >>> data = make_data(10, 100, seed=0, balance=0.4)
        >>> data.parts["train"].inputs.shape, 0.4 <= data.share <= 0.6
        (torch.Size([100, 11]), True)
    """
    generator = np.random.default_rng([seed, inputs, examples])
    sizes = dict(zip(PARTS, (examples, examples, TEST), strict=True))
    drawn = {part: _normal(generator, size, inputs) for part, size in sizes.items()}
    for draw in range(DRAWS):
        teacher = np.random.default_rng([seed, inputs, draw, 1])
        hidden = truncated(teacher, (inputs, TEACHER), 0.01)
        output = truncated(teacher, (TEACHER, 2), 0.01)
        labels = {
            part: (np.maximum(x[:, :-1] @ hidden, 0) @ output).argmax(axis=1)
            for part, x in drawn.items()
        }
        share = float(labels["train"].mean())
        if balance <= share <= 1 - balance:
            parts = {
                part: Part(torch.from_numpy(x), torch.from_numpy(labels[part].astype(np.float32)))
                for part, x in drawn.items()
            }
            return Data(parts, share)
    raise DataError(
        f"none of {DRAWS} teachers of {inputs} inputs gave both labels to {balance:.0%} of "
        f"{examples} examples; ask for less balance"
    )


def truncated(
    generator: np.random.Generator, shape: tuple[int, ...], scale: float
) -> NDArray[np.float32]:
    """Return draws from a normal of s.d. ``scale``, those beyond twice that drawn again.

    Args:
        generator: The source of randomness.
        shape: The shape of the result.
        scale: The s.d. of the normal, above 0.

    Returns:
        float32, of that shape; its s.d. is 0.88 × ``scale``.
    """
    drawn = generator.standard_normal(shape, dtype=np.float32)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = generator.standard_normal(int(beyond.sum()), dtype=np.float32)
    return drawn * np.float32(scale)


def _normal(generator: np.random.Generator, size: int, inputs: int) -> NDArray[np.float32]:
    """Return drawn examples with a last column of ones, shape (size, inputs + 1), float32."""
    drawn = np.ones((size, inputs + 1), np.float32)
    drawn[:, :-1] = generator.standard_normal((size, inputs), dtype=np.float32)
    return drawn
