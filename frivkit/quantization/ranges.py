"""The range of each activation, from one or several passes over calibration examples.

Only a histogram of each tensor is held, so that memory does not grow with the examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model, is_constant
from frivkit.quantization.tensor_batches import tensor_batches
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import plan_passes, tensor_bytes

RangeMethod = Literal["minmax", "percentile", "mse"]
"""How a range follows from a histogram."""

BINS = 8192
"""Bins of a histogram, half of them below zero."""
PERCENTILE = 99.99
"""Percent of the entries that a range of ``"percentile"`` holds."""
LEVELS = 256
"""Numbers of an 8-bit type."""
SHRINKS = np.linspace(1.0, 0.2, 81)
"""Shares of the whole range that ``"mse"`` tries for each end."""


class Histogram:
    """A histogram of numbers that are added batch by batch.

    Its bins are equally wide and cover [-limit, limit).  The limit is the least power of two that
    no number reaches.  If a number reaches it, the limit is doubled and pairs of bins are joined,
    so that the counts are the same in whatever batches the numbers come.

    Attributes:
        limit: The end of the last bin; 0 while all numbers are 0.
        counts: Numbers in each bin, shape (:data:`BINS`,).
        low: The smallest number, at most 0.
        high: The largest number, at least 0.

    Example:
        >>> histogram = Histogram()
        >>> histogram.add(np.array([-1.0, 0.5], np.float32))
        >>> histogram.add(np.array([3.0], np.float32))
        >>> histogram.limit, histogram.low, histogram.high, int(histogram.counts.sum())
        (4.0, -1.0, 3.0, 3)
    """

    def __init__(self) -> None:
        self.limit = self.low = self.high = 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, numbers: NDArray[Any]) -> None:
        """Add numbers of any shape.

        Raises:
            ValueError: one of them is not finite.
        """
        if numbers.size == 0:
            return
        low, high = float(numbers.min()), float(numbers.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("it is not finite for a calibration example")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-self.low, self.high)
        limit = float(2.0 ** (np.floor(np.log2(largest)) + 1)) if largest > 0 else 0.0
        if self.limit == 0:  # zeros so far: they are in the same bin under any limit
            self.limit = limit
        while self.limit < limit:
            half = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = half
            self.limit *= 2
        if self.limit == 0:
            self.counts[BINS // 2] += numbers.size
            return
        scaled = numbers.reshape(-1).astype(np.float64) * (BINS / 2 / self.limit)
        bins = np.floor(scaled).astype(np.int64) + BINS // 2
        self.counts += np.bincount(bins, minlength=BINS)

    def range(self, method: RangeMethod) -> tuple[float, float]:
        """Return the ends of the range that 8 bits should hold: at most 0, and at least 0.

        Args:
            method: ``"minmax"``: all numbers; ``"percentile"``: all but the share
                ``1 - PERCENTILE / 100`` of them, half of it at each end; ``"mse"``: the range with
                the least squared error of rounding and of clipping, counted at the middle of bins.
        """
        if method == "minmax" or self.limit == 0:
            return self.low, self.high
        if method == "percentile":
            return self._percentile()
        return self._least_squares()

    def _percentile(self) -> tuple[float, float]:
        width = 2 * self.limit / BINS
        left_out = (1 - PERCENTILE / 100) / 2 * self.counts.sum()
        below, above = np.cumsum(self.counts), np.cumsum(self.counts[::-1])
        low = -self.limit + width * int(np.argmax(below > left_out))
        high = self.limit - width * int(np.argmax(above > left_out))
        return max(self.low, min(0.0, low)), min(self.high, max(0.0, high))

    def _least_squares(self) -> tuple[float, float]:
        used = np.flatnonzero(self.counts)
        counts = self.counts[used]
        middle = -self.limit + (used + 0.5) * (2 * self.limit / BINS)
        zero = used == BINS // 2  # bounded layers have many exact zeros, which cost nothing
        middle = np.where(zero & (counts > counts.sum() // 10), 0.0, middle)

        def error(low: float, high: float) -> float:
            step = (high - low) / (LEVELS - 1)
            if step <= 0:
                return np.inf
            nearest = np.rint(np.clip(middle, low, high) / step) * step
            return float(counts @ (nearest - middle) ** 2)

        low, high = self.low, self.high
        for _ in range(2):  # one end after the other, twice
            high = min((self.high * share for share in SHRINKS), key=lambda end: error(low, end))
            if self.low < 0:
                low = min((self.low * share for share in SHRINKS), key=lambda end: error(end, high))
        return low, high


@dataclass(frozen=True, slots=True)
class Activations:
    """What calibration knows of the tensors of a model.

    Attributes:
        histograms: The numbers of each tensor of floating-point numbers that is not constant.
        largest: The largest magnitude in each channel (along the second axis), of tensors with two
            axes or more, shape (channels,).
    """

    histograms: Mapping[str, Histogram]
    largest: Mapping[str, NDArray[Any]]

    def ranges(self, method: RangeMethod) -> dict[str, tuple[float, float]]:
        """Return the range of each tensor."""
        return {name: each.range(method) for name, each in self.histograms.items()}


class _Channels:
    """The largest magnitude in each channel of a tensor, None while it has no channels."""

    def __init__(self) -> None:
        self.largest: NDArray[Any] | None = None

    def add(self, array: NDArray[Any]) -> None:
        if array.ndim < 2 or array.size == 0:
            return
        axes = tuple(axis for axis in range(array.ndim) if axis != 1)
        found = np.abs(array).max(axis=axes)
        if self.largest is not None and len(self.largest) == len(found):
            found = np.maximum(self.largest, found)
        self.largest = found


def observe(model: Model, data: Dataset, execution: Execution) -> Activations:
    """Run a model on every example, and return the histograms of its tensors.

    Args:
        model: The model, its shapes known.
        data: Examples of its inputs.
        execution: How to run it; as many tensors are read in one pass as fit into its memory for
            one example.

    Raises:
        ModelError: the model cannot be run, or a tensor is not finite.
    """
    values = _floats(model.graph)
    histograms = {value.name or "": Histogram() for value in values}
    channels = {value.name or "": _Channels() for value in values}
    for chosen in plan_passes(values, execution.memory // 2, tensor_bytes, tensor_bytes):
        for _, arrays in tensor_batches(model, chosen, data, execution, "ranges of activations"):
            for name in (value.name or "" for value in chosen):
                try:
                    histograms[name].add(arrays[name])
                except ValueError as error:
                    raise ModelError(f"tensor {name!r} has no range for 8 bits: {error}") from error
                channels[name].add(arrays[name])
    return Activations(
        histograms,
        {name: each.largest for name, each in channels.items() if each.largest is not None},
    )


def _floats(graph: ir.Graph) -> list[ir.Value]:
    """Return the inputs and computed tensors that are floating-point and not constant."""
    values = [value for value in graph.inputs if not value.is_initializer()]
    values += [value for node in graph for value in node.outputs if value.name]
    return [
        value
        for value in values
        if value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16) and not is_constant(value)
    ]
