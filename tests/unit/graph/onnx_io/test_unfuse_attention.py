"""Attentions in one node compute the same when they are written as products."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.handmade import written
from tests.nets import opened
from tests.surgery import close, run

MICROSOFT = ("com.microsoft",)
WEIGHTS = {"w": (6, 24), "b": (24,), "wq": (6, 8), "wk": (6, 8), "wv": (6, 12), "wo": (8, 3)}
ATTENTION, SEVERAL = "com.microsoft.Attention", "com.microsoft.MultiHeadAttention"
PROJECTED = "q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)"
HIDE = "lengths = ReduceSum <keepdims = 0> (mask, one) whole = Cast <to = 6> (lengths)"
EACH = "each = Cast <to = 6> (mask)"
WRITTEN = {
    "plain": f"a = {ATTENTION} <num_heads = 2> (x, w, b)",
    "of other sizes": f"a = {ATTENTION} <num_heads = 2, qkv_hidden_sizes = [8, 8, 8]> (x, w, b)",
    "scaled": f"a = {ATTENTION} <num_heads = 2, scale = 0.3> (x, w, b)",
    "of the past": f"a = {ATTENTION} <num_heads = 2, unidirectional = 1> (x, w, b)",
    "of seen keys": f"{EACH} a = {ATTENTION} <num_heads = 2> (x, w, b, each)",
    "of lengths": f"{HIDE} a = {ATTENTION} <num_heads = 2> (x, w, b, whole)",
    "with distances": f"a = {ATTENTION} <num_heads = 2> (x, w, b, , , apart)",
    "apart": f"{PROJECTED} a = {SEVERAL} <num_heads = 2> (q, k, q)",
    "apart, seen keys": f"{PROJECTED} {EACH} a = {SEVERAL} <num_heads = 2> (q, k, q, b, each)",
    "apart, past": f"{PROJECTED} a = {SEVERAL} <num_heads = 2, unidirectional = 1> (q, k, q)",
    "apart, distances": f"{PROJECTED} a = {SEVERAL} <num_heads = 2> (q, k, q, , , apart)",
    "ONNX's own": f"{PROJECTED} a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, q)",
    "ONNX's own, masked": f"""{PROJECTED}
        a = Attention <q_num_heads = 2, kv_num_heads = 2, is_causal = 1, scale = 0.4> (q, k, q)""",
}


def network(body: str, *, opset: int = 17) -> onnx.ModelProto:
    return written(
        f"g (float[N, 5, 6] x, int64[N, 5] mask) => (float[N, 5, 3] y) {{ {body} "
        "y = MatMul (a, wo) }",
        opset=opset, ir=11 if opset > 22 else 9, domains=MICROSOFT,
        one=np.array([1], np.int64), apart=(1, 2, 5, 5), **WEIGHTS,
    )  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_products_compute_what_the_node_does(name, tmp_path):
    proto = network(WRITTEN[name], opset=23 if "own" in name else 17)
    model = opened(proto, tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    mask = (np.arange(5) < rng.integers(2, 6, (3, 1))).astype(np.int64)
    feeds = {"x": rng.normal(size=(3, 5, 6)).astype(np.float32), "mask": mask}
    session = ort.InferenceSession(proto.SerializeToString())
    inputs = {each.name for each in session.get_inputs()}
    close(run(model.ir, feeds), session.run(None, {n: feeds[n] for n in inputs}))
    nodes = [(node.domain, node.op_type) for node in model.graph]
    assert "com.microsoft" not in {domain for domain, _ in nodes}
    assert "Softmax" in {op for _, op in nodes} or "own" in name


def test_an_attention_that_keeps_keys_stays(tmp_path):
    body = f"{PROJECTED} a, keys, values = {SEVERAL} <num_heads = 2> (q, k, q)"
    proto = network(body + " more = Identity (keys)")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("more", 1, ["N", 2, 5, 4]))
    model = opened(proto, tmp_path / "net.onnx")
    assert "MultiHeadAttention" in {node.op_type for node in model.graph}
