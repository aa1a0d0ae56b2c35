"""bfloat16, which no CPU runtime computes with: such a model is analysed in float32."""

import numpy as np
import onnx_ir as ir

NARROW = ir.DataType.BFLOAT16
WIDE = ir.DataType.FLOAT


def widen(model: ir.Model) -> str | None:
    """Put float32 in place of bfloat16 everywhere; every bfloat16 number is one of float32's.

    Args:
        model: The model; it is changed.

    Returns:
        What was done, None where there was nothing to do.
    """
    found = [_in_graph(graph) for graph in model.graphs()]
    if not any(found):
        return None
    return (
        "it computes in bfloat16, which is read as float32: numbers are not rounded on their way "
        "as they are where the file runs"
    )


def _in_graph(graph: ir.Graph) -> bool:
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    values += [value for value in graph.initializers.values() if value not in values]
    found = False
    for value in values:
        if value.dtype == NARROW:
            value.dtype, found = WIDE, True
        if value.const_value is not None and value.const_value.dtype == NARROW:
            value.const_value, found = _wide(value.const_value), True
    for node in graph:
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR:
                tensor = attribute.as_tensor()
                if tensor.dtype == NARROW:
                    node.attributes[name] = ir.AttrTensor(name, _wide(tensor))
                    found = True
            elif name in ("to", "dtype", "output_dtype") and attribute.as_int() == NARROW.value:
                node.attributes[name] = ir.AttrInt64(name, WIDE.value)
                found = True
    return found


def _wide(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    def read() -> ir.TensorProtocol:
        return ir.Tensor(np.asarray(tensor.numpy()).astype(np.float32), name=tensor.name)

    return ir.LazyTensor(read, dtype=WIDE, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)
