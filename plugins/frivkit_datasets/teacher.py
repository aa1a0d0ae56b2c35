"""The source ``teacher``: normal numbers labelled by a small random network, as in the paper."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.errors import DataError

HIDDEN = 32  # units of the teacher: a quarter of the paper's network of width 1
SIGMA = 0.01  # of both layers; no label depends on it, as biases are 0
BLOCK = 64  # examples that are drawn and labelled together
LARGEST = 2**20  # numbers per example: 256 MiB per block, and as much again while labelling
PROBES = 20_000  # inputs that measure the balance of a teacher; standard error 0.4 %
BALANCED = (0.45, 0.55)  # then 1,000 inputs have 40 to 60 % of label 1 in 499 cases of 500
TRIES = 1000  # teachers that are drawn until one is balanced; one in seven is
REFERENCE_TEST = 1000  # test examples of the published code, for any number of training examples

SPLITS = {"train": 0, "validation": 1, "test": 2}
TEACHERS, CHECKS = 3, 4  # numbers of the streams after those of the splits
OURS = 2**32  # separates these streams from those of the source gaussian with the same seed


def teacher(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "TeacherSource":
    """Return inputs from N(0, 1), float32, shape (d,), with the labels 0 and 1 of a random network.

    ``d`` (default 10) is the number of inputs, ``n`` (default 1,000) of examples, ``seed``
    (default 0) determines teacher and inputs, and ``split`` (default ``test``) is ``train``,
    ``validation`` or ``test``: different inputs of one teacher.  The teacher has 32 ReLU units, a
    layer of two outputs and no biases; all its weights are drawn from a normal of s.d. 0.01.

    ``protocol=paper`` (default) draws teachers until one gives label 1 to 45 to 55 % of the
    inputs, so that sets of 1,000 stay between the paper's 40 and 60 %.  ``protocol=reference``
    truncates the weights at two s.d., takes the first teacher and gives at most 1,000 test
    examples.  ``balanced=yes`` or ``no`` overrides the choice of the teacher.

    Raises:
        UsageError: a key or value is wrong.
        DataError: no teacher is balanced.

    Source:
        Casper et al. 2021, arXiv:1912.04783, section 4 "Datasets" and appendix D "MLPs"; the
        reference is the code published with it, which checks no balance.

    Example:
        >>> from frivkit.data import open_data
        >>> data = open_data("teacher?d=10&split=train&n=200", None)
        >>> data.inputs[0].shape, sorted(set(data.read(0, 200).labels.tolist()))
        ((10,), [0, 1])
    """
    spec.refuse_path()
    spec.check_keys("d", "split", "seed", "protocol", "balanced")
    split = spec.choice("split", tuple(SPLITS), "test")
    protocol = spec.choice("protocol", ("paper", "reference"), "paper")
    reference = protocol == "reference"
    balanced = spec.choice("balanced", ("yes", "no"), "no" if reference else "yes") == "yes"
    examples = spec.whole("n", default=1000, least=1)
    if reference and split == "test":
        examples = min(examples, REFERENCE_TEST)
    size = spec.whole("d", default=10, least=1, most=LARGEST)
    seed = spec.whole("seed", default=0, most=2**64 - 1)
    first, second = _teacher_weights(spec, size, seed, truncated=reference, balanced=balanced)
    return TeacherSource(first, second, seed, split, examples)


def share(first: Array, second: Array, seed: int) -> float:
    """Return the share of inputs from N(0, 1) to which a teacher gives label 1, in [0, 1].

    The inputs of its units are normal, with the covariance of the weights' rows, and are drawn
    directly: a teacher of 10,000 inputs takes as long as one of 10.

    Args:
        first: Weights of the hidden layer, shape (units, d).
        second: Weights of the output layer, shape (2, units).
        seed: Determines the :data:`PROBES` inputs.

    Example:
        >>> round(share(np.eye(2), np.eye(2), 0), 1)  # 3/8: the second is positive and larger
        0.4
    """
    factor = np.linalg.qr(first.T, mode="r")
    probes = _stream(seed, CHECKS, 0).standard_normal((PROBES, len(factor)))
    return float(_labels(probes @ factor, second).mean())


@dataclass(frozen=True)
class TeacherSource:
    """Labelled normal examples in blocks, each with its own random stream.

    Attributes:
        first: Weights of the teacher's hidden layer, shape (units, d), float64.
        second: Weights of its output layer, shape (2, units), float64.
        seed: Determines the inputs.
        split: One of three sets of streams.
        examples: The number of examples.
    """

    first: Array
    second: Array
    seed: int
    split: str
    examples: int

    classes = 2

    @property
    def columns(self) -> dict[str, TensorSpec]:
        """Return number type and shape of one example, by column."""
        size = self.first.shape[1]
        return {"x": TensorSpec("x", "float32", (size,)), "y": TensorSpec("y", "int64", ())}

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of parameters, teacher and first example, in hexadecimal."""
        recipe = json.dumps(["teacher", self.seed, self.split]).encode()
        parts = (self.first, self.second, self.read(0, 1)["x"])
        return hashlib.sha256(b"".join((recipe, *(p.tobytes() for p in parts)))).hexdigest()

    def read(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of both columns."""
        x = np.empty((stop - start, self.first.shape[1]), np.float32)
        y = np.empty(stop - start, np.int64)
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            inputs, labels = self._block(block)
            at = block * BLOCK
            low, high = max(start, at), min(stop, at + BLOCK)
            x[low - start : high - start] = inputs[low - at : high - at]
            y[low - start : high - start] = labels[low - at : high - at]
        return {"x": x, "y": y}

    def _block(self, number: int) -> tuple[Array, Array]:
        # Always the whole block: a product of another size may round otherwise and change a label.
        stream = _stream(self.seed, SPLITS[self.split], number)
        inputs = stream.standard_normal((BLOCK, self.first.shape[1]), dtype=np.float32)
        return inputs, _labels(inputs.astype(np.float64) @ self.first.T, self.second)


def _teacher_weights(
    spec: DataSpec, size: int, seed: int, *, truncated: bool, balanced: bool
) -> tuple[Array, Array]:
    """Draw the weights of both layers, until they are balanced if ``balanced``."""
    for number in range(TRIES):
        stream = _stream(seed, TEACHERS, number)
        first, second = (
            _weights(stream, shape, truncated) for shape in ((HIDDEN, size), (2, HIDDEN))
        )
        if not balanced or BALANCED[0] <= share(first, second, seed) <= BALANCED[1]:
            return first, second
    raise DataError(
        f"data {spec}: none of {TRIES} teachers is balanced; give another seed, or balanced=no"
    )


def _weights(stream: np.random.Generator, shape: tuple[int, int], truncated: bool) -> Array:
    drawn = stream.standard_normal(shape)
    while truncated and (far := np.abs(drawn) > 2).any():
        drawn[far] = stream.standard_normal(int(far.sum()))
    return SIGMA * drawn


def _labels(preactivations: Array, second: Array) -> Array:
    """Return the index of the larger of two outputs; 0 if they are equal, as argmax does."""
    outputs = np.maximum(preactivations, 0) @ second.T
    return (outputs[:, 1] > outputs[:, 0]).astype(np.int64)


def _stream(seed: int, which: int, number: int) -> np.random.Generator:
    key = np.array([seed, OURS + which], np.uint64)
    return np.random.Generator(
        np.random.Philox(key=key, counter=np.array([0, 0, number, 0], np.uint64))
    )
