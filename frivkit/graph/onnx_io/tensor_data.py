"""Check that tensors hold as many numbers as their shapes say."""

from collections.abc import Iterator
from math import prod

import onnx
import onnx_ir as ir

from frivkit.errors import ModelError

TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
"""The fields of a tensor in which numbers stand one by one."""
COMPLEX = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
PACKED_BITS = 8
"""Bits of a number below which several share one entry of a field."""


def check_tensors(model: ir.Model, name: str) -> None:
    """Check the tensors that a file holds itself: weights, and those in Constant nodes.

    Args:
        model: The model, as it was read.
        name: The name of the file, for messages.

    Raises:
        ModelError: a tensor has a negative size, or more or fewer numbers than its shape says.
    """
    for label, tensor in _stored(model):
        proto = tensor.raw
        sizes, kind = list(proto.dims), ir.DataType(proto.data_type)
        if any(size < 0 for size in sizes):
            raise ModelError(f"{name}: tensor {label!r} has the shape {sizes}; give a whole file")
        wanted, there, what = _amounts(proto, prod(sizes), kind)
        if there != wanted:
            raise ModelError(
                f"{name}: tensor {label!r} of shape {sizes} takes {wanted} {what}, and the file "
                f"holds {there}; give a whole file"
            )


def _amounts(proto: onnx.TensorProto, size: int, kind: ir.DataType) -> tuple[int, int, str]:
    """Return how much a tensor should hold, how much it holds, and of what."""
    if kind == ir.DataType.STRING:
        return size, len(proto.string_data), "texts"
    if proto.HasField("raw_data"):
        return -(-size * kind.bitwidth // 8), len(proto.raw_data), "bytes"
    there = sum(len(getattr(proto, field)) for field in TYPED)
    if proto.data_type in COMPLEX:
        return 2 * size, there, "numbers"
    if kind.bitwidth < PACKED_BITS:
        return -(-size * kind.bitwidth // PACKED_BITS), there, "entries"
    return size, there, "numbers"


def _stored(model: ir.Model) -> Iterator[tuple[str, ir.serde.TensorProtoTensor]]:
    for graph in model.graphs():
        for label, value in graph.initializers.items():
            if isinstance(value.const_value, ir.serde.TensorProtoTensor):
                yield label, value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type != ir.AttributeType.TENSOR:
                    continue
                tensor = attribute.as_tensor()
                if isinstance(tensor, ir.serde.TensorProtoTensor):
                    yield node.outputs[0].name or node.op_type, tensor
