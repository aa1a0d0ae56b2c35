"""An engine that measures a few items of each task as a worker would run them."""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import numpy as np

from frivkit.engines.engine import LocalEngine
from frivkit.engines.references import read_task, write_task


@dataclass(frozen=True, slots=True)
class Sample:
    """What one map over parts of ablations costs, in processor seconds of one thread.

    Attributes:
        write: The client writes the task.
        begin: A worker reads it, which makes the sessions.
        prefix: An item before its first mask, for one example.
        mask: Each mask of an item, for one example.
        result_bytes: The result of an item, for one mask of one example.
    """

    write: float
    begin: float
    prefix: float
    mask: float
    result_bytes: float


class Sampled(Exception):  # noqa: N818  # it is no error: it ends an analysis that was for its costs
    """The costs of a map are known, and its results are not needed."""

    def __init__(self, sample: Sample) -> None:
        super().__init__("sampled")
        self.sample = sample


class SamplingEngine:
    """Runs whatever goes before, then measures the first map over parts, and ends there.

    Args:
        folder: Where tasks are written.
        workers: For how many workers the work is divided.
        masks: The two numbers of masks that an item is run with; what does not grow is its prefix.
        repeats: How often both are run.
    """

    threads = 1
    machines: Mapping[str, int] = {}

    def __init__(
        self, folder: Path, workers: int = 1, masks: tuple[int, int] = (1, 3), repeats: int = 1
    ) -> None:
        self._folder, self.workers = folder, workers
        self._masks, self._repeats = masks, repeats

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yield ``task(item)`` for each item, unless items are parts of an ablation."""
        for item in items:
            if hasattr(item, "changes"):
                raise Sampled(self._sample(task, item))
            yield task(item)

    def outcomes(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Any:
        """Yield outcomes as the engine of this process does; they are no parts of an ablation."""
        return LocalEngine().outcomes(task, items)

    def _sample(self, task: Callable[[Any], Any], part: Any) -> Sample:
        began = thread_time()
        path, digest = write_task(task, self._folder)
        written = thread_time()
        again = read_task(path, digest)
        read = thread_time()
        few, more = self._masks
        again(replace(part, changes=few))  # the first run allocates
        seconds: dict[int, list[float]] = {few: [], more: []}
        size = 0
        for _ in range(self._repeats):
            for masks in (few, more):
                start = thread_time()
                result = again(replace(part, changes=masks))
                seconds[masks].append(thread_time() - start)
                size = len(pickle.dumps(result)) if masks == more else size
        examples = part.last - part.first
        mask = max(0.0, median(seconds[more]) - median(seconds[few])) / (more - few)
        return Sample(
            write=written - began,
            begin=read - written,
            prefix=max(0.0, median(seconds[few]) - few * mask) / examples,
            mask=mask / examples,
            result_bytes=size / (more * examples),
        )


def images(examples: int, side: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return Gaussian images, shape (examples, 3, side, side)."""
    random = np.random.default_rng(seed)
    return random.standard_normal((examples, 3, side, side)).astype(np.float32)
