"""Labelled batches of a dataset, in an order that a seed decides or in their own."""

import json
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from frivkit.data import Array, Batch, Dataset
from frivkit.errors import UsageError
from frivkit_trainers.augment import Augmenter

IN_MEMORY = 2**30
"""Bytes up to which a dataset is held in memory: its float32 inputs, or what is stored if that is
augmented; 1 GiB."""

Pair = tuple[Tensor, Tensor]


class Batches(Protocol):
    """Where a trainer's batches come from."""

    updates: int
    """Batches of an epoch."""

    state: str
    """Where in all the epochs it stands, as text; can be set."""

    def epoch(self) -> Iterator[Pair]:
        """Return the batches of one epoch, as (inputs, labels): shapes (n, ...) and (n,) int64."""
        ...


class ExampleStore:
    """Examples as tensors, held in memory if they take at most :data:`IN_MEMORY` bytes.

    Args:
        data: Labelled examples with one input column.
        augmenter: Changes images each time they are taken, or None.  Examples are then held as
            they are stored, else as they are prepared.
    """

    def __init__(self, data: Dataset, augmenter: Augmenter | None = None) -> None:
        self.examples = data.examples
        self.held = _bytes(data, augmenter) <= IN_MEMORY
        self._data = data
        self._distorter = augmenter
        self._prepared: Pair | None = None
        self._stored: dict[str, Array] = {}
        if self.held and augmenter is None:
            self._prepared = _tensors(data.read(0, data.examples))
        elif self.held:
            self._stored = dict(data.read_raw(0, data.examples))

    def take(self, chosen: range | Tensor) -> Pair:
        """Return examples that follow one another or, if they are held, any."""
        at = slice(chosen.start, chosen.stop) if isinstance(chosen, range) else chosen
        if self._prepared is not None:
            inputs, labels = self._prepared
            return inputs[at], labels[at]
        if self._stored:
            rows = at if isinstance(at, slice) else at.numpy()
            chosen_rows = {name: column[rows] for name, column in self._stored.items()}
            return _tensors(self._data.preprocess(chosen_rows, self._distorter))
        assert isinstance(chosen, range)  # noqa: S101  # the callers see to it
        if self._distorter is None:
            return _tensors(self._data.read(chosen.start, chosen.stop))
        stored = self._data.read_raw(chosen.start, chosen.stop)
        return _tensors(self._data.preprocess(stored, self._distorter, chosen.start))


class ShuffledLoader:
    """Give a dataset's examples as tensors, once an epoch, in a new order each time.

    A dataset of at most :data:`IN_MEMORY` bytes is read once and its examples are shuffled.  A
    larger one is read anew each epoch, in batches of neighbouring examples whose order is shuffled:
    the members of a batch then stay the same.  The last batch may be short, but a single example
    left over is skipped, as batch norm cannot train on one.

    Args:
        data: Labelled examples with one input column.
        size: Examples in a batch, at least 2.
        seed: Decides all the orders.
        augmenter: Changes images at random, or None.
    """

    def __init__(
        self, data: Dataset, size: int, seed: int, augmenter: Augmenter | None = None
    ) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._distorter = augmenter
        self._store = ExampleStore(data, augmenter)
        self.updates = data.examples // size + (data.examples % size > 1)

    def epoch(self) -> Iterator[Pair]:
        """Return every example once, as (inputs, labels): shapes (n, ...) and (n,) int64."""
        count = self._store.examples
        starts = range(0, count, self._size)
        parts: Iterable[range | Tensor]
        if self._store.held:
            order = torch.from_numpy(self._random.permutation(count))
            parts = (order[start : start + self._size] for start in starts)
        else:
            places = self._random.permutation(len(starts))
            parts = (range(count)[starts[at] : starts[at] + self._size] for at in places)
        for chosen in parts:
            if len(chosen) > 1:
                yield self._store.take(chosen)

    @property
    def state(self) -> str:
        """Return the states of the random numbers, as text."""
        return json.dumps([each.bit_generator.state for each in self._generators()])

    @state.setter
    def state(self, state: str) -> None:
        for generator, saved in zip(self._generators(), json.loads(state), strict=True):
            generator.bit_generator.state = saved

    def _generators(self) -> list[np.random.Generator]:
        return [self._random, *([self._distorter.random] if self._distorter else [])]


class SequentialLoader:
    """Give a dataset's examples in their own order, from the first again after the last.

    An epoch takes as many whole batches as there are, and goes on where the one before ended.  Its
    first batch is not given: the code published with the paper only measures on it.

    Args:
        data: Labelled examples with one input column.
        size: Examples in a batch, at least 2.
        augmenter: Changes images at random, or None.

    Raises:
        UsageError: an epoch would have no batch.
    """

    def __init__(self, data: Dataset, size: int, augmenter: Augmenter | None = None) -> None:
        self._size = size
        self._store = ExampleStore(data, augmenter)
        self._distorter = augmenter
        self._next = 0
        self.updates = data.examples // size - 1
        if self.updates < 1:
            raise UsageError(
                f"protocol=reference needs 2 batches of {size} examples, but {data.spec} has "
                f"{data.examples} examples; set a smaller batch"
            )

    def epoch(self) -> Iterator[Pair]:
        """Return the batches of an epoch but the first, as (inputs, labels)."""
        for number in range(self.updates + 1):
            start, count = self._next, self._store.examples
            self._next = (start + self._size) % count
            if number:
                end = min(start + self._size, count)
                parts = [range(start, end), range(self._size - (end - start))]
                pairs = [self._store.take(part) for part in parts if part]
                inputs, labels = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
                yield inputs, labels

    @property
    def state(self) -> str:
        """Return the next example and the state of the random numbers, as text."""
        random: Any = self._distorter and self._distorter.random.bit_generator.state
        return json.dumps([self._next, random])

    @state.setter
    def state(self, state: str) -> None:
        self._next, random = json.loads(state)
        if self._distorter:
            self._distorter.random.bit_generator.state = random


def _tensors(batch: Batch) -> Pair:
    (inputs,) = batch.inputs.values()
    labels = np.asarray(batch.labels, dtype=np.int64)
    return torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(labels)


def _bytes(data: Dataset, augmenter: Augmenter | None) -> int:
    """Return the bytes that holding all examples takes."""
    if augmenter is not None:
        return data.examples * sum(column.nbytes for column in data.read_raw(0, 1).values())
    (column,) = data.inputs
    return 4 * data.examples * prod(size or 1 for size in column.shape)
