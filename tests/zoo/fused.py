"""Attention in one node: of ONNX from opset 23 on, and of ONNX Runtime, as its optimizer writes it.

All have 7 tokens of 5 numbers, a stream of 20, and a head of 4 outputs on the mean of the tokens.
"""

from collections.abc import Callable

import numpy as np
import onnx

from tests.handmade import written

MICROSOFT = ("com.microsoft",)
_STEM = "x0 = MatMul (x, w_stem) s = Add (x0, b_stem)"
_LEAVE = """m = ReduceMean <keepdims = 0> (h, one)
            y = Gemm <transB = 1> (m, w_head, b_head)"""
_WEIGHTS = {"w_stem": (5, 20), "b_stem": (20,), "w_head": (4, 20), "b_head": (4,)}
_INNER = {"w_up": (20, 24), "b_up": (24,), "w_down": (24, 20), "b_down": (20,)}


def _projections(queries: int, keys: int, values: int) -> dict[str, tuple[int, ...]]:
    return {
        "wq": (20, queries), "bq": (queries,),
        "wk": (20, keys), "bk": (keys,),
        "wv": (20, values), "bv": (values,),
    }  # fmt: skip


_PROJECT = """q0 = MatMul (s, wq) q = Add (q0, bq)
              k0 = MatMul (s, wk) k = Add (k0, bk)
              v0 = MatMul (s, wv) v = Add (v0, bv)"""


def _network(
    body: str, *, opset: int = 18, domains: tuple[str, ...] = (), **weights: object
) -> onnx.ModelProto:
    """Return a network whose body takes ``s`` to ``h``, both (N, 7, 20)."""
    one = np.array([1], np.int64)
    text = f"g (float[N, 7, 5] x) => (float[N, 4] y) {{ {_STEM} {body} {_LEAVE} }}"
    return written(
        text,
        opset=opset,
        ir=11 if opset > 22 else 9,
        domains=domains,
        one=one,
        **_WEIGHTS,
        **weights,
    )


def attention_rows() -> onnx.ModelProto:
    """Attention of opset 23 on tensors of three axes, grouped queries."""
    return _network(
        f"""{_PROJECT}
        a = Attention <q_num_heads = 6, kv_num_heads = 2> (q, k, v)
        o0 = MatMul (a, wo) o = Add (o0, bo) h = Add (s, o)""",
        opset=23, **_projections(24, 8, 10), wo=(30, 20), bo=(20,),
    )  # fmt: skip


def attention_heads() -> onnx.ModelProto:
    """Attention of opset 23 on tensors with an axis for heads, causal."""
    return _network(
        f"""{_PROJECT}
        q3 = Reshape (q, by_heads) k3 = Reshape (k, by_heads) v3 = Reshape (v, by_heads)
        q4 = Transpose <perm = [0, 2, 1, 3]> (q3)
        k4 = Transpose <perm = [0, 2, 1, 3]> (k3)
        v4 = Transpose <perm = [0, 2, 1, 3]> (v3)
        a4 = Attention <is_causal = 1> (q4, k4, v4)
        a3 = Transpose <perm = [0, 2, 1, 3]> (a4) a = Reshape (a3, in_rows)
        o0 = MatMul (a, wo) o = Add (o0, bo) h = Add (s, o)""",
        opset=23, **_projections(12, 12, 15), wo=(15, 20), bo=(20,),
        by_heads=np.array([0, 0, 3, -1], np.int64), in_rows=np.array([0, 0, -1], np.int64),
    )  # fmt: skip


def rotary() -> onnx.ModelProto:
    """RotaryEmbedding and RMSNormalization of opset 23 around an Attention."""
    angles = np.arange(7)[:, None] * 100.0 ** (-np.arange(2) / 2)
    return _network(
        """n = RMSNormalization (s, scale)
        q = MatMul (n, wq) k = MatMul (n, wk) v = MatMul (n, wv)
        sizes = Shape <start = 0, end = 2> (x) at = Expand (places, sizes)
        qr = RotaryEmbedding <num_heads = 3> (q, cos, sin, at)
        kr = RotaryEmbedding <num_heads = 3> (k, cos, sin, at)
        a = Attention <q_num_heads = 3, kv_num_heads = 3> (qr, kr, v)
        o = MatMul (a, wo) h = Add (s, o)""",
        opset=23, wq=(20, 12), wk=(20, 12), wv=(20, 15), wo=(15, 20),
        scale=np.linspace(0.5, 1.5, 20, dtype=np.float32),
        cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32),
        places=np.arange(7),
    )  # fmt: skip


def multi_head() -> onnx.ModelProto:
    """MultiHeadAttention of ONNX Runtime: queries, keys and values apart, biases in the node."""
    return _network(
        """q = MatMul (s, wq) k = MatMul (s, wk) v = MatMul (s, wv)
        a = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, v, b)
        o0 = MatMul (a, wo) o = Add (o0, bo) h = Add (s, o)""",
        domains=MICROSOFT, wq=(20, 12), wk=(20, 12), wv=(20, 15), b=(39,), wo=(15, 20), bo=(20,),
    )  # fmt: skip


def whole_attention() -> onnx.ModelProto:
    """Attention of ONNX Runtime: the projections are weights of the node."""
    return _network(
        """a = com.microsoft.Attention <num_heads = 3> (s, w, b)
        o0 = MatMul (a, wo) o = Add (o0, bo) h = Add (s, o)""",
        domains=MICROSOFT, w=(20, 36), b=(36,), wo=(12, 20), bo=(20,),
    )  # fmt: skip


def grouped_queries() -> onnx.ModelProto:
    """GroupQueryAttention of ONNX Runtime, with its rotary embedding and a cache that is empty."""
    angles = np.arange(7)[:, None] * 100.0 ** (-np.arange(8) / 8)
    return _network(
        """q = MatMul (s, wq) k = MatMul (s, wk) v = MatMul (s, wv)
        examples = Shape <start = 0, end = 1> (x)
        last = Expand (six, examples)
        a, key, value = com.microsoft.GroupQueryAttention
          <num_heads = 6, kv_num_heads = 2, do_rotary = 1>
          (q, k, v, , , last, seven, cos, sin)
        o = MatMul (a, wo) h = Add (s, o)""",
        domains=MICROSOFT, wq=(20, 96), wk=(20, 32), wv=(20, 32), wo=(96, 20),
        six=np.array([6], np.int32), seven=np.array(7, np.int32),
        cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32),
    )  # fmt: skip


def packed_queries() -> onnx.ModelProto:
    """GroupQueryAttention of queries, keys and values in one tensor, neighbours turned."""
    angles = np.arange(9)[:, None] * 100.0 ** (-np.arange(8) / 8)
    return _network(
        """p = MatMul (s, w)
        examples = Shape <start = 0, end = 1> (x)
        last = Expand (six, examples)
        a = com.microsoft.GroupQueryAttention
          <num_heads = 6, kv_num_heads = 2, do_rotary = 1, rotary_interleaved = 1, scale = 0.3,
           local_window_size = 4>
          (p, , , , , last, seven, cos, sin, , apart)
        o = MatMul (a, wo) h = Add (s, o)""",
        domains=MICROSOFT, w=(20, 160), wo=(96, 20), apart=(1, 6, 7, 7),
        six=np.array([6], np.int32), seven=np.array(7, np.int32),
        cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32),
    )  # fmt: skip


def turned_rows() -> onnx.ModelProto:
    """RotaryEmbedding of ONNX Runtime around its MultiHeadAttention."""
    angles = np.arange(7)[:, None] * 100.0 ** (-np.arange(2) / 2)
    return _network(
        """q = MatMul (s, wq) k = MatMul (s, wk) v = MatMul (s, wv)
        sizes = Shape <start = 0, end = 2> (x) at = Expand (places, sizes)
        qr = com.microsoft.RotaryEmbedding (q, at, cos, sin)
        kr = com.microsoft.RotaryEmbedding (k, at, cos, sin)
        a = com.microsoft.MultiHeadAttention <num_heads = 3, unidirectional = 1> (qr, kr, v)
        o = MatMul (a, wo) h = Add (s, o)""",
        domains=MICROSOFT, wq=(20, 12), wk=(20, 12), wv=(20, 15), wo=(15, 20),
        cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32),
        places=np.arange(7),
    )  # fmt: skip


def turned_heads() -> onnx.ModelProto:
    """RotaryEmbedding of opset 23 on an axis of heads: neighbours among some dimensions."""
    angles = np.arange(7)[None, :, None] * 100.0 ** (-np.arange(2) / 2)
    cut = " ".join(
        f"""{x}0 = MatMul (s, w{x}) {x}3 = Reshape ({x}0, by_heads)
        {x}4 = Transpose <perm = [0, 2, 1, 3]> ({x}3)"""
        for x in "qkv"
    )
    return _network(
        f"""{cut} examples = Shape <start = 0, end = 1> (x)
        more = Concat <axis = 0> (examples, ones)
        c = Expand (cos, more) d = Expand (sin, more)
        q = RotaryEmbedding <interleaved = 1, rotary_embedding_dim = 4> (q4, c, d)
        k = RotaryEmbedding <interleaved = 1, rotary_embedding_dim = 4> (k4, c, d)
        a4 = Attention (q, k, v4)
        a3 = Transpose <perm = [0, 2, 1, 3]> (a4) a = Reshape (a3, in_rows)
        o = MatMul (a, wo) h = Add (s, o)""",
        opset=23, wq=(20, 18), wk=(20, 18), wv=(20, 15), wo=(15, 20), ones=np.array([1, 1]),
        cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32),
        by_heads=np.array([0, 0, 3, -1], np.int64), in_rows=np.array([0, 0, -1], np.int64),
    )  # fmt: skip


def skip_norms(*, simple: bool = False) -> onnx.ModelProto:
    """A stream whose sums and norms are one node, as ONNX Runtime's optimizer writes them."""
    op = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    more, weights = ("", {}) if simple else (", beta", {"beta": (20,)})
    return _network(
        f"""{_PROJECT}
        a = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, v)
        o = MatMul (a, wo)
        n, mean1, inv1, t = com.microsoft.{op} <epsilon = 0.00001> (o, s, gamma{more})
        u0 = MatMul (n, w_up) u = com.microsoft.BiasGelu (u0, b_up)
        d = MatMul (u, w_down)
        h, mean2, inv2, t2 = com.microsoft.{op} <epsilon = 0.00001> (d, t, gamma{more})""",
        domains=MICROSOFT, **_projections(12, 12, 15), wo=(15, 20), w_up=(20, 24), b_up=(24,),
        w_down=(24, 20), gamma=np.linspace(0.5, 1.5, 20, dtype=np.float32), **weights,
    )  # fmt: skip


FUSED: dict[str, Callable[[], onnx.ModelProto]] = {
    "Attention on rows": attention_rows,
    "Attention on heads": attention_heads,
    "RotaryEmbedding": rotary,
    "MultiHeadAttention": multi_head,
    "Attention of ONNX Runtime": whole_attention,
    "RotaryEmbedding on heads": turned_heads,
    "RotaryEmbedding of ONNX Runtime": turned_rows,
    "GroupQueryAttention": grouped_queries,
    "GroupQueryAttention, packed": packed_queries,
    "SkipLayerNormalization": skip_norms,
    "SkipSimplifiedLayerNormalization": lambda: skip_norms(simple=True),
}
"""Networks with attention or norms in one node, by what is fused."""
