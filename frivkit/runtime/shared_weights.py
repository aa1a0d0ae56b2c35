"""Large weights that a session reads where they lie: an array, or a file that is mapped.

A graph that is handed over as bytes has every weight twice, and ONNX Runtime makes further copies
when it reads them.  Large weights are handed over by reference instead: the graph only names them.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.onnx_io.limits import LARGEST_INLINE

LEAST = 1 << 20
"""Bytes of a weight from which it is handed over by reference."""
TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})
"""Number types of such weights, which are the same in numpy and in ONNX."""


def without_large_weights(model: ir.Model) -> tuple[ir.Model, dict[str, NDArray[np.floating]]]:
    """Return a graph that only names its large weights, and these by their names.

    Args:
        model: The graph, which stays as it is.  It is given back if it has no large weights, or if
            the others are too large for a graph in memory.

    Example:
        >>> values = [ir.Value(name=name) for name in ("small", "large")]
        >>> for value, size in zip(values, (3, 1 << 18)):
        ...     value.const_value = ir.tensor(np.ones(size, np.float32), name=value.name)
        >>> graph = ir.Graph((), (), nodes=(), initializers=values, opset_imports={"": 18})
        >>> named, weights = without_large_weights(ir.Model(graph, ir_version=9))
        >>> list(weights), weights["large"].shape, inline_bytes(named)
        (['large'], (262144,), 12)
    """
    large = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.nbytes >= LEAST
        and value.const_value.dtype in TYPES
    }
    if not large:
        return model, {}
    named = model.clone()
    for name, tensor in large.items():
        named.graph.initializers[name].const_value = ir.ExternalTensor(
            "weights",  # a file that is not looked for, since the numbers are given
            0,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.numpy().shape),
            name=name,
        )
    if inline_bytes(named) >= LARGEST_INLINE:
        return model, {}
    return named, {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in large.items()}


def inline_bytes(model: ir.Model) -> int:
    """Return the bytes of the weights that a graph holds itself."""
    return sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None and not isinstance(value.const_value, ir.ExternalTensor)
    )
