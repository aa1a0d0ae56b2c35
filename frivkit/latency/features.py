"""What the time of a node depends on: the widths that it reads and writes, in blocks."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.model import is_constant
from frivkit.graph.shapes import example_sizes
from frivkit.latency.fast_widths import stays_blocked
from frivkit.runtime.optimized import FloatArray


@dataclass(frozen=True, slots=True)
class NodeFeatures:
    """What a node has to do, as far as its time depends on it.

    Attributes:
        signature: What does not change when units leave: operator, kernel, strides, the size of
            its maps, and whether it runs in the blocked layout.
        kind: The part of it that decides which kernel runs.
        places: Multiply-accumulates for each pair of channels that are read and written.
        terms: Numbers that its time is a sum of multiples of, shape (terms,): 1, what it writes,
            what it reads, and the product of the two.
    """

    signature: str
    kind: str
    places: float
    terms: FloatArray


def node_features(graph: ir.Graph, block: int) -> dict[int, NodeFeatures]:
    """Return the features of each weighted node of a graph, by its position in the graph.

    Args:
        graph: The graph, with known shapes.
        block: The channels in a block of the target.
    """
    found = ((position, _features_of(node, block)) for position, node in enumerate(graph))
    return {position: features for position, features in found if features is not None}


def _features_of(node: ir.Node, block: int) -> NodeFeatures | None:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or not is_constant(weight):
        return None
    sizes = [size or 1 for size in shape_of(weight) or ()]
    if node.op_type in ("Conv", "ConvTranspose") and len(sizes) > 2:
        return _convolution(node, sizes, block)
    if node.op_type in ("Gemm", "MatMul") and len(sizes) == 2:
        transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
        reads, writes = sizes[::-1] if transposed else sizes
        rows = prod(_sizes(node.outputs[0])[:-1])
        terms = _terms(writes / block, reads / block)
        return NodeFeatures(f"{node.op_type} {rows}", "dense", rows, terms)
    return None


def _convolution(node: ir.Node, sizes: list[int], block: int) -> NodeFeatures:
    blocked = stays_blocked(node, block)
    groups = attribute(node, "group", 1)
    # Channels of the weight: all that are written, and those of a group that are read.
    writes, reads = sizes[0], sizes[1]
    if node.op_type == "ConvTranspose":
        writes, reads = sizes[1] * groups, sizes[0] // groups
    depthwise = groups > 1 and reads == 1
    kind = "depthwise" if depthwise else "grouped" if groups > 1 else "plain"
    direct = blocked and groups == 1 and reads < block  # single channels are read
    layout = "direct" if direct else "blocked" if blocked else "free"
    maps = [_sizes(value)[2:] for value in (node.inputs[0], node.outputs[0])]
    places = "x".join(map(str, maps[0]))
    steps = [str(node.attributes[name].value) for name in ("strides", "dilations", "pads")
             if name in node.attributes]  # fmt: skip
    kernel = "x".join(map(str, sizes[2:]))
    signature = " ".join([node.op_type, kind, layout, kernel, places, *steps])
    written, read = writes / block, reads / block
    if blocked:
        written, read = ceil(written), (read if direct or depthwise else ceil(read))
    point = "pointwise" if prod(sizes[2:]) == 1 else "spatial"
    kernel_places = prod(maps[node.op_type == "Conv"]) * prod(sizes[2:])
    terms = _terms(written, 0.0 if depthwise else read)
    return NodeFeatures(signature, f"{kind} {layout} {point}", kernel_places, terms)


def _terms(writes: float, reads: float) -> FloatArray:
    return np.array([1.0, writes, reads, writes * reads])


def _sizes(value: ir.Value | None) -> list[int]:
    """Return the sizes of a tensor for one example; those that are not known count as 1."""
    return [size or 1 for size in (example_sizes(value) if value is not None else None) or ()]


def other_terms(graph: ir.Graph, weighted: Mapping[int, NodeFeatures]) -> FloatArray:
    """Return what the time of all other nodes depends on, as terms of a sum, shape (3,).

    They are 1; the entries that other nodes write for one example; and the number of convolutions
    that read single channels, in front of which tensors change their layout.

    Args:
        graph: The graph.
        weighted: The features of its weighted nodes.
    """
    written = sum(
        prod(_sizes(node.outputs[0]))
        for position, node in enumerate(graph)
        if position not in weighted and node.outputs and rank_of(node.outputs[0])
    )
    direct = sum(" direct " in features.signature for features in weighted.values())
    return np.array([1.0, written, direct])
