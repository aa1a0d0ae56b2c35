"""The nodes of a graph that ONNX Runtime runs in its blocked layout, on this machine."""

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from frivkit.graph.model import is_constant
from frivkit.graph.names import node_label
from frivkit.runtime.optimized import optimized_graph
from frivkit.runtime.session import Device

BLOCKED = "com.microsoft.nchwc"
"""The domain of the nodes that take tensors in the blocked layout (NCHWc)."""
OWN_KERNELS = frozenset(("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"))
"""Operators that have kernels of their own for the blocked layout."""
_POSITION = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")
WEIGHTED = ("Gemm", "MatMul", "ConvTranspose")


def leaves_fast_path(original: ir.Model, compressed: ir.Model) -> list[str]:
    """Return the nodes that run in the blocked layout in one graph and not in a thinner one.

    Both graphs are optimised by ONNX Runtime for this machine; neither is run.

    Args:
        original: The graph before narrowing.
        compressed: The graph after it; its nodes have the names that they had.

    Returns:
        The labels of the nodes, in the order of the original.

    Raises:
        ModelError: ONNX Runtime cannot load a graph.
    """
    remaining = {node_label(node) for node in compressed.graph}
    before, after = blocked_nodes(original), set(blocked_nodes(compressed))
    return [label for label in before if label in remaining and label not in after]


def blocked_nodes(model: ir.Model) -> list[str]:
    """Return the labels of the nodes that ONNX Runtime runs in the blocked layout on this machine.

    Convolutions, pooling and concatenations are considered; elementwise operators take any layout.

    Raises:
        ModelError: ONNX Runtime cannot load the graph.
    """
    nodes = list(model.graph)
    index = {id(node): position for position, node in enumerate(nodes)}
    blocked: set[int] = set()
    values: set[str] = set()  # tensors in the blocked layout
    for node in optimized_graph(numbered(model), Device()).graph:
        name = node.name or ""
        if node.domain == BLOCKED and node.op_type != "ReorderOutput":
            position = position_of(name, nodes, index)
            if node.op_type in OWN_KERNELS and position is not None:
                blocked.add(position)
            values |= _names(node.outputs)
        elif node.domain != BLOCKED and _names(_computed(node)) <= values:
            values |= _names(node.outputs)
            if node.op_type == "Concat" and name.isdecimal():
                blocked.add(int(name))
    return [node_label(nodes[position]) for position in sorted(blocked)]


def _computed(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and not is_constant(value)]


def _names(values: Iterable[ir.Value]) -> set[str]:
    return {value.name or "" for value in values}


def numbered(model: ir.Model) -> ir.Model:
    """Return a copy of a graph whose nodes and their outputs are named by their positions.

    ONNX Runtime names an optimised node by what it was made from, so that the name tells the
    position (see :func:`position_of`).  Weights are shared with the graph.
    """
    copy = model.clone()
    taken = {value.name for value in (*copy.graph.inputs, *copy.graph.initializers.values())}
    prefix = "node"
    while any((name or "").startswith(prefix) for name in taken):
        prefix = f"_{prefix}"
    for position, node in enumerate(copy.graph):
        node.name = str(position)
        for index, value in enumerate(node.outputs):
            if value.name:  # an empty name stands for an output that is left out
                value.name = f"{prefix}.{position}.{index}"
    return copy


def position_of(name: str, nodes: Sequence[ir.Node], index: Mapping[int, int]) -> int | None:
    """Return the position of the node that an optimised node of a numbered graph computes.

    Where several were fused, it is the position of the first with a kernel of its own: a
    convolution, a matrix product, a pooling.

    Args:
        name: The name of the optimised node.
        nodes: The nodes of the graph that was numbered.
        index: Their positions by ``id(node)``.
    """
    position = _number(name, len(nodes))
    while position is not None:
        node = nodes[position]
        if node.op_type in OWN_KERNELS or node.op_type in WEIGHTED:
            return position
        computed = _computed(node)
        producer = computed[0].producer() if computed else None
        position = None if producer is None else index.get(id(producer))
    return None


def _number(name: str, count: int) -> int | None:
    """Return the position in an optimised node's name: ``7``, ``node.7.0_nchwc``, ``fused 7``."""
    match = _POSITION.search(name)
    number = count if match is None else int(match[0])
    return number if number < count else None
