"""The residual stream leaves behind norms, whose statistics count what has left as zeros."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from tests import surgery
from tests.handmade import written
from tests.nets import opened
from tests.zoo.files import opened_file
from tests.zoo.transformer_files import TRANSFORMERS, transformer

FEEDS = {"x": np.random.default_rng(1).standard_normal((3, 7, 5)).astype(np.float32)}


def feeds_of(name: str) -> dict[str, np.ndarray]:
    known = TRANSFORMERS.get(name)
    if known is None:
        return FEEDS
    arrays = (tensor.numpy() for tensor in known.examples(3, seed=1))
    return dict(zip(known.names, arrays, strict=True))


def stream_flags(found, groups, seed: int) -> dict[str, np.ndarray]:
    """Draw which units of the residual stream stay, into which the last site writes."""
    (stream,) = [each.sites for each in found.couplings if found.sites[-1].name in each.sites]
    drawn = surgery.drawn(groups, seed, share=0.6)
    return {name: drawn[name] for name in stream}


@pytest.mark.parametrize(
    "name",
    [
        "apart",  # layer norms before
        "apart, behind",  # and behind, where the stream is what a norm gives
        "torch, before",  # a stream that two exporters' layers write
        "masked words",  # the stream begins with embedded words, in which no units lie
        "LayerNorm in pieces",
        "RMSNorm in pieces",
        "Llama",
        "RotaryEmbedding",  # the RMSNormalization of opset 23
        "SkipLayerNormalization",  # sums and norms that ONNX Runtime fused
        "SkipSimplifiedLayerNormalization",
    ],
)
def test_a_thinner_stream_is_one_of_which_norms_and_weights_read_zeros(name, tmp_path):
    onnx.save(transformer(name), tmp_path / "m.onnx")
    model = opened_file(tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    keep = stream_flags(found, groups, seed=len(name))
    assert not all(flags.all() for flags in keep.values())
    compressed = narrow(model, found, keep)
    surgery.check(compressed)
    whole = {site.name: np.ones(site.width, bool) for site in found.sites}
    feeds = feeds_of(name)
    wanted = surgery.run(surgery.masked_consumers(model, found, whole | keep), feeds)
    surgery.close(surgery.run(compressed, feeds), wanted)


def test_norms_in_pieces_lose_units_as_the_norm_in_one_node_does(tmp_path):
    """The same weights in both files, and an epsilon that is the same, too."""
    compressed = []
    for number, name in enumerate(("LayerNorm in pieces", "one node")):
        path = tmp_path / f"{number}.onnx"
        onnx.save(transformer(name) if number == 0 else _in_one_node(), path)
        model = opened_file(path)
        found = find_sites(model)
        keep = stream_flags(found, find_groups(model, found), seed=3)
        compressed.append(surgery.run(narrow(model, found, keep), FEEDS))
    surgery.close(*compressed)


def _in_one_node() -> onnx.ModelProto:
    from dataclasses import replace

    from tests.nets import draw
    from tests.zoo.files import exported_net
    from tests.zoo.transformers import SHAPES, Transformer

    known = TRANSFORMERS["LayerNorm in pieces"]
    net = Transformer(replace(SHAPES["LayerNorm in pieces"], norm="layer"))
    draw(net)
    return onnx.load_from_string(exported_net(known, net.eval(), "legacy 17"))


@pytest.mark.parametrize("norm", ["LayerNormalization", "RMSNormalization"])
def test_a_norm_keeps_an_epsilon_that_matters(norm, tmp_path):
    shift = ", shift" if norm == "LayerNormalization" else ""
    more = {"shift": np.arange(6, dtype=np.float32)} if shift else {}
    proto = written(
        f"""g (float[N, 4] x) => (float[N, 3] y) {{
          a = Gemm (x, wa)
          n = {norm} <epsilon = 0.7> (a, scale{shift})
          y = Gemm (n, wb)
        }}""",
        opset=23, ir=11, wa=(4, 6), wb=(6, 3), scale=np.arange(1, 7, dtype=np.float32), **more,
    )  # fmt: skip
    surgery.agrees(proto, tmp_path, a=[1, 4])


def test_what_meets_units_and_has_none_is_selected_once(tmp_path):
    proto = written(
        """g (float[N, 5] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          s = Add (r, x)
          t = Mul (s, x)
          y = Gemm (t, wb)
        }""",
        wa=(5, 5), wb=(5, 3),
    )  # fmt: skip
    compressed = surgery.agrees(proto, tmp_path, r=[0, 3])
    assert sum(node.op_type == "Gather" for node in compressed.graph) == 1


def test_a_narrowed_norm_can_be_read_again(tmp_path):
    onnx.save(transformer("apart"), tmp_path / "m.onnx")
    model = opened_file(tmp_path / "m.onnx")
    found = find_sites(model)
    compressed = narrow(model, found, stream_flags(found, find_groups(model, found), seed=1))
    again = opened(ir.to_proto(compressed), tmp_path / "thin.onnx")
    locked = find_groups(again, find_sites(again))
    assert locked.free.any()
    surgery.close(surgery.run(again.ir, FEEDS), surgery.run(compressed, FEEDS))


def test_a_mean_of_units_that_is_no_norm_holds_them(tmp_path):
    """Attention over places by the mean of the maps (CBAM, Woo 2018) is not a norm of them."""
    proto = written(
        """g (float[N, 4, 5] x) => (float[N, 3] y) {
          a = MatMul (x, wa)
          m = ReduceMean <axes = [2], keepdims = 1> (a)
          z = Sigmoid (m)
          s = Mul (a, z)
          p = ReduceMean <axes = [1], keepdims = 0> (s)
          y = Gemm (p, wb)
        }""",
        wa=(5, 6), wb=(6, 3),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    assert "ReduceMean over the axis" in (find_groups(model, found).reason("a") or "")
