"""Networks written node by node, for what no exporter writes today but files contain."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser


def written(
    text: str, *, opset: int = 17, ir: int = 8, domains: tuple[str, ...] = (), **weights: object
) -> onnx.ModelProto:
    """Return the model of a graph in ONNX's own notation.

    Args:
        text: ``g (float[N, 6] x) => (float[N, 3] y) { ... }``; nodes are named after their output.
        opset: The version of the standard operators.
        ir: The version of the file format.
        domains: Further domains of operators, at version 1.
        weights: Initializers by name: an array, or a shape whose entries are drawn.
    """
    graph = parser.parse_graph(text)
    for node in graph.node:
        node.name = node.name or f"{node.output[0]}/{node.op_type}"
    generator = np.random.default_rng(0)
    for name, what in weights.items():
        if isinstance(what, tuple):
            fan_in = max(1, int(np.prod(what[1:])))
            what = (generator.standard_normal(what) * fan_in**-0.5).astype(np.float32)  # noqa: PLW2901  # a shape becomes its array
        graph.initializer.append(numpy_helper.from_array(np.asarray(what), name))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def unfolded() -> onnx.ModelProto:
    """Batch normalisation between a convolution and its ReLU, as training leaves it."""
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 3] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          n = BatchNormalization (a, scale, shift, mean, var)
          r = Relu (n)
          b = Conv (r, wb)
          s = Relu (b)
          p = GlobalAveragePool (s)
          f = Flatten (p)
          y = Gemm (f, wc)
        }""",
        wa=(4, 3, 3, 3), scale=(4,), shift=(4,), mean=(4,), var=np.full(4, 2, np.float32),
        wb=(5, 4, 3, 3), wc=(5, 3),
    )  # fmt: skip


def local_norm_node() -> onnx.ModelProto:
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 3] y) {
          a = Conv (x, wa)
          r = Relu (a)
          l = LRN <size = 3, alpha = 0.5> (r)
          f = Flatten (l)
          y = Gemm (f, wb)
        }""",
        wa=(4, 3, 3, 3), wb=(16, 3),
    )  # fmt: skip


def constants() -> onnx.ModelProto:
    """Weights in Constant nodes, one of them transposed when the model runs."""
    model = written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = MatMul (x, wa)
          r = Relu (a)
          wt = Transpose (wb)
          y = MatMul (r, wt)
        }""",
        wa=(6, 5), wb=(3, 5),
    )  # fmt: skip
    for weight in model.graph.initializer:
        node = helper.make_node("Constant", [], [weight.name], value=weight)
        model.graph.node.insert(0, node)
    del model.graph.initializer[:]
    return model


def listed() -> onnx.ModelProto:
    """A file of format 3, in which every initializer is an input as well."""
    model = written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa, ba)
          r = Relu (a)
          y = Gemm <transB = 1> (r, wb, bb)
        }""",
        opset=9, ir=3, wa=(6, 5), ba=(5,), wb=(3, 5), bb=(3,),
    )  # fmt: skip
    model.graph.input.extend(
        helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in model.graph.initializer
    )
    return model


_PLACES = """g (float[N, 3, 6, 6] x) => (float[N, 3] y) {{
  a = Conv (x, wa)
  d{mask} = Dropout {dropout}
  r = Clip {clip}
  s = Slice {slice}
  m = ReduceMean {reduce}
  u = Unsqueeze {unsqueeze}
  q = Squeeze {squeeze}
  y = Gemm (q, wb, bb)
}}"""


def old_places() -> onnx.ModelProto:
    """Axes and bounds as attributes, as opset 9 has them."""
    text = _PLACES.format(
        mask=", dropped", dropout="<ratio = 0.5> (a)", clip="<min = 0.0, max = 6.0> (d)",
        slice="<axes = [2], starts = [1], ends = [9]> (r)",
        reduce="<axes = [2, 3], keepdims = 1> (s)", unsqueeze="<axes = [4]> (m)",
        squeeze="<axes = [2, 3, 4]> (u)",
    )  # fmt: skip
    return written(text, opset=9, ir=4, wa=(4, 3, 3, 3), wb=(4, 3), bb=(3,))


def new_places() -> onnx.ModelProto:
    """The same axes and bounds as inputs, as opset 18 has them."""
    text = _PLACES.format(
        mask=", dropped", dropout="(a, ratio, training)", clip="(d, low, high)",
        slice="(r, starts, ends, axes)", reduce="<keepdims = 1> (s, places)",
        unsqueeze="(m, last)", squeeze="(u, all)",
    )  # fmt: skip
    return written(
        text, opset=18, wa=(4, 3, 3, 3), wb=(4, 3), bb=(3,), ratio=np.float32(0.5),
        training=np.bool_(False), low=np.float32(0), high=np.float32(6),
        starts=np.array([1]), ends=np.array([9]), axes=np.array([2]), places=np.array([2, 3]),
        last=np.array([4]), all=np.array([2, 3, 4]),
    )  # fmt: skip


def branching() -> onnx.ModelProto:
    """An If whose bodies read the units of a layer by weights, or leave them out."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          total = ReduceMax <keepdims = 0> (x)
          many = Greater (total, zero)
          c = If (many) <
            then_branch = t () => (float[N, 4] t1) { t0 = Gemm (r, wb) t1 = Relu (t0) },
            else_branch = e () => (float[N, 4] e1) { e0 = Gemm (r, wb) e1 = Tanh (e0) }
          >
          y = Gemm (c, wc)
        }""",
        wa=(6, 5), wb=(5, 4), wc=(4, 3), zero=np.float32(0),
    )  # fmt: skip


def foreign() -> onnx.ModelProto:
    """An operator of somebody else's, with weights, between two layers."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          c = org.example.Blend (r, wc)
          y = Gemm (c, wb)
        }""",
        domains=("org.example",), wa=(6, 5), wc=(5, 4), wb=(4, 3),
    )  # fmt: skip


def weightless() -> onnx.ModelProto:
    return written("g (float[N, 6] x) => (float[N, 6] y) { r = Relu (x) y = Softmax (r) }")


def binary() -> onnx.ModelProto:
    """Units that are on or off: the nonlinearity is of type bool until it is cast."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          on = Greater (a, zero)
          r = Cast <to = 1> (on)
          y = Gemm (r, wb)
        }""",
        wa=(6, 5), wb=(5, 3), zero=np.float32(0),
    )  # fmt: skip


def quantised() -> onnx.ModelProto:
    """Weights and activations rounded to 8 bits, two consumers of one rounded tensor."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          fa = DequantizeLinear (wa, step, nil)
          a = MatMul (x, fa)
          q = QuantizeLinear (a, step, half)
          r1 = DequantizeLinear (q, step, half)
          r2 = DequantizeLinear (q, step, half)
          b = MatMul (r1, wb)
          c = MatMul (r2, wc)
          y = Add (b, c)
        }""",
        wa=np.arange(-15, 15).reshape(6, 5).astype(np.int8), step=np.float32(0.05),
        nil=np.int8(0), half=np.uint8(128), wb=(5, 3), wc=(5, 3),
    )  # fmt: skip


def integer() -> onnx.ModelProto:
    """A convolution on 8-bit numbers, whose weights no rule reads."""
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 8] y) {
          q = QuantizeLinear (x, step, half)
          c = QLinearConv (q, step, half, w, step, nil, step, half)
          d = DequantizeLinear (c, step, half)
          y = Flatten (d)
        }""",
        step=np.float32(0.05), half=np.uint8(128), nil=np.int8(0),
        w=np.arange(-27, 27).reshape(2, 3, 3, 3).astype(np.int8),
    )  # fmt: skip


def halves() -> onnx.ModelProto:
    """float16 throughout."""
    return written(
        """g (float16[N, 6] x) => (float16[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          y = Gemm (r, wb)
        }""",
        wa=_drawn(6, 5).astype(np.float16), wb=_drawn(5, 3).astype(np.float16),
    )  # fmt: skip


def doubles() -> onnx.ModelProto:
    """float64 throughout."""
    return written(
        """g (double[N, 6] x) => (double[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          y = Gemm (r, wb)
        }""",
        wa=_drawn(6, 5), wb=_drawn(5, 3),
    )  # fmt: skip


def ends_in_depthwise() -> onnx.ModelProto:
    """The units of the last layer, one for each class, are scaled by a depthwise convolution."""
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 4] y) {
          a = Conv (x, wa)
          r = Relu (a)
          d = Conv <group = 4> (r, wd)
          y = Flatten (d)
        }""",
        wa=(4, 3, 3, 3), wd=(4, 1, 2, 2),
    )  # fmt: skip


def computed_bias() -> onnx.ModelProto:
    """A residual sum inside a Gemm: its third input is computed."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          b = Gemm (r, wb, r)
          s = Relu (b)
          y = Gemm (s, wc)
        }""",
        wa=(6, 5), wb=(5, 5), wc=(5, 3),
    )  # fmt: skip


def padded_shortcut() -> onnx.ModelProto:
    """A shortcut that drops places and adds channels of zeros."""
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 3] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, wb)
          half = Slice (r, starts, ends, axes, steps)
          more = Pad (half, pads)
          s = Add (b, more)
          t = Relu (s)
          p = GlobalAveragePool (t)
          f = Flatten (p)
          y = Gemm (f, wc)
        }""",
        wa=(4, 3, 3, 3), wb=(6, 4, 3, 3), wc=(6, 3), starts=np.array([0, 0]),
        ends=np.array([9, 9]), axes=np.array([2, 3]), steps=np.array([2, 2]),
        pads=np.array([0, 1, 0, 0, 0, 1, 0, 0]),
    )  # fmt: skip


def identity_skip() -> onnx.ModelProto:
    """Units summed with the model's own input: they cannot leave."""
    return written(
        """g (float[N, 5] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          s = Add (r, x)
          y = Gemm (s, wb)
        }""",
        wa=(5, 5), wb=(5, 3),
    )  # fmt: skip


def sizes_of_four() -> onnx.ModelProto:
    """A batch of four, and four sizes of the input, which look like a number for each example."""
    return written(
        """g (float[4, 3, 4, 5] x) => (float[4, 3] y) {
          sizes = Shape (x)
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          s = Reshape (r, sizes)
          f = Flatten (s)
          y = Gemm (f, wb)
        }""",
        wa=(3, 3, 3, 3), wb=(60, 3),
    )  # fmt: skip


def squeezed() -> onnx.ModelProto:
    """A batch of one that a Squeeze drops in the middle."""
    return written(
        """g (float[1, 3, 3, 3] x) => (float[1, 3] y) {
          a = Conv (x, wa)
          r = Relu (a)
          s = Squeeze (r)
          u = Unsqueeze (s, front)
          y = Gemm (u, wb)
        }""",
        wa=(4, 3, 3, 3), wb=(4, 3), front=np.array([0]),
    )  # fmt: skip


def flattened_first() -> onnx.ModelProto:
    """The nonlinearity of a convolution comes after its maps were flattened."""
    return written(
        """g (float[N, 3, 4, 4] x) => (float[N, 3] y) {
          a = Conv (x, wa)
          f = Flatten (a)
          r = Relu (f)
          y = Gemm (r, wb)
        }""",
        wa=(4, 3, 3, 3), wb=(16, 3),
    )  # fmt: skip


def looped() -> onnx.ModelProto:
    """A Loop that reads a layer's units from outside and begins with them."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          l = Loop (three, on, r) <
            body = b (int64 i, bool go, float[N, 5] h) => (bool more, float[N, 5] next) {
              more = Identity (go)
              g0 = Gemm (h, wl)
              g1 = Relu (g0)
              next = Add (g1, r)
            }
          >
          y = Gemm (l, wb)
        }""",
        wa=(6, 5), wb=(5, 3), wl=(5, 5), three=np.array(3), on=np.bool_(True),
    )  # fmt: skip


def doubled() -> onnx.ModelProto:
    """Units beside themselves."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          c = Concat <axis = 1> (r, r)
          y = Gemm (c, wb)
        }""",
        wa=(6, 5), wb=(10, 3),
    )  # fmt: skip


def squared() -> onnx.ModelProto:
    """The nonlinearity is a product of the units with themselves, in one node."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          s = Mul (a, a)
          y = Gemm (s, wb)
        }""",
        wa=(6, 5), wb=(5, 3),
    )  # fmt: skip


def split() -> onnx.ModelProto:
    """One layer whose units are cut into values and gates."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          p, q = Split <axis = 1> (a)
          s = Sigmoid (q)
          m = Mul (p, s)
          y = Gemm (m, wb)
        }""",
        wa=(6, 8), wb=(4, 3),
    )  # fmt: skip


def crossed() -> onnx.ModelProto:
    """A sum in which the units of one layer lie along the places of the other's."""
    return written(
        """g (float[N, 4, 5] x) => (float[N, 3] y) {
          a = MatMul (x, wa)
          t = Transpose <perm = [0, 2, 1]> (a)
          b = MatMul (x, wb)
          s = Add (t, b)
          r = Relu (s)
          f = Flatten (r)
          y = Gemm (f, wc)
        }""",
        wa=(5, 4), wb=(5, 4), wc=(16, 3),
    )  # fmt: skip


_FLAT = """g (float[N, 3, 4, 4] x, float[N, 6] z) => (float[N, 3] y) {{
  a = Conv (x, wa)
  r = Relu (a)
  f = Flatten (r)
  b = Gemm (z, wb)
  s = Relu (b)
  c = {join} (f, s)
  y = Gemm (c, wc)
}}"""


def flat_beside() -> onnx.ModelProto:
    """Flattened maps, four entries each, beside units of one entry."""
    text = _FLAT.format(join="Concat <axis = 1>")
    return written(text, wa=(4, 3, 3, 3), wb=(6, 8), wc=(24, 3))


def flat_sum() -> onnx.ModelProto:
    """Flattened maps in a sum with units of one entry."""
    return written(_FLAT.format(join="Add"), wa=(4, 3, 3, 3), wb=(6, 16), wc=(16, 3))


def embedded() -> onnx.ModelProto:
    """Whole numbers in, an embedding by Gather, and a table added: weights that no rule reads."""
    return written(
        """g (int64[N, 4] x) => (float[N, 3] y) {
          e = Gather (table, x)
          p = Add (e, places)
          a = MatMul (p, wa)
          r = Relu (a)
          m = ReduceMean <axes = [1], keepdims = 0> (r)
          y = Gemm (m, wb)
        }""",
        table=(10, 6), places=(4, 6), wa=(6, 5), wb=(5, 3),
    )  # fmt: skip


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


NETS: dict[str, Callable[[], onnx.ModelProto]] = {
    "unfolded": unfolded,
    "local norm node": local_norm_node,
    "constants": constants,
    "listed": listed,
    "old places": old_places,
    "new places": new_places,
    "branching": branching,
    "foreign": foreign,
    "weightless": weightless,
    "binary": binary,
    "quantised": quantised,
    "integer": integer,
    "halves": halves,
    "doubles": doubles,
    "ends in depthwise": ends_in_depthwise,
    "computed bias": computed_bias,
    "padded shortcut": padded_shortcut,
    "identity skip": identity_skip,
    "sizes of four": sizes_of_four,
    "squeezed": squeezed,
    "flattened first": flattened_first,
    "looped": looped,
    "doubled": doubled,
    "squared": squared,
    "split": split,
    "crossed": crossed,
    "flat beside": flat_beside,
    "flat sum": flat_sum,
    "embedded": embedded,
}
