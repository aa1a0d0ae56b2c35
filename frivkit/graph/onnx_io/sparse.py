"""Weights that a file stores as sparse tensors, written out as dense ones."""

from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from frivkit.errors import ModelError

LARGEST = 1 << 28
"""Most entries of a sparse weight that is written out."""


def write_out_sparse(model: onnx.ModelProto, name: str) -> None:
    """Replace the sparse tensors of a file, initializers and Constant nodes, by dense ones.

    Args:
        model: The model; it is changed.
        name: The name of the file, for messages.

    Raises:
        ModelError: a weight has more than :data:`LARGEST` entries, indices outside its shape, or
            its numbers in another file.

    Source:
        ``SparseTensorProto`` of onnx.proto: ``indices`` are positions in the flattened tensor,
        shape (n,), or one index for each axis, shape (n, rank).
    """
    for holder in (model.graph, *model.functions):
        _write_out(holder, name)


def _write_out(holder: onnx.GraphProto | onnx.FunctionProto, name: str) -> None:
    """Replace the sparse tensors of a graph and of those that its nodes hold."""
    if isinstance(holder, onnx.GraphProto):
        for sparse in holder.sparse_initializer:
            holder.initializer.append(_dense_tensor(sparse, name))
        del holder.sparse_initializer[:]
    for attribute in (each for node in holder.node for each in node.attribute):
        if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:  # of Constant nodes alone
            dense = _dense_tensor(attribute.sparse_tensor, name)
            attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
        for body in (attribute.g, *attribute.graphs):
            _write_out(body, name)


def _dense_tensor(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    shape, weight = tuple(sparse.dims), sparse.values.name
    if prod(shape) > LARGEST:
        raise ModelError(
            f"{name} holds the sparse weight {weight!r} of {prod(shape):,} entries, more than "
            f"the {LARGEST:,} that are read"
        )
    try:
        numbers = _dense(sparse, shape)
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(f"{name} holds the sparse weight {weight!r}: {error}") from error
    return numpy_helper.from_array(numbers, weight)


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
