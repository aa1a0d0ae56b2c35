"""What a model costs to run: multiply-accumulates of its weighted operators for one example."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.shapes import example_sizes


@dataclass(frozen=True, slots=True)
class Cost:
    """Weights of one or several nodes, and their multiply-accumulates for one example."""

    parameters: int
    macs: int | None


def node_cost(*nodes: ir.Node) -> Cost:
    """Give the cost of weighted nodes together (see ``node_macs``).

    Weights that nodes share count once.  A bias counts when it is an input of the node, not when
    it is added by a node of its own.
    """
    weights = {
        id(value): shape_of(value) or ()
        for node in nodes
        for value in node.inputs[1:3]
        if value is not None and is_constant(value)
    }
    counts = [node_macs(node) for node in nodes]
    return Cost(
        parameters=sum(prod(size or 1 for size in shape) for shape in weights.values()),
        macs=sum(n for n in counts if n is not None) if None not in counts else None,
    )


def node_macs(node: ir.Node) -> int | None:
    """Give the multiply-accumulates of one node for one example, None where a size is unknown.

    Conv: output entries x input channels of a group x kernel size.  ConvTranspose: input entries x
    output channels of a group x kernel size.  Gemm and MatMul: output entries x inner size.
    Other operators count as 0, as is the custom (bias and elementwise work left out).
    """
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    data, weight = shape_of(node.inputs[0]), shape_of(node.inputs[1])
    out = example_sizes(node.outputs[0])
    if data is None or weight is None or out is None:
        return None
    if node.op_type == "Conv":
        factors = (*out, *weight[1:])
    elif node.op_type == "ConvTranspose":
        factors = (*(example_sizes(node.inputs[0]) or ()), *weight[1:])
    else:
        inner = data[0] if node.op_type == "Gemm" and attribute(node, "transA", 0) else data[-1]
        factors = (*out, inner)
    sizes = [size for size in factors if size is not None]
    return prod(sizes) if len(sizes) == len(factors) else None


def macs(graph: ir.Graph) -> int | None:
    """Give the multiply-accumulates of the whole graph for one example (see ``node_macs``)."""
    total = 0
    for node in graph:
        count = node_macs(node)
        if count is None:
            return None
        total += count
    return total
