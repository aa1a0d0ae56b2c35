"""What the sides that sum moments are given, and what they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import request
from benchmarks.runtime import session
from frivkit.measure.pipeline import open_study
from frivkit.measure.study import Study
from frivkit.progress import Silent

Array = NDArray[Any]
Values = list[list[float]]
"""Eigenvalues of the covariance of each layer, largest first."""


@dataclass(frozen=True, slots=True)
class Task:
    """The layers whose moments are wanted, as files, so that a fresh process can take them up.

    Attributes:
        model: The whole network, an ONNX file.
        run: What sides without frivkit run in ONNX Runtime: the same file, or one that ends with
            the activations of the layer.
        net: The same in torch, written by ``torch.save``; empty where torch takes no part.
        data: The examples, an npz file with the array ``x``.
        input: The name of the input.
        batch: The batch of sides without frivkit.
        torch_batch: That of torch.
        layer: The layer; empty for all of them.
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

    def opened(self) -> Callable[[Array], Array]:
        """Open ``run`` in ONNX Runtime, and give what makes its first output of a batch."""
        opened = session(Path(self.run).read_bytes())

        def output(x: Array) -> Array:
            made: Array = opened.run(None, {self.input: x})[0]
            return made

        return output

    def study(self, watch: "Stopwatch") -> Study:
        """Open a study of the layers, from the files on."""
        asked = request(Path(self.model), f"npz:{self.data}", "map")
        asked = replace(
            asked,
            layers=(self.layer,) if self.layer else (),
            execution=replace(asked.execution, progress=watch),
        )
        return open_study(asked)[0]


class Stopwatch(Silent):
    """Adds up the seconds between its starts and finishes; frivkit takes it for a progress bar."""

    def __init__(self) -> None:
        self.seconds = self._start = 0.0

    def start(self, what: str = "", steps: int = 0) -> None:
        """Begin."""
        self._start = perf_counter()

    def finish(self) -> None:
        """Add what it took."""
        self.seconds += perf_counter() - self._start


def eigenvalues(covariance: Array) -> list[float]:
    """Return the eigenvalues of a covariance, largest first."""
    values: list[float] = np.linalg.eigvalsh(covariance)[::-1].tolist()
    return values


def apart(values: Values, reference: Values) -> float:
    """Return the largest distance of eigenvalues, as a share of the largest of their layer."""
    return max(
        float(np.abs(np.subtract(ours, theirs)).max()) / theirs[0]
        for ours, theirs in zip(values, reference, strict=True)
    )


def rank(values: Sequence[float]) -> int:
    """Return the fewest components that leave at most 5 % of the variance, as redundancy counts."""
    return int((np.cumsum(values) < 0.95 * sum(values)).sum()) + 1
