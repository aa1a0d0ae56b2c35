"""The task of competitors in summing moments, and functions that they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.competitors.plain_session import session
from benchmarks.measuring.mask_job import request
from benchmarks.measuring.setting import THREADS
from frivkit.measure.pipeline import open_study
from frivkit.measure.study import Study
from frivkit.progress import Silent
from frivkit.units.statistics import FLOAT32_ROUNDING, UNEXPLAINED, rank_at

Array = NDArray[Any]
Values = list[list[float]]
"""Eigenvalues of the covariance of each layer, largest first."""


@dataclass(frozen=True, slots=True)
class Task:
    """The layers whose moments are summed, as files, so that a fresh process can read them.

    Attributes:
        model: The whole network, an ONNX file.
        run: The ONNX file that competitors without frivkit run: the same file, or one that ends
            with the activations of the layer.
        net: The same network in torch, written by ``torch.save``; empty if torch is not used.
        data: The examples, an npz file with the array ``x``.
        input: The name of the input.
        batch: The batch size of competitors without frivkit.
        torch_batch: The batch size of torch.
        layer: The layer; empty for all layers.
    """

    model: str
    run: str
    net: str
    data: str
    input: str
    batch: int
    torch_batch: int
    layer: str = ""

    def examples(self) -> Array:
        """Read the examples into memory."""
        x: Array = np.load(self.data)["x"]
        return x

    def open_network(self) -> Callable[[Array], Array]:
        """Open ``run`` in ONNX Runtime, and return a function from a batch to its first output."""
        opened = session(Path(self.run).read_bytes())

        def output(x: Array) -> Array:
            first: Array = opened.run(None, {self.input: x})[0]
            return first

        return output

    def study(self, watch: "Stopwatch") -> Study:
        """Open a study of the layers, from the files."""
        requested = request(Path(self.model), f"npz:{self.data}", "map", THREADS)
        requested = replace(
            requested,
            layers=(self.layer,) if self.layer else (),
            execution=replace(requested.execution, progress=watch),
        )
        return open_study(requested)[0]


class Stopwatch(Silent):
    """A progress bar for frivkit that adds up the seconds between starts and finishes."""

    def __init__(self) -> None:
        self.seconds = self._start = 0.0

    def start(self, what: str = "", steps: int = 0) -> None:
        """Start a period."""
        self._start = perf_counter()

    def finish(self) -> None:
        """Finish the period, and add its seconds."""
        self.seconds += perf_counter() - self._start


def eigenvalues(covariance: Array) -> list[float]:
    """Return the eigenvalues of a covariance, largest first."""
    values: list[float] = np.linalg.eigvalsh(covariance)[::-1].tolist()
    return values


def relative_distance(values: Values, reference: Values) -> float:
    """Return the largest distance of eigenvalues, as a share of the largest of their layer."""
    return max(
        float(np.abs(np.subtract(computed, expected)).max()) / expected[0]
        for computed, expected in zip(values, reference, strict=True)
    )


def rank(values: Sequence[float]) -> int | None:
    """Return the fewest components that leave at most 5 % of the variance, as redundancy counts."""
    return rank_at(np.array(values), UNEXPLAINED, sum(values), FLOAT32_ROUNDING)
