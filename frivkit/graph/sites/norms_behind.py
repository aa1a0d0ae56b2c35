"""The norm that reads a tensor: what an error of its units is seen through."""

import onnx_ir as ir

from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.written_norms import statistic_of

NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
_SQUARES = ("Pow", "Mul")
_PASSING = ("Cast", "Identity", "Dropout")


def norm_behind(value: ir.Value) -> str | None:
    """Return the name of the output of a norm over the last axis that reads a tensor.

    Args:
        value: The tensor; others may read it, too.

    Returns:
        The name behind the norm's own scale, None if no norm reads the tensor.
    """
    for use in value.uses():
        if use.node.op_type in NORMS and use.idx == 0:
            axis = attribute(use.node, "axis", -1)
            if axis in (-1, (rank_of(value) or 0) - 1):
                return use.node.outputs[0].name
        squares = (
            [use.node] if use.node.op_type not in _SQUARES else use.node.outputs[0].consumers()
        )
        if any(statistic_of(node) is not None for node in squares):
            entries = _divided(value)
            return None if entries is None else _scaled(entries).name
    return None


def _divided(value: ir.Value) -> ir.Value | None:
    """Return the entries of a norm in pieces, divided by their root mean square."""
    pending, seen = [value], set()
    while pending:
        entries = pending.pop()
        if id(entries) in seen:
            continue
        seen.add(id(entries))
        for use in entries.uses():
            others = [v for i, v in enumerate(use.node.inputs) if i != use.idx and v is not None]
            by_row = len(others) == 1 and (shape_of(others[0]) or (None,))[-1] == 1
            if use.node.op_type in ("Mul", "Div") and by_row and constant_tensor(others[0]) is None:
                return use.node.outputs[0]
            if use.node.op_type in _PASSING or (
                use.node.op_type == "Sub" and use.idx == 0 and by_row
            ):
                pending.append(use.node.outputs[0])
    return None


def _scaled(value: ir.Value) -> ir.Value:
    """Return entries behind the constants that they are multiplied by and that are added."""
    while len(uses := list(value.uses())) == 1 and not value.is_graph_output():
        node = uses[0].node
        others = [v for i, v in enumerate(node.inputs) if i != uses[0].idx and v is not None]
        constant = bool(others) and all(constant_tensor(each) is not None for each in others)
        if node.op_type not in _PASSING and not (node.op_type in ("Mul", "Add") and constant):
            break
        value = node.outputs[0]
    return value
