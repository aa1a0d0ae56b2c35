"""Baseline and perturbed outputs of every example: each batch is read once, whatever is tried."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
        store: Where to put the prefix activations that are computed.
    """
    result: NDArray[Any] | None = None
    with _preparing(model, data, runner, cached) as prepare:

        def runs(first: int, last: int) -> tuple[int, PreparedBatch, list[NDArray[Any]]]:
            prepared, kept = prepare(first, last), []
            for outputs in model.run_each(prepared, changes, selector):
                kept.append(read(outputs, first, last))
                runner.tick(last - first)
            return first, prepared, kept

        for first, prepared, kept in runner.map_ranges(
            data.examples, model.batch, runs, what, steps=len(changes)
        ):
            if store is not None:
                for name, array in prepared.entry.items():
                    store.append(name, array)
            for i, rows in enumerate(kept):
                if result is None:
                    result = np.empty((len(changes), data.examples, *rows.shape[1:]), rows.dtype)
                result[i, first : first + len(rows)] = rows
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
        return model.prepare(inputs(first, last))

    if cached is None and model.at_once == 1:
        with runner.reading_ahead(inputs, data.examples, model.batch) as read:
            yield lambda first, last: model.prepare(read(first, last))
    else:
        with runner.reading_ahead(prepared, data.examples, model.batch) as prepare:
            yield prepare
