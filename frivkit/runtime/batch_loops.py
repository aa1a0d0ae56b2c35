"""Loops over examples: each batch is read once, its entry is computed once, every change is run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry, Writer
from frivkit.data import Dataset
from frivkit.progress import Progress
from frivkit.runtime.feeds import Batch
from frivkit.runtime.labels import Judge
from frivkit.runtime.perturbed_model import Intact, Path
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector


def run_intact(intact: Intact, data: Dataset, progress: Progress) -> Iterator[NDArray[Any]]:
    """Give the outputs of the intact network batch by batch."""
    progress.start("intact network", data.examples)
    for batch in data.batches(intact.batch):
        yield intact.run(batch.inputs)
        progress.advance(len(next(iter(batch.inputs.values()))))
    progress.finish()


def run_perturbed(
    path: Path,
    data: Dataset,
    changes: Sequence[Perturbation],
    selector: UnitSelector | None,
    *,
    judge: Judge,
    intact: Callable[[int, int], NDArray[Any] | None],
    what: str,
    progress: Progress,
    kept: Entry | None = None,
    keep: Writer | None = None,
) -> NDArray[np.int32]:
    """Give labels under every perturbation, shape (changes, n, positions).

    Args:
        path: The way through the model.
        data: The examples.
        changes: What to do, one run of a batch each.
        selector: How the flags of masks are read.
        judge: Reads labels from outputs.
        intact: Gives what the intact network gave for examples, for a judge of numbers.
        what: What is being done, for the progress display.
        progress: Where steps are reported.
        kept: Entries of an earlier run, read back instead of computed.
        keep: Where to put the entries that are computed.
    """
    found: NDArray[np.int32] | None = None
    progress.start(what, len(changes) * data.examples)
    for first in range(0, data.examples, path.batch):
        last = min(first + path.batch, data.examples)
        if kept is not None:
            batch = Batch({name: kept.read(name, first, last) for name in path.entries})
        else:
            batch = path.prepare(data.read(first, last).inputs)
        if keep is not None:
            for name, array in batch.entry.items():
                keep.append(name, array)
        for i, change in enumerate(changes):
            labels = judge.against(path.run(batch, change, selector), intact(first, last))
            if found is None:
                found = np.empty((len(changes), data.examples, labels.shape[1]), np.int32)
            found[i, first:last] = labels
            progress.advance(last - first)
    path.forget()
    progress.finish()
    return np.empty((len(changes), 0, 1), np.int32) if found is None else found
