"""Baseline and perturbed outputs of every example: each batch is read once, whatever is tried."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer
from frivkit.data import Dataset
from frivkit.runtime.feeds import PreparedBatch
from frivkit.runtime.labels import LabelReader
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.runner import Runner
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector


def run_baseline(baseline: BaselineModel, data: Dataset, runner: Runner) -> Iterator[NDArray[Any]]:
    """Yield the outputs of the network as it is, batch by batch."""
    return runner.map(data, baseline.batch, lambda batch: baseline.run(batch.inputs), "baseline")


def run_perturbed(
    model: PerturbedModel,
    data: Dataset,
    changes: Sequence[Perturbation],
    selector: UnitSelector | None,
    *,
    label_reader: LabelReader,
    baseline: Callable[[int, int], NDArray[Any] | None],
    what: str,
    runner: Runner,
    cached: Entry | None = None,
    store: Writer | None = None,
) -> NDArray[np.int32]:
    """Return labels under every perturbation, shape (changes, n, positions).

    Args:
        model: The model, ready to be perturbed.
        data: The examples.
        changes: The perturbations, one run of a batch each.
        selector: How the flags of masks are read.
        label_reader: Reads labels from outputs.
        baseline: Returns the unperturbed outputs of examples, for a regression.
        what: What is being done, for the display of progress.
        runner: Runs the batches.
        cached: Prefix activations of an earlier run, read back instead of computed.
        store: Where to put the prefix activations that are computed.
    """

    def labels_of(first: int, last: int) -> tuple[int, PreparedBatch, list[NDArray[np.int32]]]:
        if cached is None:
            prepared = model.prepare(data.read(first, last).inputs)
        else:
            arrays = {name: cached.read(name, first, last) for name in model.prefix}
            prepared = PreparedBatch(arrays)
        labels = []
        for change in changes:
            outputs = model.run(prepared, change, selector)
            labels.append(label_reader.against(outputs, baseline(first, last)))
            runner.tick(last - first)
        return first, prepared, labels

    result = np.empty((len(changes), 0, 1), np.int32)
    for first, prepared, batch_labels in runner.map_ranges(
        data.examples, model.batch, labels_of, what, steps=len(changes)
    ):
        if store is not None:
            for name, array in prepared.entry.items():
                store.append(name, array)
        for i, labels in enumerate(batch_labels):
            if result.shape[1] == 0:
                result = np.empty((len(changes), data.examples, labels.shape[1]), np.int32)
            result[i, first : first + len(labels)] = labels
    model.forget()
    return result
