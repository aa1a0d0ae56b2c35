"""What each operator does to units, case by case."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.graph.layout import Layout
from frivkit.graph.operators.effects import Consumed, Coupled, Effect, Kept, Untraceable
from frivkit.graph.operators.table import effect
from frivkit.graph.shapes import infer_shapes
from tests.handmade import written

MAPS = Layout.of(1, 8)  # in x of shape (N, 8, 4, 4)
ROWS = Layout.of(2, 8)  # in x of shape (N, 5, 8)
FLAT = Layout.of(1, 8, inner=16)  # in x of shape (N, 128): maps of 4 x 4, flattened
EIGHT = np.arange(8)
ONE = Layout.of(1, 1)  # in x of shape (N, 1, 4, 4)
SHAPES = {MAPS: "N, 8, 4, 4", ROWS: "N, 5, 8", FLAT: "N, 128", ONE: "N, 1, 4, 4"}
INDEX = {"index", "opset", "domains"}


def at(axis: int, **more: int) -> Kept:
    """Say that the eight units lie on another axis, with places moved."""
    return Kept(Layout.of(axis, 8, **more), moves_positions=True)


def case(node: str, layout: Layout, wanted: Any, **more: Any) -> Any:
    """Pair a node, which reads x, perhaps z of the same shape, with what becomes of x's units.

    ``more`` holds ``index``, ``opset``, ``domains`` and the node's constants.
    """
    return pytest.param(node, layout, wanted, more, id=f"{node} {SHAPES[layout]}")


def effect_of(node: str, layout: Layout, more: dict[str, Any]) -> Effect:
    shape = SHAPES[layout]
    inputs = f"float[{shape}] x, float[{shape}] z, float[N] v, float step, int64[N] k"
    how = {name: more[name] for name in ("opset", "domains") if name in more}
    weights = {name: what for name, what in more.items() if name not in INDEX}
    proto = written(f"g ({inputs}) => (float[] y) {{ {node} }}", **how, **weights)
    model = ir.from_proto(proto)
    infer_shapes(model)
    (consumer,) = (node for node in model.graph if any(v.name == "x" for v in node.inputs))
    return effect(consumer, more.get("index", 0), layout)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


MAPS_BENT, MAPS_MOVED = Kept(MAPS, nonlinear=True), Kept(MAPS, moves_positions=True)
ROWS_MOVED, FLAT_MOVED = Kept(ROWS, moves_positions=True), Kept(FLAT, moves_positions=True)
BOUND = np.float32(1)


def laid_out(units, *axes):
    return Kept(Layout(axes or (1,), np.array(units)), moves_positions=True)


KEPT = [
    case("y = Identity (x)", MAPS, Kept(MAPS)),
    case("y = Relu (x)", MAPS, MAPS_BENT),
    case("y = Clip (x, low, high)", MAPS, MAPS_BENT, low=BOUND, high=BOUND),
    case("y = Clip (x, , high)", MAPS, MAPS_BENT, high=BOUND),
    case("y = Clip <min = 0.0, max = 6.0> (x)", MAPS, MAPS_BENT, opset=6),
    case("y = Dropout (x)", MAPS, Kept(MAPS), opset=9),
    case("y, m = Dropout (x, r, t)", MAPS, Kept(MAPS), r=BOUND, t=np.bool_(True)),
    case("y = Add (x, c)", MAPS, Kept(MAPS), c=(8, 1, 1)),
    case("y = Add (c, x)", MAPS, Kept(MAPS), c=(8, 1, 1), index=1),
    case("y = Add (x, c)", ROWS, Kept(Layout.of(3, 8)), c=(2, 1, 1, 8)),
    case("y = Div (x, c)", MAPS, Kept(MAPS), c=(1,)),
    case("y = Div (c, x)", MAPS, MAPS_BENT, c=(1,), index=1),
    case("y = PRelu (x, c)", MAPS, MAPS_BENT, c=(8, 1, 1)),
    case("on = Greater (x, c) y = Cast <to = 1> (on)", MAPS, MAPS_BENT, c=(1,)),
    case("y = CastLike (x, z)", MAPS, Kept(MAPS)),
    case("y = com.microsoft.QuickGelu (x)", MAPS, MAPS_BENT, domains=("com.microsoft",)),
    case("y = BatchNormalization (x, b, b, b, b)", MAPS, Kept(MAPS), b=(8,)),
    case(
        "y, m, w = BatchNormalization <training_mode = 1> (x, b, b, b, b)",
        MAPS,
        Kept(MAPS),
        b=(8,),
    ),
    case("y = InstanceNormalization (x, b, b)", MAPS, Kept(MAPS), b=(8,)),
    case("y = QuantizeLinear (x, step)", MAPS, Kept(MAPS)),
    case("y = LRN <size = 3> (x)", MAPS, MAPS_MOVED),
    case("y = LayerNormalization (x, b, b)", ROWS, ROWS_MOVED, b=(8,)),
    case("y = Softmax (x)", ROWS, ROWS_MOVED),
    case("y = MaxPool <kernel_shape = [2, 2]> (x)", MAPS, MAPS_MOVED),
    case("y, i = MaxPool <kernel_shape = [2, 2]> (x)", MAPS, MAPS_MOVED),
    case("y = GlobalAveragePool (x)", MAPS, MAPS_MOVED),
    case("y = Pad (x, p)", MAPS, MAPS_MOVED, p=ints(0, 0, 1, 1, 0, 0, 1, 1)),
    case("y = Pad (x, p, , t)", MAPS, MAPS_MOVED, p=ints(1, 1), t=ints(-1), opset=18),
    case("y = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1]> (x)", MAPS, MAPS_MOVED, opset=9),
    case("y = Resize (x, , f)", MAPS, MAPS_MOVED, f=np.float32([1, 1, 2, 2])),
    case("y = Upsample (x, f)", MAPS, MAPS_MOVED, f=np.float32([1, 1, 2, 2]), opset=9),
    case("y = Tile (x, t)", MAPS, MAPS_MOVED, t=ints(1, 1, 2, 1)),
    case("y = Expand (x, t)", ROWS, at(3), t=ints(3, 1, 1, 8)),
    case("y = Slice (x, a, b, c)", MAPS, MAPS_MOVED, a=ints(1), b=ints(3), c=ints(-1)),
    case("y = Slice (x, a, b)", MAPS, MAPS_MOVED, a=ints(0, 0), b=ints(9, 9)),
    case("y = Slice <starts = [1], ends = [3], axes = [2]> (x)", MAPS, MAPS_MOVED, opset=9),
    case("y = Transpose <perm = [0, 2, 3, 1]> (x)", MAPS, at(3)),
    case("y = Transpose <perm = [1, 0, 2]> (x)", ROWS, at(2)),
    case("y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", MAPS, MAPS_MOVED),
    case("y = ReduceMean <axes = [-2], keepdims = 0> (x)", ROWS, at(1)),
    case("y = ReduceMean <keepdims = 0> (x, t)", ROWS, at(1), t=ints(1), opset=18),
    case("y = ReduceSum (x, t)", MAPS, MAPS_MOVED, t=ints(2, 3)),
    case("y = Flatten (x)", MAPS, FLAT_MOVED),
    case("y = Flatten <axis = -1> (x)", ROWS, at(1)),
    case("y = Reshape (x, t)", MAPS, FLAT_MOVED, t=ints(0, -1)),
    case("y = Reshape (x, t)", MAPS, MAPS_MOVED, t=ints(0, 8, 16)),
    case("y = Reshape (x, t)", MAPS, at(2), t=ints(0, 1, 8, 2, 8)),
    case("y = Reshape (x, t)", ROWS, at(1), t=ints(-1, 8)),
    case("y = Reshape (x, t)", ROWS, at(1, outer=5), t=ints(0, 40)),
    case("y = Reshape (x, t)", FLAT, FLAT_MOVED, t=ints(0, 128, 1, 1)),
    case("y = Unsqueeze (x, t)", ROWS, at(3), t=ints(1)),
    case("y = Unsqueeze <axes = [1]> (x)", ROWS, at(3), opset=11),
    case("y = MatMul (x, w)", MAPS, MAPS_MOVED, w=(4, 7)),
    case("y = MatMul (w, x)", ROWS, ROWS_MOVED, w=(3, 5), index=1),
    case("y = MatMul (x, t)", MAPS, Kept(Layout.of(2, 8), moves_positions=True), t=(2, 1, 1, 4, 3)),
    case("y = Pad (x, p)", MAPS, laid_out([-1, *range(8), -1]), p=ints(0, 1, 0, 0, 0, 1, 0, 0)),
    case("y = Pad (x, p)", MAPS, laid_out([*range(1, 8), -1]), p=ints(0, -1, 0, 0, 0, 1, 0, 0)),
    case("y = Slice (x, a, b, c)", MAPS, laid_out([*range(1, 8)]), a=ints(1), b=ints(8), c=ints(1)),
    case(
        "y = Slice (x, a, b, c, d)",
        MAPS,
        laid_out([*reversed(range(8))]),
        a=ints(-1),
        b=ints(-9),
        c=ints(1),
        d=ints(-1),
    ),
    case("y = Gather <axis = 1> (x, i)", MAPS, laid_out([3, 7, 3]), i=ints(3, -1, 3)),
    case("y = Gather <axis = 1> (x, i)", ROWS, at(1), i=np.array(2)),
    case("y = Transpose <perm = [1, 0, 2, 3]> (x)", MAPS, at(0)),
    case("y = Reshape (x, t)", MAPS, laid_out(EIGHT.reshape(2, 4), 1, 2), t=ints(0, 2, 4, 4, 4)),
    case("y = Reshape (x, t)", FLAT, at(1), t=ints(0, 8, 16)),
    case(
        "y = Reshape (x, t)", ROWS, laid_out(np.arange(40).reshape(8, 5) % 8, 1, 2), t=ints(0, 8, 5)
    ),
    case("y = Reshape (x, t)", MAPS, laid_out(np.repeat(EIGHT, 4), 0), t=ints(-1, 4)),
    case("y = Flatten <axis = 0> (x)", MAPS, laid_out(np.repeat(EIGHT, 16), 1)),
]


@pytest.mark.parametrize(("node", "layout", "wanted", "more"), KEPT)
def test_units_are_kept(node, layout, wanted, more):
    assert effect_of(node, layout, more) == wanted


JOINED = [
    case("y = Add (x, z)", MAPS, Coupled(MAPS, "sum")),
    case("y = Sub (z, x)", MAPS, Coupled(MAPS, "sum"), index=1),
    case("y = Mul (x, z)", MAPS, Coupled(MAPS, "product")),
    case("y = Max (x, z)", MAPS, Coupled(MAPS, "product")),
    case("y = Concat <axis = 1> (x, z)", MAPS, Coupled(Layout.of(1, 8, span=16), "concat")),
    case("y = Concat <axis = -3> (z, x)", MAPS,
         Coupled(Layout.of(1, 8, offset=8, span=16), "concat"), index=1),
    case("y = Concat <axis = 1> (c, x)", MAPS,
         Coupled(Layout.of(1, 8, offset=3, span=11), "concat"), index=1, c=(2, 3, 4, 4)),
    case("y = Concat <axis = 2> (x, z)", MAPS, Coupled(MAPS, "sum")),
    case("y = Concat <axis = 1> (z, x)", FLAT,
         Coupled(Layout.of(1, 8, inner=16, offset=8, span=16), "concat"), index=1),
    case("y = Conv <group = 8> (x, w)", MAPS, Coupled(MAPS, "depthwise"), w=(8, 1, 3, 3)),
    case("y = ConvTranspose <group = 8> (x, w)", MAPS, Coupled(MAPS, "depthwise"), w=(8, 1, 3, 3)),
    case("t = Transpose <perm = [0, 2, 1]> (z) y = MatMul (x, t)", ROWS,
         Coupled(Layout.of(3, 8), "inner")),
    case("y = com.microsoft.SkipLayerNormalization (x, z, g)", ROWS, Coupled(ROWS, "sum"), g=(8,),
         domains=("com.microsoft",)),
    case('y = Einsum <equation = "ntd,nsd->nts"> (x, z)', ROWS, Coupled(Layout.of(3, 8), "inner")),
    case('y = Einsum <equation = "ntd,ntd->ntd"> (x, z)', ROWS, Coupled(ROWS, "product")),
]  # fmt: skip


@pytest.mark.parametrize(("node", "layout", "wanted", "more"), JOINED)
def test_units_join_others(node, layout, wanted, more):
    assert effect_of(node, layout, more) == wanted


READ = [
    case("y = Conv (x, w)", MAPS, None, w=(3, 8, 3, 3)),
    case("y = Conv <group = 2> (x, w)", MAPS, None, w=(6, 4, 3, 3)),
    case("y = Conv <group = 8> (x, w)", MAPS, None, w=(16, 1, 3, 3)),
    case("y = Gemm (x, w)", FLAT, None, w=(128, 3)),
    case("y = MatMul (x, w)", ROWS, None, w=(8, 3)),
    case("y = MatMul (x, w)", ROWS, None, w=(8,)),
    case('y = Einsum <equation = "ntd,de->nte"> (x, w)', ROWS, None, w=(8, 3)),
]


@pytest.mark.parametrize(("node", "layout", "wanted", "more"), READ)
def test_units_are_read(node, layout, wanted, more):
    assert effect_of(node, layout, more) == Consumed()


ENDED = [
    case("y = DepthToSpace <blocksize = 3> (x)", MAPS, "where units lie"),
    case("y = STFT (x, step, v)", ROWS, "mixes the places of a signal"),
    case("y = org.example.Relu (x)", MAPS, "no rule for operator org.example.Relu",
         domains=("org.example",)),
    case('y = Pad <mode = "edge"> (x, p)', MAPS, "repeats units", p=ints(0, 1, 0, 0, 0, 1, 0, 0)),
    case("y = Pad (x, p, , k)", MAPS, "computed", p=ints(1, 1), opset=18),
    case("y = Tile (x, t)", MAPS, "changes the axis", t=ints(1, 2, 1, 1)),
    case("y = Expand (x, k)", ROWS, "unknown shape"),
    case("y = Slice (x, k, b, c)", MAPS, "computed", b=ints(8), c=ints(1)),
    case("y = Gather <axis = 1> (x, k)", MAPS, "chooses among units"),
    case('y = Einsum <equation = "...d->d"> (x)', ROWS, "an Einsum with equation"),
    case("y = Slice (x, a, b, k)", MAPS, "computed", a=ints(0), b=ints(9)),
    case("y = Slice (x, a, b, c, k)", MAPS, "computed", a=ints(0), b=ints(9), c=ints(1)),
    case("y = ReduceMean <axes = [1]> (x)", MAPS, "axis that units"),
    case("y = ReduceMean <axes = [0], keepdims = 0> (x)", MAPS, "examples"),
    case("y = ReduceSum (x, k)", MAPS, "computed"),
    case("y = ReduceSum (x)", MAPS, "all of them"),
    case("y = ReduceSum (x, t)", MAPS, "all of them", t=ints()),
    case("y = AveragePool <kernel_shape = [2]> (x)", ROWS, "pools over axis 2"),
    case("y = BatchNormalization (x, b, b, b, b)", ROWS, "acts on axis 1", b=(5,)),
    case("y = Add (x, c)", ONE, "changes the axis", c=(1, 8, 1, 1)),
    case("y = CastLike (c, x)", MAPS, "type", c=(1,), index=1),
    case("y = Gemm (z, w, x)", FLAT, "bias", w=(128, 128), index=2),
    case("y = Conv (z, x)", MAPS, "weights of a convolution", index=1),
    case("y = MatMul (w, x)", MAPS, "with a vector", w=(4,), index=1),
    case("y = MatMul (x, z)", MAPS, "a matrix for each unit"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "layout", "reason", "more"), ENDED)
def test_units_end_with_a_reason(node, layout, reason, more):
    found = effect_of(node, layout, more)
    assert isinstance(found, Untraceable)
    assert reason in found.reason


@pytest.mark.parametrize(("axis", "wanted"), [(0, at(1)), (1, "examples")])
def test_steps_in_front_of_examples_are_reduced(axis, wanted):
    proto = written(
        f"""g (float[N, 5, 8] x) => (float[] y) {{
          s = Transpose <perm = [1, 0, 2]> (x)
          y = ReduceMean <axes = [{axis}], keepdims = 0> (s)
        }}"""
    )
    model = ir.from_proto(proto)
    infer_shapes(model)
    found = effect(model.graph[1], 0, ROWS)
    assert wanted in found.reason if isinstance(wanted, str) else found == wanted
