"""Labels: what a network says about an example, read from its output."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError, UsageError
from frivkit.graph.shapes import batch_symbol, sizes_for

SHAPING = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
"""Operators that move numbers and leave them as they are."""
UNDEFINED = -1
"""The label of an output that holds NaN: it equals no label of the intact network."""


def threshold_of(graph: ir.Graph, output: str) -> float:
    """Return what separates the two classes of an output with one entry: 0.5 after a sigmoid."""
    value = next(value for value in graph.outputs if value.name == output)
    node = value.producer()
    while node is not None and node.op_type in SHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return 0.5 if node is not None and node.op_type in ("Sigmoid", "HardSigmoid") else 0.0


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How a user wants outputs read.

    Attributes:
        axis: The axis along which classes lie, counted with the batch; negative from the end.  None
            takes the axis of a softmax at the end, else 1.
        tolerance: Where numbers are compared (a regression), the share of an entry's standard
            deviation that it may change by and count as the same; None takes a tenth.
        task: The task by which outputs are compared, None to choose it from the outputs.

    Raises:
        UsageError: a tolerance is given for a task other than ``regress``.
    """

    axis: int | None = None
    tolerance: float | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        """Take a tolerance alone as the task ``regress``."""
        if self.tolerance is None:
            return
        if self.task not in (None, "regress"):
            raise UsageError(
                f"--regression is a tolerance of the task regress and does not go with --task "
                f"{self.task}; leave out one"
            )
        object.__setattr__(self, "task", "regress")


@dataclass(frozen=True, slots=True)
class LabelReader:
    """Reads class labels from an output.

    Attributes:
        output: The name of the output, for messages.
        threshold: What separates the two classes of an output with one entry.
        axis: The axis along which classes lie, counted with the batch; negative from the end.
        rows: Whether several rows of the output are one example, on an axis of their own.
    """

    output: str
    threshold: float = 0.0
    axis: int = 1
    rows: bool = False

    @classmethod
    def of_output(cls, graph: ir.Graph, output: str, options: LabelOptions) -> "LabelReader":
        """Return the reader of an output of a graph.

        Raises:
            ModelError: the rows of the output are not those of examples.
        """
        axis = 1 if options.axis is None else options.axis
        value = next(value for value in graph.outputs if value.name == output)
        rows = rows_per_example(graph, value) > 1
        return cls(output, threshold_of(graph, output), axis, rows)

    def labels(self, outputs: NDArray[Any]) -> NDArray[np.int32]:
        """Return the labels of outputs of shape (n, ...), shape (n, positions).

        Raises:
            ModelError: the output has no such axis, or no numbers.
        """
        axis = self.axis + (self.rows and self.axis >= 1)
        if are_labels(outputs.dtype):
            return labels_of(outputs)
        if self.rows and outputs.ndim == 2:  # each row is a number of its own
            return labels_of(outputs[:, np.newaxis], self.threshold)
        if axis == 1:
            return labels_of(outputs, self.threshold)
        if not (1 <= axis < outputs.ndim or -outputs.ndim < axis <= -1):
            raise ModelError(
                f"output {self.output!r} has shape {('n', *outputs.shape[1:])}, with no axis "
                f"{axis} for classes; give another --label-axis"
            )
        return labels_of(np.moveaxis(outputs, axis, 1), self.threshold)


def rows_per_example(graph: ir.Graph, output: ir.Value) -> int:
    """Return how many rows of an output are one example; 1 where that is not known.

    Raises:
        ModelError: its rows are not a multiple of the examples, whatever is run.
    """
    symbol = batch_symbol(graph)
    first = None if output.shape is None or len(output.shape) == 0 else output.shape[0]
    if output.shape is not None and len(output.shape) == 0:
        raise ModelError(
            f"output {output.name!r} is one number for all examples; choose another by "
            "--output-name"
        )
    if symbol is not None:
        one = sizes_for(output, symbol, 1)
        return 1 if one is None or one[0] is None or isinstance(first, int) else one[0]
    batch = next(v.shape[0] for v in graph.inputs if not v.is_initializer() and v.shape)
    if not isinstance(first, int) or not isinstance(batch, int) or first == batch:
        return 1
    rows, rest = divmod(first, batch)
    if rest:
        raise ModelError(
            f"output {output.name!r} has {first} rows for {batch} examples, which is no multiple; "
            "choose another by --output-name"
        )
    return rows


def are_labels(dtype: np.dtype[Any]) -> bool:
    """Whether outputs of a number type are labels already (case 1 of :func:`labels_of`)."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize >= 4)


def labels_of(outputs: NDArray[Any], threshold: float = 0.0) -> NDArray[np.int32]:
    """Read labels from outputs: the index of the largest entry along axis 1.

    1. Booleans and whole numbers of 32 or 64 bits are labels already, as ArgMax writes them: one
       for each position.
    2. Axis 1 with two or more entries: the first index of the largest one; further axes are
       positions (pixels, tokens), each with a label of its own.
    3. Axis 1 with one entry, or no axis 1: whether the entry exceeds ``threshold``.
    4. An output that holds NaN has the label ``UNDEFINED``.

    Args:
        outputs: Shape (n, classes, ...) or (n,).
        threshold: The value that separates two classes in case 3: 0 for a logit, 0.5 for a
            sigmoid's output.

    Returns:
        Labels, shape (n, positions); one position unless the output has further axes.

    Raises:
        ModelError: the output holds no numbers, or none at all.

    Example:
        >>> labels_of(np.array([[0.1, 0.9], [2.0, 1.0]])).tolist()
        [[1], [0]]
    """
    n = len(outputs)
    if outputs.dtype.kind not in "biuf":
        raise ModelError(f"the output holds {outputs.dtype}, no numbers; give --output-name")
    if outputs.size == 0:
        raise ModelError(f"the output has shape {outputs.shape}, nothing; give --output-name")
    if are_labels(outputs.dtype):
        given: NDArray[np.int32] = outputs.reshape(n, -1).astype(np.int32)
        return given - (given <= UNDEFINED)  # -1 may be one of them, and is not NaN
    if outputs.ndim >= 2 and outputs.shape[1] >= 2:
        labels = outputs.argmax(axis=1)
        undefined = np.isnan(outputs).any(axis=1)
    else:
        labels = outputs > threshold
        undefined = np.isnan(outputs)
    found: NDArray[np.int32] = np.where(undefined, UNDEFINED, labels).reshape(n, -1)
    return found.astype(np.int32)
