"""Weights that a file stores as sparse tensors, written out as dense ones."""

from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from frivkit.errors import ModelError

LARGEST = 1 << 28
"""Most entries of a sparse weight that is written out."""


def write_out_sparse(graph: onnx.GraphProto, name: str) -> None:
    """Replace the sparse initializers of a graph by dense ones.

    Args:
        graph: The graph; it is changed.
        name: The name of the file, for messages.

    Raises:
        ModelError: a weight has more than :data:`LARGEST` entries, indices outside its shape, or
            its numbers in another file.

    Source:
        ``SparseTensorProto`` of onnx.proto: ``indices`` are positions in the flattened tensor,
        shape (n,), or one index for each axis, shape (n, rank).
    """
    for tensor in graph.sparse_initializer:
        shape, weight = tuple(tensor.dims), tensor.values.name
        if prod(shape) > LARGEST:
            raise ModelError(
                f"{name} holds the sparse weight {weight!r} of {prod(shape):,} entries, more than "
                f"the {LARGEST:,} that are read"
            )
        try:
            numbers = _dense(tensor, shape)
        except (ValueError, IndexError, TypeError) as error:
            raise ModelError(f"{name} holds the sparse weight {weight!r}: {error}") from error
        graph.initializer.append(numpy_helper.from_array(numbers, weight))
    del graph.sparse_initializer[:]


def _dense(tensor: onnx.SparseTensorProto, shape: tuple[int, ...]) -> np.ndarray:
    values = numpy_helper.to_array(tensor.values)
    indices = numpy_helper.to_array(tensor.indices)
    if indices.size and indices.min() < 0:
        raise ValueError("an index is below 0")
    dense = np.zeros(shape, values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense
