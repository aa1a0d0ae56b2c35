"""Random networks that are legal and unusual, in half of whose layers half of the units are dead.

A dead unit has weights and a bias of zero, and what follows it maps zero to zero, so that its
removal changes no output.  Networks are of operator sets 7 to 25.
"""

from collections.abc import Callable

import ml_dtypes
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from reliability.fuzz.values import one_of

Array = NDArray[np.float32]
EXAMPLE = {"vector": (6,), "rows": (5, 6), "image": (3, 8, 8)}
ZERO_KEEPING = ("Relu", "LeakyRelu", "Elu", "Tanh", "Selu", "Abs", "PRelu", "Clip", "Softsign")
NEWER = {"HardSwish": 14, "Gelu": 20, "Mish": 18}
NAMES = ("t", "a/b.c", "τ ενσορ", "with space", "x:0", "0", "%", "t.1")


class LegalGraph:
    """A network under construction: a stream of units with a batch axis in front."""

    def __init__(self, rng: Generator, opset: int) -> None:
        """Begin a network."""
        self.rng, self.opset = rng, opset
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.functions: list[tuple[str, list[NodeProto], list[str]]] = []
        self.outputs: dict[str, ValueInfoProto] = {}
        self.count = 0
        self.kind = one_of(rng, sorted(EXAMPLE))
        self.example = shape = EXAMPLE[self.kind]
        self.units = shape[0] if self.kind == "image" else shape[-1]
        self.now = "x"

    @property
    def axis(self) -> int:
        """The axis of units."""
        return 2 if self.kind == "rows" else 1

    def name(self) -> str:
        """Return a new name."""
        self.count += 1
        return f"{one_of(self.rng, NAMES)}{self.count}"

    def node(
        self, op: str, *inputs: str, domain: str = "", outs: int = 1, **attributes: object
    ) -> str:
        """Add a node, perhaps without a name; return its first output."""
        outputs = [self.name() for _ in range(outs)]
        named = one_of(self.rng, ("", f"node {self.count}"))
        self.nodes.append(
            helper.make_node(op, inputs, outputs, name=named, domain=domain, **attributes)
        )
        return outputs[0]

    def value(self, name: str) -> ValueInfoProto:
        """Declare a tensor as one of the rank of the stream, of any sizes."""
        rank = {"vector": 2, "rows": 3, "image": 4}[self.kind]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)

    def give_out(self, name: str) -> None:
        """Make the stream an output of the network."""
        self.outputs[name] = self.value(name)

    def numbers(self, array: NDArray[np.generic]) -> str:
        """Store numbers and return their name."""
        name = self.name()
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, array: Array) -> str:
        """Store a weight in one of many ways, from which it is computed."""
        return one_of(self.rng, WAYS)(self, array)


def _plain(graph: LegalGraph, array: Array) -> str:
    return graph.numbers(array)


def _constant(graph: LegalGraph, array: Array) -> str:
    return graph.node("Constant", value=numpy_helper.from_array(array))


def _by_transpose(graph: LegalGraph, array: Array) -> str:
    order = list(range(array.ndim))[::-1]
    return graph.node("Transpose", graph.weight(array.transpose(order)), perm=order)


def _passed(graph: LegalGraph, array: Array) -> str:
    return graph.node("Identity", graph.weight(array))


def _summed(graph: LegalGraph, array: Array) -> str:
    zero = graph.numbers(np.zeros(array.shape[-1:], np.float32))
    return graph.node("Add", graph.weight(array), zero)


def _gathered(graph: LegalGraph, array: Array) -> str:
    table = np.concatenate([array[::-1], array])
    at = graph.numbers(np.arange(len(array))[::-1].copy())
    return graph.node("Gather", graph.numbers(table), at, axis=0)


def _cast(graph: LegalGraph, array: Array) -> str:
    """Store it in a narrow type: halves, bfloat16 or 8-bit floats."""
    types = [np.dtype(np.float16)]
    types += [np.dtype(ml_dtypes.bfloat16)] * (graph.opset >= 13)
    types += [np.dtype(ml_dtypes.float8_e4m3fn)] * (graph.opset >= 19)
    narrow = graph.numbers(array.astype(one_of(graph.rng, types)))
    return graph.node("Cast", narrow, to=TensorProto.FLOAT)


def _quantized(graph: LegalGraph, array: Array) -> str:
    """Store it as whole numbers of 8 bits or 4."""
    if graph.opset < 10:
        return graph.numbers(array)
    four = graph.opset >= 21 and graph.rng.random() < 0.5
    scale = np.float32(np.abs(array).max() / 7 + 1e-6)
    whole = np.round(array / scale).astype(ml_dtypes.int4 if four else np.int8)
    return graph.node("DequantizeLinear", graph.numbers(whole), graph.numbers(scale))


def _sparse(graph: LegalGraph, array: Array) -> str:
    if graph.opset < 11:
        return graph.numbers(array)
    flat = array.ravel()
    at = np.flatnonzero(flat)
    if not len(at):
        return graph.numbers(array)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(flat[at], graph.name()),
        numpy_helper.from_array(at.astype(np.int64), graph.name()),
        list(array.shape),
    )
    return graph.node("Constant", sparse_value=sparse)


WAYS: tuple[Callable[[LegalGraph, Array], str], ...] = (
    *(_plain,) * 8, _constant, _by_transpose, _passed, _summed, _gathered, _cast, _quantized,
    _sparse,
)  # fmt: skip


def _drawn(graph: LegalGraph, *shape: int, outputs: int, dead: NDArray[np.bool_]) -> Array:
    """Draw a weight whose dead outputs are zeros."""
    array = graph.rng.standard_normal(shape).astype(np.float32)
    array[(slice(None),) * outputs + (dead,)] = 0
    return array


def _dead(graph: LegalGraph, units: int) -> NDArray[np.bool_]:
    return np.arange(units) % 2 == 1 if graph.rng.random() < 0.7 else np.zeros(units, bool)


def layer(graph: LegalGraph) -> None:
    """Add a convolution or a matrix product, with a bias or without, and a nonlinearity."""
    rng, units = graph.rng, int(graph.rng.integers(4, 11))
    dead = _dead(graph, units)
    bias = np.where(dead, 0, rng.standard_normal(units)).astype(np.float32)
    if graph.kind == "image":
        size = one_of(rng, (1, 3))
        weight = graph.weight(_drawn(graph, units, graph.units, size, size, outputs=0, dead=dead))
        pads: dict[str, object] = {"auto_pad": one_of(rng, ("SAME_UPPER", "SAME_LOWER"))}
        if rng.random() < 0.5:
            pads = {"pads": [size // 2] * 4}
        biases = [graph.weight(bias)] if rng.random() < 0.6 else []
        graph.now = graph.node("Conv", graph.now, weight, *biases, **pads)
    elif graph.kind == "vector" and rng.random() < 0.5:
        transposed = rng.random() < 0.5
        shape = (units, graph.units) if transposed else (graph.units, units)
        weight = graph.weight(_drawn(graph, *shape, outputs=0 if transposed else 1, dead=dead))
        biases = [graph.weight(bias)] if rng.random() < 0.6 or graph.opset < 11 else []
        graph.now = graph.node("Gemm", graph.now, weight, *biases, transB=int(transposed))
    else:
        weight = graph.weight(_drawn(graph, graph.units, units, outputs=1, dead=dead))
        graph.now = graph.node("MatMul", graph.now, weight)
        if rng.random() < 0.6:
            pair = [graph.now, graph.weight(bias)]
            graph.now = graph.node("Add", *(pair if rng.random() < 0.5 else pair[::-1]))
    graph.units = units
    _activate(graph)


def _activate(graph: LegalGraph) -> None:
    op = one_of(graph.rng, ZERO_KEEPING)
    newer = [name for name, since in NEWER.items() if graph.opset >= since]
    if newer and graph.rng.random() < 0.2:
        op = one_of(graph.rng, newer)
    if op == "PRelu":
        slope = graph.rng.uniform(0, 1, (graph.units, *(1,) * (2 * (graph.kind == "image"))))
        graph.now = graph.node(op, graph.now, graph.weight(slope.astype(np.float32)))
    elif op == "Clip" and graph.opset < 11:
        graph.now = graph.node(op, graph.now, min=0.0)
    elif op == "Clip":
        graph.now = graph.node(op, graph.now, "", graph.numbers(np.float32(1.5)))
    else:
        graph.now = graph.node(op, graph.now)


def residual(graph: LegalGraph) -> None:
    """Add a layer whose output is added to what it reads, by Add, Sum or Max."""
    before, units = graph.now, graph.units
    layer(graph)
    shape = (units, graph.units, 1, 1) if graph.kind == "image" else (graph.units, units)
    weight = graph.weight(graph.rng.standard_normal(shape).astype(np.float32))
    op = "Conv" if graph.kind == "image" else "MatMul"
    graph.now = graph.node(
        one_of(graph.rng, ("Add", "Sum")), before, graph.node(op, graph.now, weight)
    )
    graph.units = units


def branches(graph: LegalGraph) -> None:
    """Add two layers side by side, of which one output is put behind the other."""
    before, units = graph.now, graph.units
    layer(graph)
    first, count = graph.now, graph.units
    graph.now, graph.units = before, units
    layer(graph)
    parts = [first, graph.now]
    if graph.rng.random() < 0.3:
        parts.append(_empty(graph, before))
    if graph.opset >= 11 and graph.rng.random() < 0.3:
        several = graph.node("SequenceConstruct", *parts)
        graph.now = graph.node("ConcatFromSequence", several, axis=graph.axis)
    else:
        graph.now = graph.node("Concat", *parts, axis=graph.axis)
    graph.units += count


def _empty(graph: LegalGraph, value: str) -> str:
    """Return a tensor without entries along the axis of units."""
    if graph.opset < 10:
        return graph.node("Slice", value, axes=[graph.axis], starts=[0], ends=[0])
    numbers = (graph.numbers(np.array([each])) for each in (0, 0, graph.axis))
    return graph.node("Slice", value, *numbers)


def optional(graph: LegalGraph) -> None:
    """Add a node with further outputs, that are read or not."""
    if graph.kind == "image" and graph.rng.random() < 0.5:
        graph.now = graph.node(
            "MaxPool", graph.now, outs=int(graph.rng.integers(1, 3)), kernel_shape=[2, 2]
        )
    elif graph.opset < 12:
        graph.now = graph.node("Dropout", graph.now, outs=int(graph.rng.integers(1, 3)), ratio=0.3)
    else:
        graph.now = graph.node("Dropout", graph.now, outs=int(graph.rng.integers(1, 3)))
    if graph.rng.random() < 0.3:
        graph.node(one_of(graph.rng, ("Shape", "Identity", "Neg")), graph.now)  # nobody reads it


def condition(graph: LegalGraph) -> None:
    """Add an If whose branches read what is outside, and name their tensors alike."""
    rng = graph.rng
    if graph.opset < 11:
        return
    always = graph.numbers(np.array(bool(rng.random() < 0.5)))
    if rng.random() < 0.5:
        whole = graph.node("ReduceMax", graph.now, keepdims=0)
        always = graph.node("Greater", whole, graph.numbers(np.float32(0)))
    inner = graph.name()
    bodies: list[GraphProto] = []
    for op in ("Identity", "Relu"):
        nodes = [
            helper.make_node("Neg", [graph.now], [inner]),
            helper.make_node("Neg", [inner], [f"{inner}n"]),
        ]
        nodes.append(helper.make_node(op, [f"{inner}n"], [f"{inner}o"]))
        bodies.append(helper.make_graph(nodes, inner, [], [graph.value(f"{inner}o")]))
    graph.now = graph.node("If", always, then_branch=bodies[0], else_branch=bodies[1])


def loop(graph: LegalGraph) -> None:
    """Add a Loop of two rounds over the stream."""
    if graph.opset < 11:
        return
    a, b, c, d, e = (graph.name() for _ in range(5))
    make = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", [b], [d]), helper.make_node("Relu", [c], [e])],
        "body",
        [make(a, TensorProto.INT64, []), make(b, TensorProto.BOOL, []), graph.value(c)],
        [make(d, TensorProto.BOOL, []), graph.value(e)],
    )  # fmt: skip
    rounds, go = graph.numbers(np.array(2)), graph.numbers(np.array(True))
    graph.now = graph.node("Loop", rounds, go, graph.now, body=body)


def function(graph: LegalGraph) -> None:
    """Add a call of a function that the model brings along."""
    name = f"Twice{len(graph.functions)}"
    body = [helper.make_node("Relu", ["i"], ["m"]), helper.make_node("Add", ["m", "i"], ["o"])]
    graph.functions.append((name, body, ["i"]))
    graph.now = graph.node(name, graph.now, domain="own functions")


def given_out(graph: LegalGraph) -> None:
    """Make what is there an output as well, or a weight."""
    graph.give_out(graph.now)
    if graph.rng.random() < 0.3 and graph.weights:
        weight = one_of(graph.rng, graph.weights)
        graph.outputs[weight.name] = helper.make_tensor_value_info(
            weight.name, weight.data_type, weight.dims
        )


def words(graph: LegalGraph) -> None:
    """Add strings that nothing is computed from."""
    name = graph.numbers(np.array(["a", "β"], object))
    graph.node("Identity", name)


def reshaped(graph: LegalGraph) -> None:
    """Add a Reshape by sizes that are read while the network runs, which changes nothing."""
    sizes = graph.node("Shape", graph.now)
    graph.now = graph.node("Reshape", graph.now, sizes)


STEPS: tuple[Callable[[LegalGraph], None], ...] = (
    *(layer,) * 6, *(residual,) * 2, *(branches,) * 2, optional, condition, loop, function,
    given_out,
    words, reshaped,
)  # fmt: skip


def legal_network(rng: Generator) -> ModelProto:
    """Draw a network; its inputs are ``x`` and, in some, ``unused`` and all its weights."""
    graph = LegalGraph(rng, int(rng.integers(7, 26)))
    for _ in range(int(rng.integers(2, 7))):
        one_of(rng, STEPS)(graph)
    if graph.kind == "image":
        graph.now = graph.node("Flatten", graph.node("GlobalAveragePool", graph.now))
        graph.kind = "vector"
    head = graph.weight(rng.standard_normal((graph.units, 4)).astype(np.float32))
    graph.now = graph.node("MatMul", graph.now, head)
    graph.give_out(graph.now)
    shape = graph.example
    batch = one_of(rng, ("N", "N", "batch size", None, 1, 4))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])]
    if rng.random() < 0.15:
        kind = one_of(rng, (TensorProto.FLOAT, TensorProto.INT64))
        inputs.append(helper.make_tensor_value_info("unused", kind, [batch, 2]))
    if rng.random() < 0.15:
        inputs += [
            helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in graph.weights
        ]
    outputs = list(graph.outputs.values())[:: one_of(rng, (1, -1))]
    made = helper.make_graph(graph.nodes, "g", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", graph.opset)]
    functions = [
        helper.make_function("own functions", name, each, ["o"], body, opsets)
        for name, body, each in graph.functions
    ]
    if functions:
        opsets.append(helper.make_opsetid("own functions", 1))
    return helper.make_model(
        made, opset_imports=opsets, ir_version=_format(graph.opset), functions=functions
    )


def _format(opset: int) -> int:
    """Return a version of the file format that holds what an operator set has, and functions."""
    return 8 if opset < 19 else 9 if opset < 21 else 10 if opset < 23 else 11
