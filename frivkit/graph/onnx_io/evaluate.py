"""Run one node on known operands by the reference evaluator of ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import constant_tensor, is_constant

AnyArray = NDArray[Any]
FIRST_EVALUATED = {"DequantizeLinear": 19, "QuantizeLinear": 19}
"""The first version that the evaluator has of operators whose older ones compute the same."""
IR_VERSION = 10
"""The IR version of models of one node."""


def evaluate(
    node: ir.Node, operands: Sequence[AnyArray | None], opset: int
) -> list[AnyArray] | None:
    """Return the outputs of a node of a standard operator.

    Args:
        node: The node.
        operands: An array for each input, None for one that is left out.
        opset: The version of the standard operators.

    Returns:
        An array for each output that the node names; None if the evaluator cannot run it.
    """
    from onnx.reference import ReferenceEvaluator

    model = _model(node, operands, max(opset, FIRST_EVALUATED.get(node.op_type, 1)))
    feeds = {f"i{i}": each for i, each in enumerate(operands) if each is not None}
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the evaluator's exceptions share no base class
        return None
    return [np.asarray(each) for each in results]


def constant_array(value: ir.Value | None, opset: int) -> AnyArray | None:
    """Return the entries of a value that is a constant, or computed from constants alone.

    Args:
        value: The value; None gives None.
        opset: The version of the standard operators.

    Returns:
        The entries; None if they depend on the inputs of the model, or cannot be computed.

    Example:
        >>> stored = ir.Value(name="w", const_value=ir.tensor(np.array([2, -4], np.int8)))
        >>> step = ir.Value(name="step", const_value=ir.tensor(np.float32(0.5)))
        >>> node = ir.Node("", "DequantizeLinear", [stored, step])
        >>> constant_array(node.outputs[0], 17).tolist()
        [1.0, -2.0]
    """
    tensor = constant_tensor(value)
    if value is None or tensor is not None:
        return None if tensor is None else tensor.numpy()
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx") or not is_constant(value):
        return None
    operands = [constant_array(each, opset) for each in node.inputs]
    if any(each is None and node.inputs[i] is not None for i, each in enumerate(operands)):
        return None
    results = evaluate(node, operands, opset)
    at = list(node.outputs).index(value)
    return None if results is None or at >= len(results) else results[at]


def inferred_entries(
    node: ir.Node, operands: Sequence[AnyArray | None], opset: int
) -> list[int] | None:
    """Return the number of entries of each output of a node before it is run.

    Args:
        node: The node.
        operands: An array for each input, None for one that is left out.
        opset: The version of the standard operators.

    Returns:
        The entries of each output; None if shape inference does not find them all.
    """
    model = _model(node, operands, opset)
    for i, each in enumerate(operands):
        if each is not None and each.size <= 64 and each.dtype.kind in "iub":
            model.graph.initializer.append(onnx.numpy_helper.from_array(each, f"i{i}"))
    try:
        outputs = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    except Exception:
        return None
    entries = []
    for output in outputs:
        tensor = output.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        known = [size for size in sizes if size is not None]
        if not tensor.HasField("shape") or len(known) < len(sizes):
            return None
        entries.append(int(np.prod(known, dtype=object)) if known else 1)
    return entries


def _model(node: ir.Node, operands: Sequence[AnyArray | None], opset: int) -> onnx.ModelProto:
    """Return a model of the node alone, whose inputs are ``i0`` and so on."""
    helper = onnx.helper
    proto = ir.to_proto(node)
    names = ["" if each is None else f"i{i}" for i, each in enumerate(operands)]
    outputs = ["" if value.name == "" else f"o{i}" for i, value in enumerate(node.outputs)]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(outputs)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
        for name, each in zip(names, operands, strict=True)
        if each is not None
    ]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs if name]
    graph = helper.make_graph([proto], "node", inputs, made)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
