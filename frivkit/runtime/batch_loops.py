"""Baseline and perturbed outputs of every example: each batch is read once, whatever is tried."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer
from frivkit.data import Dataset
from frivkit.runtime.feeds import PreparedBatch
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.runner import Runner
from frivkit.runtime.session import Feeds
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector

PARTS = 4
"""Parts of the work for each worker, so that no worker waits long for the last."""
NOTHING = PreparedBatch({})

Read = Callable[[Sequence[NDArray[Any]], int, int], NDArray[Any]]
"""From the outputs of a run for the examples of a range, each of shape (n, ...), to what is kept of
them, shape (n, ...), of one number type; the range is given by its ends."""


def run_baseline(
    baseline: BaselineModel, data: Dataset, runner: Runner
) -> Iterator[list[NDArray[Any]]]:
    """Yield the outputs of the network as it is, batch by batch."""
    return runner.map(
        data, baseline.batch, lambda batch: baseline.run_all(batch.inputs), "baseline"
    )


def run_perturbed(
    model: PerturbedModel,
    data: Dataset,
    changes: Sequence[Perturbation],
    selector: UnitSelector | None,
    *,
    read: Read,
    what: str,
    runner: Runner,
    cached: Entry | None = None,
    store: Writer | None = None,
) -> NDArray[Any]:
    """Return what is kept of the outputs under every perturbation, shape (changes, n, ...).

    Args:
        model: The model, ready to be perturbed.
        data: The examples.
        changes: The perturbations, one run of a batch each.
        selector: How the flags of masks are read.
        read: Says what is kept of outputs.
        what: What is being done, for the display of progress.
        runner: Runs the batches.
        cached: Prefix activations of an earlier run, read back instead of computed.
        store: Where to put the prefix activations that are computed.  Then a batch is not divided:
            each prefix is computed once.
    """
    stored = store is not None  # a task holds this alone, for a file cannot be sent to a worker
    workers = 1 if stored else runner.workers
    parts = _parts(data.examples, model.batch, len(changes), workers)
    done = list(accumulate((part.last - part.first) * part.changes for part in parts))
    result: NDArray[Any] | None = None
    with _preparing(model, data, runner, cached) as prepare:

        def runs(part: _Part) -> tuple[PreparedBatch, list[NDArray[Any]]]:
            prepared, kept = prepare(part.first, part.last), []
            some = changes[part.change : part.change + part.changes]
            for outputs in model.run_each(prepared, some, selector):
                kept.append(read(outputs, part.first, part.last))
                runner.tick(part.last - part.first)
            return (prepared if stored else NOTHING), kept

        for part, (prepared, kept) in zip(
            parts, runner.map_items(parts, runs, what, done), strict=True
        ):
            if store is not None:
                for name, array in prepared.entry.items():
                    store.append(name, array)
            for i, rows in enumerate(kept, part.change):
                if result is None:
                    result = np.empty((len(changes), data.examples, *rows.shape[1:]), rows.dtype)
                result[i, part.first : part.first + len(rows)] = rows
    model.forget()
    if result is None:
        raise ValueError("there is no example, or no perturbation")
    return result


@contextmanager
def _preparing(
    model: PerturbedModel, data: Dataset, runner: Runner, cached: Entry | None
) -> Iterator[Callable[[int, int], PreparedBatch]]:
    """Give a function that prepares a range of examples, and has begun with the next one before.

    Inputs and entries of the cache are read ahead; where runs go side by side, entries are computed
    ahead, too.
    """

    def inputs(first: int, last: int) -> Feeds:
        return data.read(first, last).inputs

    def prepared(first: int, last: int) -> PreparedBatch:
        if cached is not None:
            return PreparedBatch({name: cached.read(name, first, last) for name in model.prefix})
        return model.prepare(inputs(first, last), (data.digest, first, last))

    if cached is None and model.at_once == 1:
        with runner.reading_ahead(inputs, data.examples, model.batch) as read:
            yield lambda first, last: model.prepare(read(first, last), (data.digest, first, last))
    else:
        with runner.reading_ahead(prepared, data.examples, model.batch) as prepare:
            yield prepare


@dataclass(frozen=True, slots=True)
class _Part:
    """Some changes for some examples: the work of one worker at a time.

    Attributes:
        first: The first example.
        last: The one behind the last.
        change: The first change.
        changes: How many changes.
    """

    first: int
    last: int
    change: int
    changes: int


def _parts(examples: int, batch: int, changes: int, workers: int) -> list[_Part]:
    """Divide examples by batches, and the changes too if the batches are few.

    How changes are divided has no influence on the results: each change is a run of its own.
    """
    batches = ceil(examples / batch)
    pieces = 1 if workers == 1 else min(changes, ceil(PARTS * workers / batches))
    size = ceil(changes / pieces) if pieces else 1
    return [
        _Part(first, min(first + batch, examples), change, min(size, changes - change))
        for first in range(0, examples, batch)
        for change in range(0, changes, size)
    ]
