"""Labelled batches of a dataset in an order that a seed decides."""

from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor

from frivkit.data import Dataset

HELD = 2**30
"""Bytes of float32 inputs up to which a dataset is held in memory; 1 GiB."""


class Feed:
    """Give a dataset's examples as tensors, once an epoch, in a new order each time.

    A dataset of at most :data:`HELD` bytes is read once and its examples are shuffled.  A larger
    one is read anew each epoch, in batches of neighbouring examples whose order is shuffled: the
    members of a batch then stay the same.  The last batch may be short, but a single example left
    over is skipped, as batch norm cannot train on one.

    Args:
        data: Labelled examples with one input column.
        size: Examples in a batch, at least 2.
        seed: Decides all the orders.
    """

    def __init__(self, data: Dataset, size: int, seed: int) -> None:
        self._data = data
        self._size = size
        self._random = np.random.default_rng(seed)
        self._held = self._read(0, data.examples) if _bytes(data) <= HELD else None

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every example once, as (inputs, labels): shapes (n, ...) and (n,) int64."""
        count = self._data.examples
        if self._held is not None:
            inputs, labels = self._held
            order = torch.from_numpy(self._random.permutation(count))
            for start in range(0, count, self._size):
                chosen = order[start : start + self._size]
                if len(chosen) > 1:
                    yield inputs[chosen], labels[chosen]
        else:
            starts = range(0, count, self._size)
            for at in self._random.permutation(len(starts)):
                stop = min(starts[at] + self._size, count)
                if stop - starts[at] > 1:
                    yield self._read(starts[at], stop)

    def _read(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        batch = self._data.read(start, stop)
        (inputs,) = batch.inputs.values()
        labels = np.asarray(batch.labels, dtype=np.int64)
        return torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(labels)


def _bytes(data: Dataset) -> int:
    (column,) = data.inputs
    return 4 * data.examples * prod(size or 1 for size in column.shape)
