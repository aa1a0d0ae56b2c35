"""Put nodes that a file left in training mode into inference mode."""

import onnx_ir as ir

from frivkit.graph.layout import attribute
from frivkit.graph.model import constant_tensor

LATEST_FORWARD = 6
"""The last opset in which Dropout and BatchNormalization have the attribute ``is_test``."""
OLDEST_FLAG = 14
"""The first opset in which BatchNormalization has the attribute ``training_mode``."""


def use_inference_mode(model: ir.Model) -> str | None:
    """Let batch norm use its stored statistics, and Dropout pass everything.

    In training mode the output for one example depends on the other examples of its batch, and on
    numbers that are drawn.  A batch norm whose statistics are read or are an output stays as it is.

    Args:
        model: The model; it is changed.

    Returns:
        A sentence that names the operators, None if none is in training mode.
    """
    opset = model.opset_imports.get("", 1)
    nodes = [node for graph in model.graphs() for node in graph if _trains(node, opset)]
    if not nodes:
        return None
    left = [node.op_type for node in nodes if not _put(node, opset)]
    names = " and ".join(dict.fromkeys(node.op_type for node in nodes))
    said = (
        f"it was exported in training mode ({names}): it is read, and any file made from it "
        "written, in inference mode, with the statistics that it holds and without dropout"
    )
    if left:
        said += f"; {' and '.join(dict.fromkeys(left))} whose statistics are read stays so"
    return said


def _trains(node: ir.Node, opset: int) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if opset <= LATEST_FORWARD and node.op_type in ("BatchNormalization", "Dropout"):
        return attribute(node, "is_test", 0) == 0
    if node.op_type == "BatchNormalization":
        if opset >= OLDEST_FLAG:
            return attribute(node, "training_mode", 0) == 1
        return sum(bool(value.name) for value in node.outputs) > 1
    if node.op_type == "Dropout" and len(node.inputs) > 2:
        flag = constant_tensor(node.inputs[2])
        return flag is not None and bool(flag.numpy().any())
    return False


def _put(node: ir.Node, opset: int) -> bool:
    """Put a node into inference mode unless its further outputs are read; return whether it is."""
    if opset <= LATEST_FORWARD:
        node.attributes["is_test"] = ir.AttrInt64("is_test", 1)
    elif node.op_type == "Dropout":
        node.resize_inputs(2)
        return True
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return node.op_type == "Dropout"
    if node.op_type == "BatchNormalization":
        node.attributes.pop("training_mode", None)
        node.resize_outputs(1)
    return True
