"""What becomes of each operator's constants when units that pass it leave.

The law is that of ``test_slicing``; networks are written for the operator.
"""

import numpy as np
import pytest

from frivkit.errors import ModelError
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from tests.handmade import written
from tests.nets import network, opened
from tests.surgery import (
    agrees,
    as_model,
    check,
    close,
    drawn,
    masked_consumers,
    narrowed,
    run,
    shapes,
)


def test_a_weight_that_writes_and_reads_units(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 4] y) {
      a = Gemm (x, w)
      r = Relu (a)
      y = Gemm <transB = %d> (r, w)
    }"""
    assert shapes(agrees(written(text % 1, w=(4, 4)), tmp_path, r=[0, 3])) == {"w": [4, 2]}
    with pytest.raises(ModelError, match="is that of a/Gemm, too, which needs all of it"):
        narrowed(written(text % 0, w=(4, 4)), tmp_path, r=[0, 3])


def test_a_weight_used_twice_alike_stays_one(tmp_path):
    model = opened(network("siamese"), tmp_path / "m.onnx")
    found = find_sites(model)
    keep = drawn(find_groups(model, found), 1)
    assert len(narrow(model, found, keep).graph.initializers) == len(model.graph.initializers)


def test_a_weight_that_another_node_reads_whole_stays(tmp_path):
    proto = written(
        """g (float[N, 6] x) => (float[N, 5] y, float[N, 5] z) {
          a = Gemm (x, w)
          r = Relu (a)
          y = Gemm (r, v)
          z = MatMul (x, w)
        }""",
        w=(6, 5), v=(5, 5),
    )  # fmt: skip
    with pytest.raises(ModelError, match="'w' is that of z/MatMul, too, which needs all of it"):
        narrowed(proto, tmp_path, r=[2])


def test_computed_weights_are_computed_from_less(tmp_path):
    """Quantised for each unit, transposed, and read by two nodes of which one stays whole."""
    proto = written(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 5] z) {
          f = DequantizeLinear <axis = 0> (w, step, nil)
          t = Transpose (f)
          a = MatMul (x, t)
          r = Relu (a)
          y = MatMul (r, v)
          z = MatMul (x, t)
        }""",
        w=np.arange(-15, 15).reshape(5, 6).astype(np.int8), v=(5, 3),
        step=np.linspace(0.01, 0.1, 5).astype(np.float32), nil=np.zeros(5, np.int8),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, r=[0, 3])
    assert shapes(compressed)["w#2"] == [3, 6]
    assert shapes(compressed)["w"] == [5, 6]


def test_weights_in_constant_nodes(tmp_path):
    compressed = agrees(network("constants"), tmp_path, r=[1, 4])
    sizes = [node.outputs[0].shape for node in compressed.graph if node.op_type == "Constant"]
    assert [tuple(size) for size in sizes] == [(6, 3)]
    assert shapes(compressed) == {"wt": [3, 3]}  # transposed once, on reading


def test_constants_that_are_spread_over_units(tmp_path):
    agrees(
        written(
            """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
              a = Conv (x, w)
              b = Mul (scale, a)
              c = Sub (b, shift)
              d = Div (c, one)
              e = PRelu (d, slope)
              i = InstanceNormalization (e, wide, high)
              k = Add (i, full)
              f = Flatten (k)
              g = Add (f, flat)
              y = Gemm (g, v)
            }""",
            w=(5, 3, 3, 3), scale=(5, 1, 1), shift=(1, 5, 1, 1), one=(1,), slope=(5, 1, 1),
            wide=(5,), high=(5,), full=(5, 2, 2), flat=(20,), v=(20, 2),
        ),
        tmp_path,
        e=[0, 3],
    )  # fmt: skip


def test_a_gemm_that_scales(tmp_path):
    agrees(
        written(
            """g (float[N, 6] x) => (float[N, 3] y) {
              a = Gemm <alpha = 0.5, beta = 2.0> (x, w, b)
              r = Relu (a)
              y = Gemm <transB = 1> (r, v)
            }""",
            w=(6, 5), b=(1, 5), v=(3, 5),
        ),
        tmp_path,
        r=[2],
    )  # fmt: skip


def test_a_depthwise_convolution_that_makes_two_of_each(tmp_path):
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
          a = Conv (x, w)
          r = Relu (a)
          b = Conv <group = 4> (r, d, e)
          s = Relu (b)
          f = Flatten (s)
          y = Gemm (f, v)
        }""",
        w=(4, 3, 3, 3), d=(8, 1, 1, 1), e=(8,), v=(32, 2),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, r=[1], s=[2, 3])
    assert shapes(compressed) == {"w": [3, 3, 3, 3], "d": [6, 1, 1, 1], "e": [6], "v": [24, 2]}
    assert (
        next(node for node in compressed.graph if node.name == "b/Conv").attributes["group"].value
        == 3
    )


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_whole_groups_of_a_grouped_convolution_leave(op, tmp_path):
    proto = written(
        f"""g (float[N, 3, 4, 4] x) => (float[N, 2] y) {{
          a = Conv (x, w)
          r = Relu (a)
          b = {op} <group = 3> (r, d, e)
          s = Relu (b)
          f = Flatten (s)
          y = Gemm (f, v)
        }}""",
        w=(6, 3, 3, 3), d=(6, 2, 1, 1), e=(6,), v=(24, 2),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, r=[2, 3], s=[2, 3])
    assert shapes(compressed)["d"] == [4, 2, 1, 1]
    with pytest.raises(ModelError, match=r"unit 2 of layer .* others of its group"):
        narrowed(proto, tmp_path, r=[2], s=[2])


def test_quantisers_with_a_scale_for_each_unit(tmp_path):
    proto = written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = MatMul (x, w)
          r = Relu (a)
          q = QuantizeLinear (r, step, half)
          d = DequantizeLinear (q, step, half)
          y = MatMul (d, v)
        }""",
        w=(6, 5), v=(5, 3), step=np.linspace(0.01, 0.1, 5).astype(np.float32),
        half=np.arange(5).astype(np.uint8),
    )  # fmt: skip
    assert shapes(agrees(proto, tmp_path, r=[1]))["half"] == [4]


_RESHAPED = """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {{
  a = Conv (x, w)
  r = Relu (a)
  {middle}
  y = Gemm (f, v)
}}"""


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    ("middle", "constants"),
    [
        ("f = Reshape (r, to)", {"to": np.array([-1, 20])}),
        ("f = Reshape (r, to)", {"to": np.array([0, -1])}),
        ("t = Reshape (r, to) f = Flatten (t)", {"to": np.array([0, 0, 4])}),
        ("t = Reshape (r, to) f = Flatten (t)", {"to": np.array([0, 5, -1])}),
        (
            "n = Shape (r) b = Gather (n, nil) t = Concat <axis = 0> (b, to) f = Reshape (r, t)",
            {"nil": np.array([0]), "to": np.array([20])},
        ),
        (  # the length of the unit axis is read from the units themselves
            "n = Shape (r) b = Gather (n, two) t = Concat <axis = 0> (b, to)"
            " u = Reshape (r, t) f = Flatten (u)",
            {"two": np.array([0, 1]), "to": np.array([4])},
        ),
    ],
)
def test_a_reshape_that_names_or_reads_the_number_of_units(middle, constants, opset, tmp_path):
    text = _RESHAPED.format(middle=middle)
    proto = written(text, opset=opset, w=(5, 3, 3, 3), v=(20, 2), **constants)
    agrees(proto, tmp_path, r=[0, 2])


def test_a_reshape_where_sizes_are_open(tmp_path):
    """Places are of any number, so that the computed shape must stay computed."""
    proto = written(
        """g (float[N, 3, H, 4] x) => (float[N, 2] y) {
          a = Conv (x, w)
          r = Relu (a)
          n = Shape (r)
          h = Gather (n, ends)
          t = Concat <axis = 0> (h, last)
          s = Reshape (r, t)
          m = ReduceMean <axes = [2], keepdims = 0> (s)
          y = Gemm (m, v)
        }""",
        w=(5, 3, 1, 1), v=(5, 2), ends=np.array([0, 1]), last=np.array([-1]),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx", input_shape="1x3x6x4")
    found = find_sites(model)
    keep = {"r": np.arange(5) > 1}
    compressed = narrow(model, found, keep)
    check(compressed)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 4)).astype(np.float32)}
    close(run(compressed, feeds), run(masked_consumers(model, found, keep), feeds))
    half = as_model(narrow(model, found, {"r": np.arange(5) > 0}), model)
    twice = narrow(half, find_sites(half), {"r": np.arange(4) > 0})  # lengths are kept down again
    check(twice)
    close(run(twice, feeds), run(compressed, feeds), 0)


def test_numbers_computed_from_a_shape_stay_what_they_were(tmp_path):
    """A sum over units' places is divided by the number of units, read from the tensor."""
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
          a = Conv (x, w)
          r = Relu (a)
          n = Shape (r)
          c = Gather (n, one)
          f = Cast <to = 1> (c)
          d = Div (r, f)
          u = Flatten (d)
          y = Gemm (u, v)
        }""",
        w=(5, 3, 3, 3), v=(20, 2), one=np.array(1),
    )  # fmt: skip
    agrees(proto, tmp_path, r=[1, 2])


def test_gates_that_are_spread_over_places_by_shape(tmp_path):
    """``gate.expand_as(x)``: the shape of one tensor is what another is spread to."""
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
          a = Conv (x, w)
          r = Relu (a)
          p = GlobalAveragePool (r)
          b = Conv (p, d)
          s = Sigmoid (b)
          n = Shape (r)
          e = Expand (s, n)
          m = Mul (r, e)
          f = Flatten (m)
          y = Gemm (f, v)
        }""",
        w=(5, 3, 3, 3), d=(5, 5, 1, 1), v=(20, 2),
    )  # fmt: skip
    agrees(proto, tmp_path, r=[1, 2], s=[1, 2])


@pytest.mark.parametrize("computed", [False, True])
def test_a_resize_to_sizes(computed, tmp_path):
    sizes = "k = Shape (r) n = Slice (k, nil, two) t = Concat <axis = 0> (n, last)"
    proto = written(
        f"""g (float[1, 3, 4, 4] x) => (float[1, 2] y) {{
          a = Conv (x, w)
          r = Relu (a)
          {sizes if computed else ""}
          z = Resize <mode = "nearest"> (r, , , {"t" if computed else "whole"})
          f = Flatten (z)
          y = Gemm (f, v)
        }}""",
        w=(5, 3, 3, 3), v=(80, 2), nil=np.array([0]), two=np.array([2]), last=np.array([4, 4]),
        whole=np.array([1, 5, 4, 4]),
    )  # fmt: skip
    agrees(proto, tmp_path, r=[4])


def test_constants_beside_units(tmp_path):
    """On their axis a constant stays whole; on another it loses what they lose."""
    proto = written(
        """g (float[2, 3, 6] x) => (float[2, 3, 2] y) {
          a = MatMul (x, w)
          r = Relu (a)
          c = Concat <axis = 1> (r, row)
          d = Concat <axis = 2> (c, column)
          p = ReduceMean <axes = [1], keepdims = 1> (d)
          e = Expand (p, to)
          y = MatMul (e, v)
        }""",
        w=(6, 5), row=(2, 1, 5), column=(2, 4, 2), v=(7, 2), to=np.array([1, 3, 7]),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, r=[0, 2])
    assert shapes(compressed)["row"] == [2, 1, 3]
    assert shapes(compressed)["v"] == [5, 2]
    assert compressed.graph.initializers["to"].const_value.numpy().tolist() == [1, 3, 5]


UNPOOLED = """g (float[N, 3, 6, 6] x) => (float[N, 2] y) {{
  a = Conv <pads = [1, 1, 1, 1]> (x, wa)
  r = Relu (a)
  p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
  u = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (p, i)
  b = Conv <strides = [2, 2]> (u, wb)
  {more}
  m = GlobalMaxPool (b)
  f = Flatten (m)
  y = Gemm (f, wc)
}}"""


def test_unpooling_puts_maxima_back_where_they_were(tmp_path):
    proto = written(UNPOOLED.format(more=""), wa=(5, 3, 3, 3), wb=(4, 5, 3, 3), wc=(4, 2))
    assert shapes(agrees(proto, tmp_path, r=[0, 3], b=[1]))["wb"] == [3, 3, 3, 3]


def test_places_of_maxima_that_are_computed_with_hold_their_units(tmp_path):
    proto = written(
        UNPOOLED.format(more="n = Cast <to = 1> (i) k = ReduceMax <axes = [2, 3]> (n)"),
        wa=(5, 3, 3, 3), wb=(4, 5, 3, 3), wc=(4, 2),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx")
    groups = find_groups(model, find_sites(model))
    assert "numbered over all channels" in (groups.reason("r") or "")


@pytest.mark.parametrize(
    ("mode", "shuffled"),
    [
        ('DepthToSpace <blocksize = 2, mode = "DCR"> (r)', [0, 3, 6, 9]),
        ('DepthToSpace <blocksize = 2, mode = "CRD"> (r)', [0, 1, 2, 3]),
    ],
)
def test_a_pixel_shuffle_loses_whole_channels(mode, shuffled, tmp_path):
    proto = written(
        f"""g (float[N, 3, 3, 3] x) => (float[N, 2] y) {{
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          s = {mode}
          d = SpaceToDepth <blocksize = 3> (s)
          b = Conv (d, wb)
          f = Flatten (b)
          y = Gemm (f, wc)
        }}""",
        wa=(12, 3, 3, 3), wb=(4, 27, 1, 1), wc=(16, 2),
    )  # fmt: skip
    assert shapes(agrees(proto, tmp_path, r=shuffled))["wb"] == [4, 18, 1, 1]


def test_a_pixel_shuffle_that_is_written_by_reshapes(tmp_path):
    proto = written(
        """g (float[N, 3, 3, 3] x) => (float[N, 2] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          s = Reshape (r, blocks)
          t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)
          u = Reshape (t, maps)
          b = Conv (u, wb)
          m = GlobalMaxPool (b)
          f = Flatten (m)
          y = Gemm (f, wc)
        }""",
        wa=(12, 3, 3, 3), wb=(4, 3, 3, 3), wc=(4, 2), blocks=np.array([0, 3, 2, 2, 3, 3]),
        maps=np.array([0, 3, 6, 6]),
    )  # fmt: skip
    assert shapes(agrees(proto, tmp_path, r=[4, 5, 6, 7]))["wb"] == [4, 2, 3, 3]


CHOSEN = """g (float[N, 3, 6] x) => (float[N, 2] y) {{
  a = Conv (x, wa)
  r = Relu (a)
  {nodes}
  b = Conv (c, wb)
  m = GlobalMaxPool (b)
  f = Flatten (m)
  y = Gemm (f, wc)
}}"""


@pytest.mark.parametrize(
    ("nodes", "length"),
    [
        ("v, i = TopK <axis = 2> (r, k) c = GatherElements <axis = 2> (r, i)", 3),
        ("i = ArgMax <axis = 2> (r) n = Cast <to = 1> (i) c = Add (r, n)", 3),
        ("v, i = TopK <axis = 2> (r, k) c = ScatterElements <axis = 2> (r, i, v)", 3),
    ],
)
def test_entries_that_are_chosen_along_another_axis(nodes, length, tmp_path):
    proto = written(
        CHOSEN.format(nodes=nodes), wa=(5, 3, 3), wb=(4, 5, 1), wc=(4, 2), k=np.array([2])
    )
    assert shapes(agrees(proto, tmp_path, r=[0, 3]))["wb"] == [4, length, 1]


def test_maps_that_are_sampled_in_regions(tmp_path):
    proto = written(
        """g (float[N, 3, 8, 8] x, float[N, 4] rois, int64[N] of) => (float[N, 2] y) {
          a = Conv (x, wa)
          r = Relu (a)
          c = RoiAlign <output_height = 3, output_width = 3> (r, rois, of)
          b = Conv (c, wb)
          f = Flatten (b)
          y = Gemm (f, wc)
        }""",
        wa=(5, 3, 3, 3), wb=(4, 5, 3, 3), wc=(4, 2),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    keep = {"r": np.arange(5) > 1}
    compressed = narrow(model, found, keep)
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.standard_normal((3, 3, 8, 8)).astype(np.float32),
        "rois": np.array([[0, 0, 4, 5], [1, 1, 5, 5], [2, 0, 5, 3]], np.float32),
        "of": np.array([2, 0, 1]),
    }
    whole = {site.name: np.ones(site.width, bool) for site in found.sites}
    close(run(compressed, feeds), run(masked_consumers(model, found, whole | keep), feeds))


def test_attention_between_branches_that_are_stacked(tmp_path):
    """Weights of two branches are units of one layer; a softmax is taken over the branches."""
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
          a = Conv (x, wa)
          ra = Relu (a)
          b = Conv (x, wb)
          rb = Relu (b)
          ua = Unsqueeze (ra, one)
          ub = Unsqueeze (rb, one)
          u = Concat <axis = 1> (ua, ub)
          m = ReduceMean <axes = [1, 3, 4], keepdims = 0> (u)
          g = Gemm (m, wg)
          h = Reshape (g, branches)
          p = Softmax <axis = 1> (h)
          w = Unsqueeze (p, places)
          z = Mul (u, w)
          s = ReduceSum <keepdims = 0> (z, one)
          f = GlobalAveragePool (s)
          t = Flatten (f)
          y = Gemm (t, wy)
        }""",
        wa=(5, 3, 3, 3), wb=(5, 3, 3, 3), wg=(5, 10), wy=(5, 2), one=np.array([1]),
        branches=np.array([0, 2, 5]), places=np.array([3, 4]),
    )  # fmt: skip
    compressed = agrees(proto, tmp_path, ra=[0, 3], rb=[0, 3], g=[0, 3, 5, 8])
    assert shapes(compressed)["wg"] == [3, 6]
    assert shapes(compressed)["wy"] == [3, 2]
