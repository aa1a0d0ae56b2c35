"""Labels that have nothing to do with the examples: the key ``labels=random`` of every source."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from frivkit.data.source import Array, DataSource, TensorSpec
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, UsageError

SPLITS = {"train": 0, "validation": 1}
BLOCK = 4096  # labels that are drawn together
READ = 1024  # examples that are read together where classes have to be counted


def with_random_labels(spec: DataSpec, records: DataSource) -> DataSource:
    """Return ``records`` with the labels that ``labels`` and ``labels_seed`` of a spec ask for.

    ``labels=random`` draws each label from a uniform distribution over the classes.  The label of
    example i depends on ``labels_seed`` (default 0), the split, the number of classes and i only.

    Raises:
        UsageError: a value is malformed, or the split is neither train nor validation.
        DataError: there are no labels that could be replaced.

    Source:
        Casper et al. 2021, arXiv:1912.04783, section 4, "random labels"; test labels stay true, as
        in the code published with it.
    """
    labels = spec.choice("labels", ("true", "random"), "true")
    seed = spec.whole("labels_seed", default=0, most=2**64 - 1)
    if labels == "true":
        if "labels_seed" in spec.options:
            raise UsageError(f"data {spec}: labels_seed goes with labels=random; give both or none")
        return records
    split = spec.options.get("split", "none")
    if split not in SPLITS:
        raise UsageError(
            f"data {spec}: labels=random is for training and validation data, but the split is "
            f"{split}; give split=train or split=validation, or leave labels out"
        )
    column = records.columns.get("y")
    if column is None or column.shape:
        raise DataError(f"data {spec} has no labels to replace; leave labels=random out")
    return RandomLabels(records, seed, split, _classes(records))


class RandomLabels:
    """Records whose labels are drawn.

    Args:
        records: Where all other columns come from.
        seed: Chooses the labels.
        split: ``train`` or ``validation``, which have different labels.
        classes: Labels are below this number; at least 1.

    Example:
        >>> from frivkit.data import open_data
        >>> data = open_data("digits?split=train&labels=random", None)
        >>> sorted(set(data.read(0, 200).labels.tolist()))
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, records: DataSource, seed: int, split: str, classes: int) -> None:
        self.classes = classes
        self._records = records
        self._key = np.array([seed, SPLITS[split]], np.uint64)

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        return self._records.examples

    @property
    def columns(self) -> Mapping[str, TensorSpec]:
        """Return number type and shape of one example, by column."""
        return {**self._records.columns, "y": TensorSpec("y", "int64", ())}

    @property
    def digest(self) -> str:
        """Return the digest of the stored content; the dataset adds the spec's keys to it."""
        return self._records.digest

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return examples ``start`` to ``stop`` - 1 of every column."""
        blocks = range(start // BLOCK, -(-stop // BLOCK))
        labels = np.concatenate([self._block(block) for block in blocks])
        first = start - blocks.start * BLOCK
        return {**self._records.read(start, stop), "y": labels[first : first + stop - start]}

    def _block(self, number: int) -> Array:
        stream = np.random.Philox(key=self._key, counter=np.array([0, 0, number, 0], np.uint64))
        return np.random.Generator(stream).integers(0, self.classes, BLOCK)


def _classes(records: DataSource) -> int:
    """Return the number of classes: what the source says, else one more than the largest label."""
    known: Any = getattr(records, "classes", None)
    if known:
        return int(known)
    starts = range(0, records.examples, READ)
    parts = (records.read(at, min(at + READ, records.examples))["y"] for at in starts)
    return 1 + max((int(part.max()) for part in parts), default=0)
