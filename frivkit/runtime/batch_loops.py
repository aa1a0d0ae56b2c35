"""Loops over examples: each batch is read once, its entry is computed once, every change is run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer
from frivkit.data import Dataset
from frivkit.progress import Progress
from frivkit.runtime.feeds import PreparedBatch
from frivkit.runtime.labels import LabelReader
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector


def run_baseline(
    baseline: BaselineModel, data: Dataset, progress: Progress
) -> Iterator[NDArray[Any]]:
    """Return the outputs of the intact network batch by batch."""
    progress.start("intact network", data.examples)
    for batch in data.batches(baseline.batch):
        yield baseline.run(batch.inputs)
        progress.advance(len(next(iter(batch.inputs.values()))))
    progress.finish()


def run_perturbed(
    path: PerturbedModel,
    data: Dataset,
    changes: Sequence[Perturbation],
    selector: UnitSelector | None,
    *,
    label_reader: LabelReader,
    baseline: Callable[[int, int], NDArray[Any] | None],
    what: str,
    progress: Progress,
    cached: Entry | None = None,
    store: Writer | None = None,
) -> NDArray[np.int32]:
    """Return labels under every perturbation, shape (changes, n, positions).

    Args:
        path: The way through the model.
        data: The examples.
        changes: What to do, one run of a batch each.
        selector: How the flags of masks are read.
        label_reader: Reads labels from outputs.
        baseline: Gives what the intact network gave for examples, for a judge of numbers.
        what: What is being done, for the progress display.
        progress: Where steps are reported.
        cached: Entries of an earlier run, read back instead of computed.
        store: Where to put the entries that are computed.
    """
    found: NDArray[np.int32] | None = None
    progress.start(what, len(changes) * data.examples)
    for first in range(0, data.examples, path.batch):
        last = min(first + path.batch, data.examples)
        if cached is not None:
            batch = PreparedBatch({name: cached.read(name, first, last) for name in path.prefix})
        else:
            batch = path.prepare(data.read(first, last).inputs)
        if store is not None:
            for name, array in batch.entry.items():
                store.append(name, array)
        for i, change in enumerate(changes):
            labels = label_reader.against(path.run(batch, change, selector), baseline(first, last))
            if found is None:
                found = np.empty((len(changes), data.examples, labels.shape[1]), np.int32)
            found[i, first:last] = labels
            progress.advance(last - first)
    path.forget()
    progress.finish()
    return np.empty((len(changes), 0, 1), np.int32) if found is None else found
