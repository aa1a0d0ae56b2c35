"""Labels that are independent of the examples: the key ``labels=random`` of every source."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data.source import Array, DataSource, TensorSpec, taken
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, UsageError

SPLITS = {"train": 0, "validation": 1}
BLOCK = 4096  # labels drawn from one random stream
READ = 1024  # examples per read when classes are counted


def with_random_labels(spec: DataSpec, source: DataSource) -> DataSource:
    """Return ``source`` with the labels that the keys ``labels`` and ``labels_seed`` request.

    ``labels=random`` draws each label from a uniform distribution over the classes.  The label of
    example i depends on ``labels_seed`` (default 0), the split, the number of classes and i only.

    Raises:
        UsageError: a value is malformed, or the split is neither train nor validation.
        DataError: there are no labels to replace.

    Source:
        Casper et al. 2021, arXiv:1912.04783, section 4, "random labels"; test labels are never
        replaced, as in the code published with it.
    """
    labels = spec.choice("labels", ("true", "random"), "true")
    seed = spec.whole("labels_seed", default=0, most=2**64 - 1)
    if labels == "true":
        if "labels_seed" in spec.options:
            raise UsageError(
                f"data {spec}: labels_seed requires labels=random; give both or neither"
            )
        return source
    split = spec.options.get("split", "none")
    if split not in SPLITS:
        raise UsageError(
            f"data {spec}: labels=random requires training or validation data, but the split is "
            f"{split}; give split=train or split=validation, or remove labels=random"
        )
    column = source.columns.get("y")
    if column is None or column.shape:
        raise DataError(f"data {spec} has no labels to replace; remove labels=random")
    return RandomLabels(source, seed, split, _classes(source))


class RandomLabels:
    """A data source with random labels.

    Args:
        source: Provides all other columns.
        seed: Determines the labels.
        split: ``train`` or ``validation``, which get different labels.
        classes: The number of classes, at least 1; labels are smaller.

    Example:
        >>> from frivkit.data import open_data
        >>> data = open_data("digits?split=train&labels=random", None)
        >>> sorted(set(data.read(0, 200).labels.tolist()))
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, source: DataSource, seed: int, split: str, classes: int) -> None:
        self.classes = classes
        self._source = source
        self._key = np.array([seed, SPLITS[split]], np.uint64)

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        return self._source.examples

    @property
    def columns(self) -> Mapping[str, TensorSpec]:
        """Return number type and shape of one example, by column."""
        return {**self._source.columns, "y": TensorSpec("y", "int64", ())}

    @property
    def digest(self) -> str:
        """Return the digest of the stored content; the dataset adds the spec's keys to it."""
        return self._source.digest

    @property
    def byte_columns(self) -> tuple[str, ...]:
        """Return the columns of 8-bit values in another number type than uint8."""
        return tuple(getattr(self._source, "byte_columns", ()))

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        return {**self._source.read(start, stop), "y": self._labels(np.arange(start, stop))}

    def take(self, indices: NDArray[np.int64]) -> dict[str, Array]:
        """Return the examples of increasing indices of every column."""
        return {**taken(self._source, indices), "y": self._labels(indices)}

    def _labels(self, indices: NDArray[np.int64]) -> Array:
        blocks = range(indices[0] // BLOCK, indices[-1] // BLOCK + 1)
        labels = np.concatenate([self._block(block) for block in blocks])
        return labels[indices - blocks.start * BLOCK]

    def _block(self, number: int) -> Array:
        stream = np.random.Philox(key=self._key, counter=np.array([0, 0, number, 0], np.uint64))
        return np.random.Generator(stream).integers(0, self.classes, BLOCK)


def _classes(source: DataSource) -> int:
    """Return the number of classes: the source's, else one more than the largest label."""
    known: Any = getattr(source, "classes", None)
    if known:
        return int(known)
    starts = range(0, source.examples, READ)
    parts = (source.read(at, min(at + READ, source.examples))["y"] for at in starts)
    return 1 + max((int(part.max()) for part in parts), default=0)
