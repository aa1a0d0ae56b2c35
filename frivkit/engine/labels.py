"""Labels: what a network says about an example, read from its output."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

UNDEFINED = -1
"""The label of an output that holds NaN: it equals no label of the intact network."""


def threshold_of(graph: ir.Graph, output: str) -> float:
    """Give what separates the two classes of an output with one entry: 0.5 after a sigmoid."""
    for node in graph:
        if any(value.name == output for value in node.outputs):
            return 0.5 if node.op_type in ("Sigmoid", "HardSigmoid") else 0.0
    return 0.0


def labels_of(outputs: NDArray[Any], threshold: float = 0.0) -> NDArray[np.int32]:
    """Read labels from outputs: the index of the largest entry along axis 1.

    1. Axis 1 with two or more entries: the first index of the largest one; further axes are
       positions (pixels, tokens), each with a label of its own.
    2. Axis 1 with one entry, or no axis 1: whether the entry exceeds ``threshold``.
    3. An output that holds NaN has the label ``UNDEFINED``.

    Args:
        outputs: Shape (n, classes, ...) or (n,).
        threshold: The value that separates two classes in case 2: 0 for a logit, 0.5 for a
            sigmoid's output.

    Returns:
        Labels, shape (n, positions); one position unless the output has further axes.

    Example:
        >>> labels_of(np.array([[0.1, 0.9], [2.0, 1.0]])).tolist()
        [[1], [0]]
    """
    n = len(outputs)
    if outputs.ndim >= 2 and outputs.shape[1] >= 2:
        labels = outputs.argmax(axis=1)
        undefined = np.isnan(outputs).any(axis=1)
    else:
        labels = outputs > threshold
        undefined = np.isnan(outputs)
    found: NDArray[np.int32] = np.where(undefined, UNDEFINED, labels).reshape(n, -1)
    return found.astype(np.int32)
