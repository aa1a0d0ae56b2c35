"""Random chains of operators: numbered units go where the rules say, as far as they say."""

from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frivkit.graph.layout import Layout
from frivkit.graph.operators.effects import Consumed, Split, Untraceable
from frivkit.graph.operators.table import effect
from frivkit.graph.shapes import batch_first, infer_shapes

EXAMPLES = 3
"""The batch, the first size of every shape below."""

END = 2**31 - 1
"""Behind the end of every axis, also of one whose size is not known."""

OTHER = 1000
"""What is added to the numbers of units that are not followed."""


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


class Chain:
    """A graph that grows by drawn nodes, each followed by the rules."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.reached: list[tuple[int, int]] = []  # node, and its input that carries the units
        self.start = Layout.of(axis, shape[axis])
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
        made = f"t{len(self.nodes) + 1}"
        outputs = [made, f"{made} rest"] if op == "Split" else [made]
        self.nodes.append(helper.make_node(op, names, outputs, **attributes))
        self.reached.append((len(self.nodes) - 1, carries))
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
        for step, (at, index) in enumerate(self.reached):
            what = effect(model.graph[at], index, layout)
            if isinstance(what, Untraceable | Consumed):
                return step
            if isinstance(what, Split) and what.layouts[0] is None:
                assert (arrays[at] >= OTHER).all(), (model.graph[at], layout)
                return step
            layout = what.layouts[0] if isinstance(what, Split) else what.layout
            assert units_lie(arrays[at], layout), (model.graph[at], layout)
            if batch_first(model.graph[at].outputs[0], None):
                assert len(arrays[at]) == len(self.numbers)
        return len(self.reached)


def units_lie(array: np.ndarray, layout: Layout) -> bool:
    """Whether each position along the axis holds the units that a layout says."""
    units = layout.units
    for at, axis in enumerate(layout.axes):
        repeats, rest = divmod(array.shape[axis], units.shape[at])
        if rest or (repeats > 1 and repeats != EXAMPLES):
            return False
        units = np.concatenate([units] * repeats, axis=at)  # one period for each example
    back = range(-len(layout.axes), 0)
    rows = np.moveaxis(array, layout.axes, back).reshape(-1, units.size)
    positions = units.ravel()
    mine = positions >= 0
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


def value(draw: Any, chain: Chain, place: int) -> None:
    del place
    chain.add(draw(st.sampled_from(["Relu", "Identity", "Abs", "Floor"])))


def broadcast(draw: Any, chain: Chain, place: int) -> None:
    sizes = [1 if draw(st.booleans()) else size for size in chain.array.shape[place:]]
    chain.add("Add", None, np.zeros(sizes, np.float32))


def transpose(draw: Any, chain: Chain, place: int) -> None:
    del place
    order = [0, *draw(st.permutations(range(1, chain.array.ndim)))]
    chain.add("Transpose", perm=order)


def away(draw: Any, chain: Chain, place: int) -> None:
    """Move the batch to another axis and back."""
    del place
    order = draw(st.permutations(range(chain.array.ndim)))
    chain.add("Transpose", perm=order)
    chain.add("Relu")
    chain.add("Transpose", perm=[order.index(axis) for axis in range(len(order))])


def reshape(draw: Any, chain: Chain, place: int) -> None:
    del place
    free = -1 if draw(st.booleans()) else 0
    chain.add("Reshape", None, ints(free, *draw(regrouped(chain.array.shape[1:]))))


def into_batch(draw: Any, chain: Chain, place: int) -> None:
    del draw, place
    chain.add("Reshape", None, ints(-1, *chain.array.shape[2:]))


def flatten(draw: Any, chain: Chain, place: int) -> None:
    del place
    chain.add("Flatten", axis=draw(st.integers(0, chain.array.ndim - 1)))


def squeeze(draw: Any, chain: Chain, place: int) -> None:
    del draw, place
    alone = [axis for axis, size in enumerate(chain.array.shape) if axis and size == 1]
    if alone:
        chain.add("Squeeze", None, ints(*alone))


def unsqueeze(draw: Any, chain: Chain, place: int) -> None:
    del place
    chain.add("Unsqueeze", None, ints(draw(st.integers(1, chain.array.ndim))))


def concat(draw: Any, chain: Chain, place: int) -> None:
    chain.add_beside(place, first=draw(st.booleans()))


def reduce(draw: Any, chain: Chain, place: int) -> None:
    chain.add("ReduceMin", axes=[place], keepdims=draw(st.integers(0, 1)))


def cut(draw: Any, chain: Chain, place: int) -> None:
    step = draw(st.sampled_from([1, 2, -1]))
    first = draw(st.integers(0, chain.array.shape[place] - 1))
    bounds = (-1, -END) if step < 0 else (first, END)
    chain.add("Slice", None, *(ints(number) for number in (*bounds, place, step)))


def pad(draw: Any, chain: Chain, place: int) -> None:
    pads = np.zeros((2, chain.array.ndim), np.int64)
    pads[:, place] = draw(st.sampled_from([(1, 1), (0, 1), (2, 0)]))
    if chain.nodes or place != chain.start.axis:  # constants among places are nobody's
        chain.add("Pad", None, pads.ravel(), mode="edge")
    else:
        chain.add("Pad", None, pads.ravel(), np.array(OTHER, np.float32))


def split(draw: Any, chain: Chain, place: int) -> None:
    size = chain.array.shape[place]
    if size > 1:
        first = draw(st.integers(1, size - 1))
        chain.add("Split", None, ints(first, size - first), axis=place)


def gather(draw: Any, chain: Chain, place: int) -> None:
    size = chain.array.shape[place]
    chosen = draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=5))
    one = draw(st.booleans()) and chain.array.ndim > 2
    chain.add("Gather", None, np.array(chosen[0] if one else chosen, np.int64), axis=place)


def tile(draw: Any, chain: Chain, place: int) -> None:
    del draw
    chain.add("Tile", None, ints(*(1 + (axis == place) for axis in range(chain.array.ndim))))


def turn(draw: Any, chain: Chain, place: int) -> None:
    """Reverse the last axis by weights."""
    del draw, place
    chain.add("MatMul", None, np.eye(chain.array.shape[-1], dtype=np.float32)[::-1].copy())


STEPS = [value, broadcast, transpose, reshape, flatten, squeeze, unsqueeze, concat, cut, pad, tile]
STEPS += [split, gather, away]
WITH_PLACES = [into_batch, reduce, turn]


@st.composite
def chains(draw: Any) -> Chain:
    shape = (3, *draw(st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=3)))
    chain = Chain(shape, draw(st.integers(1, len(shape) - 1)))
    for _ in range(draw(st.integers(1, 5))):
        axes = chain.array.ndim
        if axes > 1:
            step = draw(st.sampled_from(STEPS + WITH_PLACES if axes > 2 else STEPS))
            step(draw, chain, draw(st.integers(1, axes - 1)))
    return chain


@settings(max_examples=150)
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


def test_units_behind_others_behind_others():
    chain = Chain((3, 4, 2), 1)
    chain.add_beside(1, first=False)
    chain.add_beside(1, first=False)
    chain.add_beside(1, first=True)
    assert chain.array.shape == (3, 32, 2)
    assert chain.check() == 3


def test_places_merged_one_after_the_other():
    for axis in (1, 2, 3):
        chain = Chain((3, 2, 3, 4), axis)
        chain.add("Reshape", None, ints(0, 2, 12))
        chain.add("Reshape", None, ints(0, 24))
        assert chain.check() == 2
        chain = Chain((3, 2, 3, 4), axis)
        chain.add("Reshape", None, ints(0, 6, 4))
        chain.add("Reshape", None, ints(0, 24))
        assert chain.check() == 2


def test_numbers_tell_a_wrong_layout():
    numbers = np.arange(8).reshape(1, 8) // 2
    assert units_lie(numbers, Layout.of(1, 4, inner=2))
    assert not units_lie(numbers, Layout.of(1, 4, outer=2))
    assert not units_lie(numbers, Layout.of(1, 8))
    assert not units_lie(numbers, Layout.of(1, 3, inner=2, span=4))
