"""Nodes are sorted on reading; what cannot be sorted is named in one line."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.errors import ModelError
from frivkit.graph.onnx_io.load import read
from frivkit.graph.onnx_io.ordering import sort_nodes
from tests.handmade import branching, written
from tests.surgery import close, run

TEXT = """g (float[N, 6] x) => (float[N, 3] y) {
  a = Gemm (x, wa)
  r = Relu (a)
  s = Sigmoid (a)
  m = Mul (r, s)
  y = Gemm (m, wb)
}"""


@given(st.permutations(range(5)))
@settings(max_examples=15, deadline=None)
def test_any_order_is_sorted(order):
    graph = onnx.parser.parse_graph(TEXT)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes[i] for i in order)
    assert sort_nodes(graph, "m.onnx") == (order != sorted(order) and not _sorted(nodes, order))
    made = {"x", "wa", "wb"}
    for node in graph.node:
        assert made.issuperset(node.input)
        made.update(node.output)


def _sorted(nodes, order):
    made = {"x", "wa", "wb"}
    for number in order:
        if not made.issuperset(nodes[number].input):
            return False
        made.update(nodes[number].output)
    return True


@pytest.mark.parametrize("external", [False, True])
def test_an_unsorted_file_computes_what_the_sorted_one_does(external, tmp_path):
    proto = written(TEXT, wa=(6, 5), wb=(5, 3))
    for name, backwards in (("sorted", False), ("unsorted", True)):
        copy = onnx.ModelProto.FromString(proto.SerializeToString())
        if backwards:
            copy.graph.node.sort(key=lambda node: node.output[0])
        options = {"save_as_external_data": external, "size_threshold": 0, "location": f"{name}.w"}
        onnx.save(copy, tmp_path / f"{name}.onnx", **(options if external else {}))
    first, second = (read(tmp_path / f"{name}.onnx") for name in ("sorted", "unsorted"))
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)}
    close(run(second.ir, feeds), run(first.ir, feeds))


def test_nodes_in_subgraphs_are_sorted_too(tmp_path):
    proto = branching()
    body = next(node for node in proto.graph.node if node.op_type == "If").attribute[0].g
    body.node.sort(key=lambda node: node.output[0], reverse=True)
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    feeds = {"x": np.ones((2, 6), np.float32)}
    close(run(model.ir, feeds), run(read(_saved(branching(), tmp_path)).ir, feeds))


def _saved(proto, folder):
    onnx.save(proto, folder / "sorted.onnx")
    return folder / "sorted.onnx"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("a = Relu (c) b = Neg (a) c = Abs (b) y = Add (a, x)", "in a circle"),
        ("a = Relu (x) a = Neg (x) y = Abs (a)", "both compute 'a'"),
    ],
)
def test_nodes_that_have_no_order_are_named(nodes, said, tmp_path):
    onnx.save(written(f"g (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}"), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=said) as caught:
        read(tmp_path / "m.onnx")
    assert "a/Relu" in str(caught.value)
    assert "\n" not in str(caught.value)
