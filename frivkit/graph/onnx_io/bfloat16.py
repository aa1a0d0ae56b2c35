"""Convert models that compute in bfloat16, which no CPU runtime does, to float32.

A file that only stores weights in bfloat16, and casts them before they are used, stays as it is.
"""

import numpy as np
import onnx_ir as ir

NARROW = ir.DataType.BFLOAT16
WIDE = ir.DataType.FLOAT


def bfloat16_to_float32(model: ir.Model) -> str | None:
    """Replace bfloat16 by float32 everywhere; every bfloat16 number is one of float32's.

    Args:
        model: The model; it is changed.

    Returns:
        A sentence about the change, None if there was nothing to change.
    """
    if not any(_computes(graph) for graph in model.graphs()):
        return None
    for graph in model.graphs():
        _convert(graph)
    return (
        "it computes in bfloat16, which is read as float32: numbers are not rounded on their way "
        "as they are where the file runs"
    )


def _computes(graph: ir.Graph) -> bool:
    """Whether an operator other than Cast takes or returns bfloat16."""
    if any(value.dtype == NARROW for value in graph.inputs if not value.is_initializer()):
        return True
    stored = [value for value in graph.initializers.values() if value.dtype == NARROW]
    if any(use.node.op_type != "Cast" for value in stored for use in value.uses()):
        return True
    to = [node.attributes["to"].as_int() for node in graph if node.op_type == "Cast"]
    return NARROW.value in to


def _convert(graph: ir.Graph) -> None:
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    values += [value for value in graph.initializers.values() if value not in values]
    for value in values:
        if value.dtype == NARROW:
            value.dtype = WIDE
        if value.const_value is not None and value.const_value.dtype == NARROW:
            value.const_value = _wide(value.const_value)
    for node in graph:
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR:
                tensor = attribute.as_tensor()
                if tensor.dtype == NARROW:
                    node.attributes[name] = ir.AttrTensor(name, _wide(tensor))
            elif name in ("to", "dtype", "output_dtype") and attribute.as_int() == NARROW.value:
                node.attributes[name] = ir.AttrInt64(name, WIDE.value)


def _wide(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    def read() -> ir.TensorProtocol:
        return ir.Tensor(np.asarray(tensor.numpy()).astype(np.float32), name=tensor.name)

    return ir.LazyTensor(read, dtype=WIDE, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)
