"""Put the nodes of a file that some converter left unsorted into the order in which they run."""

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

import onnx

from frivkit.errors import ModelError

MOST_NAMED = 4
"""Nodes of a cycle that are named."""


def sort_nodes(graph: onnx.GraphProto, name: str) -> bool:
    """Sort the nodes of a graph and of its subgraphs, each behind those whose outputs it reads.

    A graph that is sorted stays as it is.

    Args:
        graph: The graph; it is changed.
        name: The name of the file, for messages.

    Returns:
        Whether the order of any nodes changed.

    Raises:
        ModelError: two nodes compute one tensor, or nodes read each other's outputs in a circle.

    Example:
        >>> graph = onnx.parser.parse_graph(
        ...     "g (float[N] x) => (float[N] y) { y = Relu (h) h = Neg (x) }"
        ... )
        >>> sort_nodes(graph, "net.onnx"), [node.op_type for node in graph.node]
        (True, ['Neg', 'Relu'])
    """
    nodes = list(graph.node)
    changed = [sort_nodes(body, name) for node in nodes for body in _subgraphs(node)]
    maker = _makers(nodes, name)
    order = _order(nodes, maker, name)
    if order != list(range(len(nodes))):
        del graph.node[:]
        graph.node.extend(nodes[i] for i in order)
        changed.append(True)
    return any(changed)


def _makers(nodes: Sequence[onnx.NodeProto], name: str) -> dict[str, int]:
    """Return by the name of a tensor the number of the node that computes it."""
    maker: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for output in node.output:
            if output and maker.setdefault(output, number) != number:
                raise ModelError(
                    f"{name}: the nodes {_label(nodes[maker[output]])} and {_label(node)} both "
                    f"compute {output!r}; give a file in which each tensor is computed once"
                )
    return maker


def _order(nodes: Sequence[onnx.NodeProto], maker: dict[str, int], name: str) -> list[int]:
    read = [{maker[each] for each in _reads(node) if each in maker} for node in nodes]
    if all(made < number for number, makers in enumerate(read) for made in makers):
        return list(range(len(nodes)))
    try:
        return list(TopologicalSorter(dict(enumerate(read))).static_order())
    except CycleError as error:
        circle = [_label(nodes[number]) for number in error.args[1][:-1]]
        more = f" and {len(circle) - MOST_NAMED} more" if len(circle) > MOST_NAMED else ""
        raise ModelError(
            f"{name}: the nodes {', '.join(circle[:MOST_NAMED])}{more} read each other's outputs "
            "in a circle; give a file without one"
        ) from error


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of the tensors that a node or its subgraphs read."""
    yield from node.input
    for body in _subgraphs(node):
        yield from (output.name for output in body.output)
        for inner in body.node:
            yield from _reads(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _label(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type}({node.output[0] if node.output else ''})"
