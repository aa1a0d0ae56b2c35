"""What each operator does to units, by hand and by watching where numbered units go."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frivkit.graph.layout import Effect, Ends, Joins, Keeps, Layout, Reads
from frivkit.graph.rules import effect
from frivkit.graph.shapes import batch_first, infer_shapes
from tests.handmade import written

MAPS = Layout(1, 8)  # in x of shape (N, 8, 4, 4)
ROWS = Layout(2, 8)  # in x of shape (N, 5, 8)
FLAT = Layout(1, 8, inner=16)  # in x of shape (N, 128): maps of 4 x 4, flattened
ONE = Layout(1, 1)  # in x of shape (N, 1, 4, 4)
SHAPES = {MAPS: "N, 8, 4, 4", ROWS: "N, 5, 8", FLAT: "N, 128", ONE: "N, 1, 4, 4"}
INDEX = {"index", "opset", "domains"}


def at(axis: int, **more: int) -> Keeps:
    """Say that the eight units lie on another axis, with places moved."""
    return Keeps(Layout(axis, 8, **more), places=True)


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
    (reader,) = (node for node in model.graph if any(v.name == "x" for v in node.inputs))
    return effect(reader, more.get("index", 0), layout)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


MAPS_BENT, MAPS_MOVED = Keeps(MAPS, nonlinear=True), Keeps(MAPS, places=True)
ROWS_MOVED, FLAT_MOVED = Keeps(ROWS, places=True), Keeps(FLAT, places=True)
BOUND = np.float32(1)
KEPT = [
    case("y = Identity (x)", MAPS, Keeps(MAPS)),
    case("y = Relu (x)", MAPS, MAPS_BENT),
    case("y = Clip (x, low, high)", MAPS, MAPS_BENT, low=BOUND, high=BOUND),
    case("y = Clip (x, , high)", MAPS, MAPS_BENT, high=BOUND),
    case("y = Clip <min = 0.0, max = 6.0> (x)", MAPS, MAPS_BENT, opset=6),
    case("y = Dropout (x)", MAPS, Keeps(MAPS), opset=9),
    case("y, m = Dropout (x, r, t)", MAPS, Keeps(MAPS), r=BOUND, t=np.bool_(True)),
    case("y = Add (x, c)", MAPS, Keeps(MAPS), c=(8, 1, 1)),
    case("y = Add (c, x)", MAPS, Keeps(MAPS), c=(8, 1, 1), index=1),
    case("y = Add (x, c)", ROWS, Keeps(Layout(3, 8)), c=(2, 1, 1, 8)),
    case("y = Div (x, c)", MAPS, Keeps(MAPS), c=(1,)),
    case("y = Div (c, x)", MAPS, MAPS_BENT, c=(1,), index=1),
    case("y = PRelu (x, c)", MAPS, MAPS_BENT, c=(8, 1, 1)),
    case("on = Greater (x, c) y = Cast <to = 1> (on)", MAPS, MAPS_BENT, c=(1,)),
    case("y = CastLike (x, z)", MAPS, Keeps(MAPS)),
    case("y = com.microsoft.QuickGelu (x)", MAPS, MAPS_BENT, domains=("com.microsoft",)),
    case("y = BatchNormalization (x, b, b, b, b)", MAPS, Keeps(MAPS), b=(8,)),
    case(
        "y, m, w = BatchNormalization <training_mode = 1> (x, b, b, b, b)",
        MAPS,
        Keeps(MAPS),
        b=(8,),
    ),
    case("y = InstanceNormalization (x, b, b)", MAPS, Keeps(MAPS), b=(8,)),
    case("y = QuantizeLinear (x, step)", MAPS, Keeps(MAPS)),
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
    case("y = MatMul (x, t)", MAPS, Keeps(Layout(2, 8), places=True), t=(2, 1, 1, 4, 3)),
]


@pytest.mark.parametrize(("node", "layout", "wanted", "more"), KEPT)
def test_units_are_kept(node, layout, wanted, more):
    assert effect_of(node, layout, more) == wanted


JOINED = [
    case("y = Add (x, z)", MAPS, Joins(MAPS, "sum")),
    case("y = Sub (z, x)", MAPS, Joins(MAPS, "sum"), index=1),
    case("y = Mul (x, z)", MAPS, Joins(MAPS, "product")),
    case("y = Max (x, z)", MAPS, Joins(MAPS, "product")),
    case("y = Concat <axis = 1> (x, z)", MAPS, Joins(Layout(1, 8, span=16), "concat")),
    case("y = Concat <axis = -3> (z, x)", MAPS, Joins(Layout(1, 8, offset=8, span=16), "concat"), index=1),
    case("y = Concat <axis = 1> (c, x)", MAPS, Joins(Layout(1, 8, offset=3, span=11), "concat"),
         index=1, c=(2, 3, 4, 4)),
    case("y = Concat <axis = 2> (x, z)", MAPS, Joins(MAPS, "sum")),
    case("y = Concat <axis = 1> (z, x)", FLAT,
         Joins(Layout(1, 8, inner=16, offset=8, span=16), "concat"), index=1),
    case("y = Conv <group = 8> (x, w)", MAPS, Joins(MAPS, "depthwise"), w=(8, 1, 3, 3)),
    case("y = ConvTranspose <group = 8> (x, w)", MAPS, Joins(MAPS, "depthwise"), w=(8, 1, 3, 3)),
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
    case("t = Transpose <perm = [0, 2, 1]> (z) y = MatMul (x, t)", ROWS, None),
]


@pytest.mark.parametrize(("node", "layout", "wanted", "more"), READ)
def test_units_are_read(node, layout, wanted, more):
    assert effect_of(node, layout, more) == Reads()


ENDED = [
    case("y = DepthToSpace <blocksize = 2> (x)", MAPS, "no rule for operator DepthToSpace"),
    case("y = org.example.Relu (x)", MAPS, "no rule for operator org.example.Relu", domains=("org.example",)),
    case("y = Pad (x, p)", MAPS, "changes the axis", p=ints(0, 1, 0, 0, 0, 1, 0, 0)),
    case("y = Pad (x, p)", MAPS, "changes the axis", p=ints(0, -1, 0, 0, 0, 1, 0, 0)),
    case("y = Pad (x, p, , k)", MAPS, "computed", p=ints(1, 1), opset=18),
    case("y = Tile (x, t)", MAPS, "changes the axis", t=ints(1, 2, 1, 1)),
    case("y = Expand (x, k)", ROWS, "unknown shape"),
    case("y = Slice (x, a, b, c)", MAPS, "changes the axis", a=ints(1), b=ints(8), c=ints(1)),
    case("y = Slice (x, a, b, c, d)", MAPS, "reorders", a=ints(-1), b=ints(-9), c=ints(1), d=ints(-1)),
    case("y = Slice (x, a, b, k)", MAPS, "computed", a=ints(0), b=ints(9)),
    case("y = Slice (x, a, b, c, k)", MAPS, "computed", a=ints(0), b=ints(9), c=ints(1)),
    case("y = Transpose <perm = [1, 0, 2, 3]> (x)", MAPS, "batch axis"),
    case("y = ReduceMean <axes = [1]> (x)", MAPS, "axis that units"),
    case("y = ReduceMean <axes = [0], keepdims = 0> (x)", MAPS, "examples"),
    case("y = ReduceSum (x, k)", MAPS, "computed"),
    case("y = ReduceSum (x)", MAPS, "all of them"),
    case("y = ReduceSum (x, t)", MAPS, "all of them", t=ints()),
    case("y = Reshape (x, t)", MAPS, "splits", t=ints(0, 2, 4, 4, 4)),
    case("y = Reshape (x, t)", FLAT, "splits", t=ints(0, 8, 16)),
    case("y = Reshape (x, t)", ROWS, "splits", t=ints(0, 8, 5)),
    case("y = Reshape (x, t)", MAPS, "batch", t=ints(-1, 4)),
    case("y = Flatten <axis = 0> (x)", MAPS, "batch"),
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
    assert isinstance(found, Ends)
    assert reason in found.reason


END = 2**31 - 1
OTHER = 1000
"""What is added to the numbers of units that are not followed."""


class Chain:
    """A graph that grows by drawn nodes, each followed by the rules."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.followed: list[tuple[int, int]] = []  # node, and its input that carries the units
        self.start = Layout(axis, shape[axis])
        numbers = np.arange(shape[axis]).reshape(
            [-1 if a == axis else 1 for a in range(len(shape))]
        )
        self.numbers = np.broadcast_to(numbers, shape).astype(np.float32)
        self.array = self.numbers

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, *inputs: Any, carries: int = 0, **attributes: Any) -> None:
        """Add a node; inputs are names, arrays of constants, or None for the last tensor."""
        last = f"t{len(self.nodes)}"
        names = [
            last if each is None else self.constant(each) if isinstance(each, np.ndarray) else each
            for each in inputs or (None,)
        ]
        self.nodes.append(helper.make_node(op, names, [f"t{len(self.nodes) + 1}"], **attributes))
        self.followed.append((len(self.nodes) - 1, carries))
        self.array = self.run()[-1]

    def add_beside(self, axis: int, *, first: bool) -> None:
        """Concatenate the tensor with a copy whose units are others."""
        here = f"t{len(self.nodes)}"
        other = self.constant(np.array(OTHER, np.float32))
        self.nodes.append(helper.make_node("Add", [here, other], [f"t{len(self.nodes) + 1}"]))
        names = [here, f"t{len(self.nodes)}"]
        self.add("Concat", *(names if first else names[::-1]), carries=int(not first), axis=axis)

    def proto(self) -> Any:
        info = helper.make_tensor_value_info
        shape = ["N", *self.numbers.shape[1:]]
        last = info(f"t{len(self.nodes)}", TensorProto.FLOAT, None)
        graph = helper.make_graph(
            self.nodes, "g", [info("t0", TensorProto.FLOAT, shape)], [last], self.constants
        )
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def run(self) -> list[np.ndarray]:
        names = [node.output[0] for node in self.nodes]
        return ReferenceEvaluator(self.proto()).run(names, {"t0": self.numbers})

    def check(self) -> int:
        """Follow the units by the rules, compare with the numbers; give the steps that agreed."""
        model = ir.from_proto(self.proto())
        infer_shapes(model)
        layout, arrays = self.start, self.run()
        for step, (at, index) in enumerate(self.followed):
            what = effect(model.graph[at], index, layout)
            if isinstance(what, Ends | Reads):
                return step
            layout = what.layout
            assert units_lie(arrays[at], layout), (model.graph[at], layout)
            if batch_first(model.graph[at].outputs[0], None):
                assert len(arrays[at]) == len(self.numbers)
        return len(self.followed)


def units_lie(array: np.ndarray, layout: Layout) -> bool:
    """Tell whether each position along the axis holds the units that a layout says."""
    if array.shape[layout.axis] != layout.size:
        return False
    rows = np.moveaxis(array, layout.axis, -1).reshape(-1, layout.size)
    positions = np.arange(layout.size) // layout.inner % layout.span - layout.offset
    mine = (positions >= 0) & (positions < layout.width)
    numbered = (rows[:, mine] % OTHER == positions[mine]).all()  # unit i of others may lie there
    return bool(numbered and (rows[:, ~mine] >= OTHER).all())


@st.composite
def regrouped(draw: Any, sizes: tuple[int, ...]) -> list[int]:
    """Draw sizes with the same product: some neighbours merged, some sizes cut, some ones added."""
    found: list[int] = []
    for size in sizes:
        if found and draw(st.booleans()):
            found[-1] *= size
        else:
            found.append(size)
    cut = draw(st.integers(0, len(found) - 1))
    factor = draw(st.sampled_from([1, *(f for f in (2, 3, 4) if found[cut] % f == 0)]))
    found[cut : cut + 1] = [found[cut] // factor, factor] if factor > 1 else [found[cut]]
    if draw(st.booleans()):
        found.insert(draw(st.integers(0, len(found))), 1)
    return found


@st.composite
def chains(draw: Any) -> Chain:
    shape = (3, *draw(st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=3)))
    chain = Chain(shape, draw(st.integers(1, len(shape) - 1)))
    for _ in range(draw(st.integers(1, 5))):
        sizes = chain.array.shape
        axis = draw(st.integers(0, len(sizes) - 1))
        place = max(axis, 1) if len(sizes) > 1 else 0
        kind = draw(st.sampled_from(KINDS))
        if kind == "value":
            chain.add(draw(st.sampled_from(["Relu", "Identity", "Abs", "Floor"])))
        elif kind == "broadcast":
            ones = [1 if draw(st.booleans()) else size for size in sizes[place:]]
            chain.add("Add", None, np.zeros(ones, np.float32))
        elif kind == "Transpose":
            order = [0, *draw(st.permutations(range(1, len(sizes))))]
            chain.add("Transpose", perm=order if draw(st.booleans()) else order[::-1])
        elif kind == "Reshape":
            rest = draw(regrouped(sizes[1:])) if len(sizes) > 1 else [1]
            free = -1 if draw(st.booleans()) else 0
            chain.add("Reshape", None, ints(free, *rest))
        elif kind == "into batch" and len(sizes) > 2:
            chain.add("Reshape", None, ints(-1, *sizes[2:]))
        elif kind == "Flatten":
            chain.add("Flatten", axis=axis)
        elif kind == "Squeeze":
            alone = [a for a in range(1, len(sizes)) if sizes[a] == 1]
            if alone and sum(size > 1 for size in sizes) > 1:
                chain.add("Squeeze", None, ints(*alone))
        elif kind == "Unsqueeze":
            chain.add("Unsqueeze", None, ints(axis))
        elif kind == "Concat":
            chain.add_beside(place, first=draw(st.booleans()))
        elif kind == "Reduce" and len(sizes) > 2:
            chain.add("ReduceMin", axes=[place], keepdims=draw(st.integers(0, 1)))
        elif kind == "Slice":
            step = draw(st.sampled_from([1, 2, -1]))
            bounds = (-1, -END) if step < 0 else (draw(st.integers(0, sizes[place] - 1)), END)
            numbers = [ints(n) for n in (*bounds, place, step)]
            chain.add("Slice", None, *numbers)
        elif kind == "Pad" and len(sizes) > 1:
            pads = [0] * (2 * len(sizes))
            pads[place], pads[place + len(sizes)] = draw(st.sampled_from([(1, 1), (0, 1), (2, 0)]))
            chain.add("Pad", None, ints(*pads), mode="edge")
        elif kind == "Tile":
            chain.add("Tile", None, ints(*(2 if a == place else 1 for a in range(len(sizes)))))
        elif kind == "MatMul" and len(sizes) > 2:
            chain.add("MatMul", None, np.eye(sizes[-1], dtype=np.float32)[::-1].copy())
    return chain


KINDS = [
    "value", "broadcast", "Transpose", "Reshape", "into batch", "Flatten", "Squeeze", "Unsqueeze",
    "Concat", "Reduce", "Slice", "Pad", "Tile", "MatMul",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(chains())
def test_numbered_units_go_where_the_rules_say(chain):
    chain.check()


def test_a_chain_that_goes_all_the_way():
    chain = Chain((3, 4, 2, 3), 1)
    chain.add("Relu")
    chain.add_beside(1, first=False)
    chain.add("Transpose", perm=[0, 2, 3, 1])
    chain.add("ReduceMin", axes=[1], keepdims=0)
    chain.add("Transpose", perm=[0, 2, 1])
    chain.add("Reshape", None, ints(0, -1))
    chain.add("Slice", None, ints(0), ints(99), ints(1), ints(1))
    assert chain.check() == 7


def test_numbers_tell_a_wrong_layout():
    numbers = np.arange(8).reshape(1, 8) // 2
    assert units_lie(numbers, Layout(1, 4, inner=2))
    assert not units_lie(numbers, Layout(1, 4, outer=2))
    assert not units_lie(numbers, Layout(1, 8))
    assert not units_lie(numbers, Layout(1, 4, inner=2, span=3))
