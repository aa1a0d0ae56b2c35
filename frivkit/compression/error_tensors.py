"""The tensor by whose variance errors in the outputs of a node are counted."""

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.shapes import batch_first
from frivkit.units.moments import Float64Array


def error_tensor_of(
    node: ir.Node, outputs: int, batch: int | None
) -> tuple[Float64Array, ir.Value, str | None]:
    """Return the tensor by whose variance errors are counted: the sum that outputs are added to.

    In a residual network an error matters relative to the whole residual stream, not relative to
    the branch that is added to it.  Outputs are followed to the sum through scaling nodes; where
    there is none, they are the tensor themselves.

    Args:
        node: A weighted node.
        outputs: The number of its outputs.
        batch: The batch size that the model requires, None if any is allowed.

    Returns:
        The scale of each output, shape (outputs,), the error tensor, and the name of the residual
        input; see ``LinearConsumer``.
    """
    output_scale = np.ones(outputs)
    value = node.outputs[0]
    while len(list(value.uses())) == 1 and not value.is_graph_output():
        use = next(iter(value.uses()))
        consumer = use.node
        others = [v for i, v in enumerate(consumer.inputs) if i != use.idx and v is not None]
        constant = [constant_tensor(other) for other in others]
        if consumer.op_type == "BatchNormalization" and use.idx == 0 and None not in constant[:4]:
            numbers = [tensor.numpy().astype(np.float64) for tensor in constant if tensor]
            scale, variance = numbers[0], numbers[3]
            epsilon = consumer.attributes.get("epsilon")
            deviation = np.sqrt(variance + (1e-5 if epsilon is None else epsilon.as_float()))
            if scale.shape == output_scale.shape:
                output_scale = output_scale * scale / deviation
        elif consumer.op_type in ("Add", "Sum") and None in constant:
            summed = consumer.outputs[0]
            if not batch_first(summed, batch):
                break
            alike = len(others) == 1 and shape_of(others[0]) == shape_of(value)
            return output_scale, summed, others[0].name if alike else None
        elif consumer.op_type not in ("Add", "Identity", "Dropout", "Cast"):
            break
        value = consumer.outputs[0]
    return output_scale, node.outputs[0], None
