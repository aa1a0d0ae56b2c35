"""Parameters, multiply-accumulates and live bytes, counted by hand."""

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.graph.cost import Cost, macs, uncounted
from frivkit.graph.model import Model
from frivkit.graph.shapes import infer_shapes
from frivkit.graph.sites.site_map import find_sites
from frivkit.runtime.memory import LARGEST_BATCH, batch_size, live_bytes, tensor_bytes
from tests.handmade import written
from tests.nets import network, opened


@pytest.fixture
def read(tmp_path):
    return lambda name, **options: opened(network(name), tmp_path / "m.onnx", **options)


def costs(model: Model) -> dict[str, Cost]:
    found = find_sites(model)
    return {site.layer: found.weights[site.name] for site in found.sites}


# Name: parameters and multiply-accumulates of each site's producers, then of the whole network.
COUNTED = {
    "mlp": ({"0": (6 * 5 + 5, 30), "2": (5 * 4 + 4, 20)}, (35 + 24 + 15, 30 + 20 + 12)),
    "cnn": (
        {"0": (3 * 9 * 4 + 4, 4 * 64 * 27), "3": (4 * 9 * 5 + 5, 5 * 16 * 36)},
        (112 + 185 + 80 * 3 + 3, 6912 + 2880 + 240),
    ),
    "sound": (
        {"0": (2 * 3 * 4 + 4, 4 * 14 * 6), "3": (4 * 3 * 5 + 5, 5 * 5 * 12)},
        (28 + 65 + 25 * 3 + 3, 336 + 300 + 75),
    ),
    "volume": ({"0": (8 * 4 + 4, 4 * 64 * 8)}, (36 + 32 * 3 + 3, 2048 + 96)),
    # Input entries times kernel, for a transposed convolution.
    "transposed": (
        {"0": (3 * 4 * 4 + 4, 3 * 16 * 4 * 4), "2": (4 * 3 * 9 + 6, 4 * 64 * 3 * 9)},
        (52 + 114 + 6 * 3 + 3, 768 + 6912 + 18),
    ),
    # In two groups each channel sees two of four; in six groups each sees one.
    "grouped": (
        {
            "0": (112, 4 * 16 * 27),
            "2": (6 * 2 * 9 + 6, 6 * 16 * 18),
            "4": (12 * 9 + 12, 12 * 16 * 9),
        },
        (112 + 114 + 120 + 12 * 3 + 3, 1728 + 1728 + 1728 + 36),
    ),
    # Five tokens, each through both layers; the bias of a MatMul is a node of its own.
    "tokens": ({"a": (30, 5 * 30), "b": (20, 5 * 20)}, (None, 150 + 100 + 12)),
    # Four windows of sixteen places.
    "windows": ({"a": (112, 4 * 64 * 27)}, (112 + 20 + 5 + 18, 6912 + 4 * 16 * 20 + 15)),
    # Four tokens; a weight that is rounded to 8 bits counts as one.
    "embedded": ({"a": (30, 4 * 30)}, (60 + 24 + 30 + 15, 120 + 15)),
    "quantised": ({"a": (30, 30)}, (30 + 15 + 15 + 1, 30 + 15 + 15)),  # and the step
    "constants": ({"a": (30, 30)}, (30 + 15, 30 + 15)),
    "siamese": ({"a": (35, 30), "a#2": (35, 30)}, (35 + 5 * 3 + 3, 30 + 30 + 15)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_cost_of(name, read):
    sites, (parameters, total) = COUNTED[name]
    model = read(name)
    assert costs(model) == {layer: Cost(*cost) for layer, cost in sites.items()}
    assert macs(model.graph) == total
    if parameters is not None:
        assert model.parameters == parameters


def test_both_producers_of_a_site_count(read):
    projected = costs(read("residual"))["3.b"]
    assert projected == Cost(6 * 6 * 9 + 6 + 4 * 6 + 6, 6 * 16 * 54 + 6 * 16 * 4)


def test_open_sizes_have_no_macs(read):
    model = read("cnn of any size")
    assert macs(model.graph) is None
    assert (
        macs(read("cnn of any size", input_shape="1x3x2x2").graph) == 4 * 4 * 27 + 5 * 4 * 36 + 15
    )


def test_a_fixed_batch_counts_one_example(read):
    assert macs(read("cnn of four").graph) == macs(read("cnn").graph)


def graph_of(text: str, **weights: object) -> ir.Graph:
    model = ir.from_proto(written(text, **weights))
    infer_shapes(model)
    return model.graph


def test_a_tensor_lives_from_its_producer_to_its_last_consumer():
    # x (5) lives until the sum: x + a, x + a + r, x + r + s, s + y, of 4 bytes each.
    graph = graph_of(
        """g (float[N, 5] x) => (float[N, 30] y) {
          a = Gemm (x, wa) r = Relu (a) s = Add (r, x) y = Gemm (s, wb)
        }""",
        wa=(5, 5), wb=(5, 30),
    )  # fmt: skip
    assert live_bytes(graph) == 4 * (5 + 30)
    assert live_bytes(graph_of(_SMALL, wa=(5, 5), wb=(5, 3))) == 4 * (5 + 5 + 5)


_SMALL = """g (float[N, 5] x) => (float[N, 3] y) {
  a = Gemm (x, wa) r = Relu (a) s = Add (r, x) y = Gemm (s, wb)
}"""


def test_outputs_and_what_a_branch_reads_stay():
    graph = graph_of(
        """g (float[N, 8] x) => (float[N, 8] a, float[N, 1] y) {
          a = Relu (x) b = ReduceMax <axes = [1]> (a) c = Relu (b) y = Relu (c)
        }"""
    )
    assert live_bytes(graph) == 4 * (8 + 8)
    graph = graph_of(
        """g (float[N, 8] x) => (float[N, 8] y) {
          a = Relu (x) b = Relu (a) m = ReduceMax <keepdims = 0> (b) on = Greater (m, zero)
          y = If (on) <
            then_branch = t () => (float[N, 8] t1) { t1 = Relu (a) },
            else_branch = e () => (float[N, 8] e1) { e1 = Tanh (a) }
          >
        }""",
        zero=(),
    )
    # a waits for the branch while b is reduced; m and on have no axis and 4 and 1 bytes.
    assert live_bytes(graph) == 4 * (8 + 8) + 4


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        (ir.DataType.FLOAT, ["N", 3, 5], 60),
        (ir.DataType.FLOAT16, ["N", 3, 5], 30),
        (ir.DataType.BOOL, ["N", 3], 3),
        (ir.DataType.INT4, ["N", 3], 2),
        (ir.DataType.FLOAT, ["4*N", 3], 48),
        (ir.DataType.FLOAT, [7, "N", 3], 84),
        (ir.DataType.FLOAT, [7, 3], 12),
        (ir.DataType.FLOAT, ["N", "H", 3], 12),
        (ir.DataType.STRING, ["N", 3], 12),
        (ir.DataType.FLOAT, None, 0),
        (ir.DataType.UNDEFINED, ["N", 3], 12),
        (None, ["N", 3], 12),
    ],
)
def test_bytes_of_one_example(dtype, shape, size):
    kind = None if dtype is None else ir.TensorType(dtype)
    value = ir.Value(name="v", type=kind, shape=None if shape is None else ir.Shape(shape))
    assert tensor_bytes(value) == size


def test_batches_follow_from_memory():
    graph = graph_of(_SMALL, wa=(5, 5), wb=(5, 3))
    assert batch_size(graph, 800, None) == 10
    assert batch_size(graph, 59, None) == 1
    assert batch_size(graph, 1 << 40, None) == LARGEST_BATCH
    assert batch_size(graph, 1, 32) == 32


PRODUCTS = {  # nodes, inputs, constants, and multiply-accumulates of one example counted by hand
    "lstm": (
        "y = LSTM <hidden_size = 3> (x, w, r)", "float[5, N, 4] x",
        {"w": (1, 12, 4), "r": (1, 12, 3)}, 5 * 12 * (4 + 3),
    ),
    "gru in both directions": (
        'y = GRU <hidden_size = 3, direction = "bidirectional"> (x, w, r)', "float[5, N, 4] x",
        {"w": (2, 9, 4), "r": (2, 9, 3)}, 5 * 2 * 9 * (4 + 3),
    ),
    "two activations": (
        "t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)", "float[N, 5, 4] x", {}, 5 * 5 * 4
    ),
    "a diagonal": (
        'y = Einsum <equation = "bii,io->bo"> (x, w)', "float[N, 4, 4] x", {"w": (4, 6)}, 4 * 6
    ),
    "deformed": (
        "y = DeformConv (x, w, o)", "float[N, 2, 4, 4] x, float[N, 8, 3, 3] o",
        {"w": (5, 2, 2, 2)}, 5 * 9 * 2 * 4,
    ),
    "attention of opset 23": (
        "y = Attention <q_num_heads = 2, kv_num_heads = 2> (x, x, x)", "float[N, 5, 8] x", {},
        5 * 5 * 8 * 2,
    ),
    "rows of a table": ("y = Gather (t, i)", "int64[N, 3] i", {"t": (9, 4)}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_tensors_are_counted(name):
    nodes, inputs, weights, wanted = PRODUCTS[name]
    text = f"g ({inputs}) => (float[] y) {{ {nodes} }}"
    model = ir.from_proto(written(text, opset=23 if "23" in name else 20, **weights))
    infer_shapes(model)
    assert macs(model.graph) == wanted
    assert uncounted(model.graph) == ()


FUSED = {
    "attention": (
        "y = com.microsoft.Attention <num_heads = 2> (x, w, b)", {"w": (6, 12), "b": (12,)},
        "N, 5, 4", 5 * 6 * 12 + 2 * 5 * 5 * 4,
    ),
    "heads": (
        "y = com.microsoft.MultiHeadAttention <num_heads = 2> (x, x, x)", {}, "N, 5, 6",
        2 * 5 * 5 * 6,
    ),
    "fused product": ("y = com.microsoft.FusedMatMul (x, w)", {"w": (6, 7)}, "N, 5, 7", 5 * 6 * 7),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_fused_operators_are_counted(name):
    node, weights, shape, wanted = FUSED[name]
    text = f"g (float[N, 5, 6] x) => (float[{shape}] y) {{ {node} }}"
    model = ir.from_proto(written(text, domains=("com.microsoft",), **weights))
    assert macs(model.graph) == wanted
    assert uncounted(model.graph) == ()


def test_what_is_not_counted_is_named():
    body = "b (int64 i, bool go, float[N, 6] h) => (bool more, float[N, 6] next)"
    proto = written(
        f"""g (float[N, 6] x) => (float[N, 4] y) {{
          l = Loop (three, on, x) <body = {body} {{
            more = Identity (go) next = MatMul (h, w)
          }}>
          b = org.example.Blend (l, v)
          y = MatMul (b, u)
        }}""",
        domains=("org.example",), w=(6, 6), v=(6, 6), u=(6, 4), three=np.array(3),
        on=np.bool_(True),
    )  # fmt: skip
    model = ir.from_proto(proto)
    infer_shapes(model)
    assert uncounted(model.graph) == ("Loop", "org.example.Blend")
