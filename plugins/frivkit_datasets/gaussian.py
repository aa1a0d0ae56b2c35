"""Independent normal numbers in the shape of the model's inputs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from frivkit.data import Array, DataSpec, TensorSpec
from frivkit.errors import DataError, UsageError

EXAMPLES = 1000  # without the key n


def gaussian(spec: DataSpec, inputs: Sequence[TensorSpec]) -> "GaussianSource":
    """Return examples of independent numbers from N(0, 1), float32, generated when they are read.

    ``seed`` (default 0) determines them, ``n`` (default 1,000) is their number, and ``shape``, such
    as ``1x8x8``, replaces the shape of the model's only input.

    Source:
        Uncorrelated normal inputs as in S. Casper et al., Frivolous Units: Wider Networks Are Not
        Really That Wide, AAAI 2021, arXiv:1912.04783.
    """
    spec.refuse_path()
    spec.check_keys("seed", "shape")
    seed = spec.whole("seed", default=0, most=2**64 - 1)
    examples = spec.whole("n", default=EXAMPLES, least=1)
    shape = spec.sizes("shape")
    if shape is not None:
        if len(inputs) > 1:
            raise UsageError(
                f"data {spec}: shape is for one input, but the model has {len(inputs)}; remove it"
            )
        return GaussianSource({"x": shape}, seed, examples)
    if not inputs:
        raise DataError(f"data {spec}: there is no model to take the shape from; give shape=1x8x8")
    for tensor in inputs:
        _check(spec, tensor)
    shapes = {
        "x" if len(inputs) == 1 else tensor.name: tuple(size or 0 for size in tensor.shape)
        for tensor in inputs
    }
    return GaussianSource(shapes, seed, examples)


def _check(spec: DataSpec, tensor: TensorSpec) -> None:
    if not tensor.dtype.startswith("float"):
        raise DataError(
            f"data {spec} makes floats, but the model's input {tensor.name!r} takes "
            f"{tensor.dtype}; give data of that type by --data"
        )
    if None in tensor.shape:
        shape = "x".join("?" if size is None else str(size) for size in tensor.shape)
        raise DataError(
            f"data {spec}: the model's input {tensor.name!r} has unknown sizes ({shape}); "
            "give them by --input-shape"
        )


@dataclass(frozen=True)
class GaussianSource:
    """Normal examples, each from its own random stream.

    Example i of column c is drawn from a Philox generator whose key is (seed, c) and whose counter
    starts at i in the third of its four words.  Streams never overlap, so an example does not
    depend on which others are read.

    Attributes:
        shapes: Shape of one example, by column.
        seed: Determines the numbers.
        examples: The number of examples.

    Source:
        J. K. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011,
        https://doi.org/10.1145/2063384.2063405.
    """

    shapes: Mapping[str, tuple[int, ...]]
    seed: int
    examples: int

    @property
    def columns(self) -> dict[str, TensorSpec]:
        """Return number type and shape of one example, by column."""
        return {name: TensorSpec(name, "float32", shape) for name, shape in self.shapes.items()}

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the parameters and of the first example, in hexadecimal."""
        recipe = json.dumps(["gaussian", self.seed, list(self.shapes.items())])
        first = (array.tobytes() for array in self.read(0, 1).values())
        return hashlib.sha256(b"".join((recipe.encode(), *first))).hexdigest()

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        return {
            name: np.stack([self._example(index, column, shape) for index in range(start, stop)])
            for column, (name, shape) in enumerate(self.shapes.items())
        }

    def _example(self, index: int, column: int, shape: tuple[int, ...]) -> Array:
        stream = np.random.Philox(
            key=np.array([self.seed, column], np.uint64),
            counter=np.array([0, 0, index, 0], np.uint64),
        )
        numbers = np.random.Generator(stream).standard_normal(prod(shape), dtype=np.float32)
        return numbers.reshape(shape)
