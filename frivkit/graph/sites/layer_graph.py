"""How layers are connected: the graph of a model without what lies between its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from frivkit.graph.model import Model, consumed_values, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import SiteMap

NodeKind = Literal["input", "layer", "skipped", "output"]
SIZES_ONLY = {"Shape", "Size"}
"""Operators whose outputs say how large a tensor is and not what is in it."""


@dataclass(frozen=True, slots=True)
class LayerNode:
    """An input, a layer with units, a weighted node that is not analysed, or an output.

    Attributes:
        kind: Which of these.
        name: The name of the tensor of an input, an output or a site, or the label of the node.
        op: Its operator, empty for inputs and outputs.
    """

    kind: NodeKind
    name: str
    op: str = ""


@dataclass(frozen=True, slots=True)
class LayerEdge:
    """A connection between two of them without a third in between.

    Attributes:
        source: The index of the node that it comes from.
        target: The index of the node that it leads to, larger than ``source``.
        merges: Whether the source also reaches the target without passing its weights: it is
            added to it, multiplied with it or joined to it, as in a residual connection.
    """

    source: int
    target: int
    merges: bool


@dataclass(frozen=True, slots=True)
class LayerGraph:
    """The layers of a model and how they are connected, in the order of the graph."""

    nodes: tuple[LayerNode, ...]
    edges: tuple[LayerEdge, ...]


_Origins = dict[int, bool]
"""By index the nodes that a value comes from, and whether a way to it passes no weights."""


def layer_graph(model: Model, site_map: SiteMap) -> LayerGraph:
    """Return how the layers of a model are connected.

    Inputs that lead to no layer and no output are left out.

    Args:
        model: The model.
        site_map: Its layers.

    Example:
        >>> from pathlib import Path
        >>> from onnx import parser
        >>> from frivkit.graph.shapes import infer_shapes
        >>> from frivkit.graph.sites.site_map import find_sites
        >>> text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 1] x) => (float[N, 1] y)'
        >>> text += "<float[1, 2] v = {1, 2}, float[2, 1] w = {3, 4}>"
        >>> text += "{ a = MatMul(x, v) h = Relu(a) z = MatMul(h, w) y = Add(z, x) }"
        >>> network = ir.from_proto(parser.parse_model(text))
        >>> infer_shapes(network)
        >>> model = Model(network, Path("net.onnx"), "onnx", "", (), None)
        >>> found = layer_graph(model, find_sites(model))
        >>> [(node.kind, node.op) for node in found.nodes]
        [('input', ''), ('layer', 'MatMul'), ('skipped', 'MatMul'), ('output', '')]
        >>> [(edge.source, edge.target) for edge in found.edges]
        [(0, 1), (1, 2), (2, 3), (0, 3)]
    """
    builder = _Builder({}, [], [])
    sites = {site.name: site.op for site in site_map.sites}
    producers = {label for site in site_map.sites for label in site.producers}
    skipped = {skip.key for skip in site_map.skipped}
    for value in model.graph.inputs:
        if not value.is_initializer():
            builder.start(value, LayerNode("input", value.name or ""))
    for node in model.graph:
        if all(is_constant(value) for value in node.outputs):
            continue
        origins = {} if node.op_type in SIZES_ONLY else builder.origins(consumed_values(node))
        if id(node) in skipped:
            label = LayerNode("skipped", node_label(node), node.op_type)
            origins = {builder.add(label, dict.fromkeys(origins, False)): True}
        elif node_label(node) in producers:
            origins = dict.fromkeys(origins, False)
        for value in node.outputs:
            if value.name in sites:
                builder.start(value, LayerNode("layer", value.name, sites[value.name]), origins)
            else:
                builder.of[id(value)] = origins
    for value in model.graph.outputs:
        origins = dict.fromkeys(builder.origins([value]), False)
        builder.add(LayerNode("output", value.name or ""), origins)
    return builder.graph()


@dataclass(slots=True)
class _Builder:
    """Nodes and edges as they are found, and by ``id`` of a value the nodes that it comes from."""

    of: dict[int, _Origins]
    nodes: list[LayerNode]
    edges: list[LayerEdge]

    def add(self, node: LayerNode, origins: Mapping[int, bool]) -> int:
        """Add a node, and an edge from each origin; return its index."""
        index = len(self.nodes)
        self.nodes.append(node)
        self.edges += [LayerEdge(source, index, direct) for source, direct in origins.items()]
        return index

    def start(self, value: ir.Value, node: LayerNode, origins: _Origins | None = None) -> None:
        """Add the node of a value, which becomes the only origin of what follows."""
        self.of[id(value)] = {self.add(node, origins or {}): True}

    def origins(self, values: list[ir.Value]) -> _Origins:
        """Return what a node comes from that consumes values."""
        merged: _Origins = {}
        for value in values:
            for source, direct in self.of.get(id(value), {}).items():
                merged[source] = merged.get(source, False) or direct
        return merged

    def graph(self) -> LayerGraph:
        """Return the result, without inputs that lead nowhere."""
        used = {edge.source for edge in self.edges}
        kept = [i for i, node in enumerate(self.nodes) if node.kind != "input" or i in used]
        new = {old: i for i, old in enumerate(kept)}
        edges = (LayerEdge(new[e.source], new[e.target], e.merges) for e in self.edges)
        return LayerGraph(tuple(self.nodes[i] for i in kept), tuple(edges))
