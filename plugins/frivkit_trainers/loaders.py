"""Loaders: labelled batches of a dataset, in random or in their own order."""

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
"""Largest dataset that is read into memory; 1 GiB of float32 inputs, or of stored examples if they
are augmented."""

Pair = tuple[Tensor, Tensor]


class Batches(Protocol):
    """A loader of a trainer's batches."""

    updates: int
    """The number of batches of an epoch."""

    state: str
    """The position in the sequence of epochs, as text; can be set."""

    def epoch(self) -> Iterator[Pair]:
        """Return the batches of one epoch, as (inputs, labels): shapes (n, ...) and (n,) int64."""
        ...


class ExampleStore:
    """Examples as tensors, in memory if they take at most :data:`IN_MEMORY` bytes.

    Args:
        data: Labelled examples with one input column.
        augmenter: Augments images each time they are taken, or None.  With an augmenter, examples
            are in memory as they are stored, else as they are preprocessed.
    """

    def __init__(self, data: Dataset, augmenter: Augmenter | None = None) -> None:
        self.examples = data.examples
        self.in_memory = _size_in_memory(data, augmenter) <= IN_MEMORY
        self._data = data
        self._augmenter = augmenter
        self._preprocessed: Pair | None = None
        self._stored: dict[str, Array] = {}
        if self.in_memory and augmenter is None:
            self._preprocessed = _tensors(data.read(0, data.examples))
        elif self.in_memory:
            self._stored = dict(data.read_raw(0, data.examples))

    def take(self, chosen: range | Tensor) -> Pair:
        """Return consecutive examples or, if they are in memory, any."""
        at = slice(chosen.start, chosen.stop) if isinstance(chosen, range) else chosen
        if self._preprocessed is not None:
            inputs, labels = self._preprocessed
            return inputs[at], labels[at]
        if self._stored:
            rows = at if isinstance(at, slice) else at.numpy()
            chosen_rows = {name: column[rows] for name, column in self._stored.items()}
            return _tensors(self._data.preprocess(chosen_rows, self._augmenter))
        assert isinstance(chosen, range)  # noqa: S101  # the callers ensure it
        if self._augmenter is None:
            return _tensors(self._data.read(chosen.start, chosen.stop))
        stored = self._data.read_raw(chosen.start, chosen.stop)
        return _tensors(self._data.preprocess(stored, self._augmenter, chosen.start))


class ShuffledLoader:
    """Load a dataset's examples as tensors, once per epoch, in a new random order each time.

    A dataset of at most :data:`IN_MEMORY` bytes is read once and its examples are shuffled.  A
    larger one is read again in each epoch, in batches of consecutive examples whose order is
    shuffled: the examples of a batch then stay the same.  The last batch may be smaller, but a
    last batch of one example is skipped, as batch norm cannot train on one.

    Args:
        data: Labelled examples with one input column.
        size: Examples in a batch, at least 2.
        seed: Determines the order of the examples.
        augmenter: Augments images at random, or None.
    """

    def __init__(
        self, data: Dataset, size: int, seed: int, augmenter: Augmenter | None = None
    ) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._augmenter = augmenter
        self._store = ExampleStore(data, augmenter)
        self.updates = data.examples // size + (data.examples % size > 1)

    def epoch(self) -> Iterator[Pair]:
        """Return every example once, as (inputs, labels): shapes (n, ...) and (n,) int64."""
        count = self._store.examples
        starts = range(0, count, self._size)
        parts: Iterable[range | Tensor]
        if self._store.in_memory:
            order = torch.from_numpy(self._random.permutation(count))
            parts = (order[start : start + self._size] for start in starts)
        else:
            batches = self._random.permutation(len(starts))
            parts = (range(count)[starts[at] : starts[at] + self._size] for at in batches)
        for chosen in parts:
            if len(chosen) > 1:
                yield self._store.take(chosen)

    @property
    def state(self) -> str:
        """Return the states of the random generators, as text."""
        return json.dumps([each.bit_generator.state for each in self._generators()])

    @state.setter
    def state(self, state: str) -> None:
        for generator, saved in zip(self._generators(), json.loads(state), strict=True):
            generator.bit_generator.state = saved

    def _generators(self) -> list[np.random.Generator]:
        return [self._random, *([self._augmenter.random] if self._augmenter else [])]


class SequentialLoader:
    """Load a dataset's examples in their own order, and from the first again after the last.

    An epoch has as many full batches as there are, and continues where the previous epoch ended.
    Its first batch is skipped: the code published with the paper only measures on it.

    Args:
        data: Labelled examples with one input column.
        size: Examples in a batch, at least 2.
        augmenter: Augments images at random, or None.

    Raises:
        UsageError: an epoch would have no batch.
    """

    def __init__(self, data: Dataset, size: int, augmenter: Augmenter | None = None) -> None:
        self._size = size
        self._store = ExampleStore(data, augmenter)
        self._augmenter = augmenter
        self._next = 0
        self.updates = data.examples // size - 1
        if self.updates < 1:
            raise UsageError(
                f"protocol=reference needs 2 batches of {size} examples, but {data.spec} has "
                f"{data.examples} examples; give a smaller batch"
            )

    def epoch(self) -> Iterator[Pair]:
        """Return all batches of an epoch but the first, as (inputs, labels)."""
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
        """Return the next example and the state of the random generator, as text."""
        random: Any = self._augmenter and self._augmenter.random.bit_generator.state
        return json.dumps([self._next, random])

    @state.setter
    def state(self, state: str) -> None:
        self._next, random = json.loads(state)
        if self._augmenter:
            self._augmenter.random.bit_generator.state = random


def _tensors(batch: Batch) -> Pair:
    (inputs,) = batch.inputs.values()
    labels = np.asarray(batch.labels, dtype=np.int64)
    return torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(labels)


def _size_in_memory(data: Dataset, augmenter: Augmenter | None) -> int:
    """Return the bytes of all examples in memory."""
    if augmenter is not None:
        return data.examples * sum(column.nbytes for column in data.read_raw(0, 1).values())
    (column,) = data.inputs
    return 4 * data.examples * prod(size or 1 for size in column.shape)
