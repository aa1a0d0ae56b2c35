"""The graph of layers: what is connected is what reaches each other, and nothing else."""

import networkx
import onnx
import pytest
from onnx import parser

from frivkit.graph.sites.layer_graph import layer_graph
from frivkit.graph.sites.site_map import find_sites
from tests.nets import NETS, opened


def reachable(proto, ends):
    """Return the pairs of tensors in ``ends`` with a way between them past no third one."""
    graph = networkx.DiGraph()
    weights = {each.name for each in proto.graph.initializer}
    for node in proto.graph.node:
        inputs = [name for name in node.input if name and name not in weights]
        graph.add_edges_from((a, b) for a in inputs for b in node.output)
    pairs = set()
    for a in ends:
        others = graph.subgraph(set(graph) - set(ends) | {a})
        start = networkx.descendants(others, a) | {a} if a in graph else {a}
        pairs |= (
            {(a, b) for v in start for b in graph.successors(v) if b in ends}
            if a in graph
            else set()
        )
    return pairs


@pytest.mark.parametrize("name", ["mlp", "residual", "squeeze excite", "separable", "tokens"])
def test_edges_are_between_what_reaches_each_other(name, tmp_path):
    proto = NETS[name]()
    model = opened(proto, tmp_path / "net.onnx")
    site_map = find_sites(model)
    found = layer_graph(model, site_map)
    output = {node.name: node.output[0] for node in onnx.load(tmp_path / "net.onnx").graph.node}
    tensors = [output.get(n.name, n.name) if n.kind == "skipped" else n.name for n in found.nodes]
    edges = {(tensors[e.source], tensors[e.target]) for e in found.edges}
    # An output that is a tensor of another end too is reached from that end itself.
    expected = reachable(onnx.load(tmp_path / "net.onnx"), set(tensors))
    assert {pair for pair in edges if pair[0] != pair[1]} == expected
    assert [n.name for n in found.nodes if n.kind == "layer"] == [s.name for s in site_map.sites]
    assert all(e.source < e.target for e in found.edges)


RESIDUAL = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 2] x, float[N, 2] unused) => (float[N, 2] y)
<float[2, 2] v = {1, 2, 3, 4}, float[2, 2] w = {1, 2, 3, 4}, float[2, 2] u = {1, 2, 3, 4}>
{
  a = MatMul(x, v)
  h = Relu(a)
  b = MatMul(h, w)
  s = Add(b, h)
  r = Relu(s)
  n = Shape(x)
  t = Reshape(r, n)
  y = MatMul(t, u)
}
"""


def test_residual_connections_merge_and_sizes_connect_nothing(tmp_path):
    model = opened(parser.parse_model(RESIDUAL), tmp_path / "net.onnx")
    found = layer_graph(model, find_sites(model))
    names = [node.name for node in found.nodes]
    edges = {(names[e.source], names[e.target]): e.merges for e in found.edges}
    assert names == ["x", "h", "r", "MatMul(y)", "y"]
    assert edges == {
        ("x", "h"): False,
        ("h", "r"): True,
        ("r", "MatMul(y)"): False,
        ("MatMul(y)", "y"): False,
    }
