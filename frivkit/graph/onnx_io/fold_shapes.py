"""AnyArray that a graph computes from sizes of tensors, where they are the same for any batch.

Exporters write ``x.chunk(2, 1)`` as a Slice whose bounds are computed from the shape of ``x``.
Where the size in question is fixed, the bounds are constants in all but name; here they become
some.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import constant_tensor
from frivkit.graph.shapes import batch_symbol, sizes_for

AnyArray = NDArray[Any]
EXAMPLES = (2, 3)
"""Batches for which sizes are worked out; numbers that differ between them are not fixed."""
OLDEST_IR = 4
"""IR version with which initializers that are no inputs came."""
MOST = 64
"""Entries of the largest tensor that is taken for a list of sizes."""
FIXED = {
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Pad": (1, 3),
    "Gather": (1,),
    "Tile": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Operands by operator that say where units lie, and which only constants do."""


def fold_shape_arithmetic(model: ir.Model) -> None:
    """Put constants in place of computed operands that are the same for any batch.

    Args:
        model: The model, with inferred shapes; it is changed, and computes what it did.
    """
    graph = model.graph
    symbol = batch_symbol(graph)
    opset = model.opset_imports.get("", 1)
    idle: list[ir.Value] = []
    runs = [_Sizes(symbol, batch, opset) for batch in EXAMPLES]
    for node in graph:
        for index in FIXED.get(node.op_type, ()) if node.domain == "" else ():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None or constant_tensor(value) is not None:
                continue
            found = [run.of(value) for run in runs]
            if found[0] is None or found[1] is None or not np.array_equal(found[0], found[1]):
                continue
            name = f"{value.name}/fixed"
            if name not in graph.initializers:
                tensor = ir.Tensor(found[0], name=name)
                graph.register_initializer(ir.Value(name=name, const_value=tensor))
            graph.initializers[name].shape = ir.Shape(found[0].shape)
            graph.initializers[name].dtype = ir.DataType.from_numpy(found[0].dtype)
            node.replace_input_with(index, graph.initializers[name])
            idle.append(value)
    for value in idle:
        _drop(graph, value)
    if idle:
        model.ir_version = max(OLDEST_IR, model.ir_version)


def _drop(graph: ir.Graph, value: ir.Value) -> None:
    """Drop what computes a tensor that nothing reads any more."""
    node = value.producer()
    if node is None or any(each.uses() or each.is_graph_output() for each in node.outputs):
        return
    read = [each for each in node.inputs if each is not None]
    if node.graph is graph:
        graph.remove(node, safe=True)
        for each in read:
            _drop(graph, each)


class _Sizes:
    """Works out small tensors of whole numbers for one size of the batch."""

    def __init__(self, symbol: str | None, batch: int, opset: int) -> None:
        self._symbol, self._batch, self._opset = symbol, batch, opset
        self._known: dict[int, AnyArray | None] = {}

    def of(self, value: ir.Value) -> AnyArray | None:
        """Return the numbers of a tensor, None where they depend on more than sizes."""
        if id(value) not in self._known:
            self._known[id(value)] = None  # no graph has cycles, but a damaged one may
            self._known[id(value)] = self._worked_out(value)
        return self._known[id(value)]

    def _worked_out(self, value: ir.Value) -> AnyArray | None:
        tensor = constant_tensor(value)
        if tensor is not None:
            return tensor.numpy() if tensor.size <= MOST else None
        node = value.producer()
        if node is not None and node.domain == "" and node.op_type in SHAPE_ONLY:
            return self._shape(node)
        if node is None or node.domain != "" or node.op_type not in _COMPUTING:
            return None
        return self._computed(node)

    def _computed(self, node: ir.Node) -> AnyArray | None:
        operands = [None if each is None else self.of(each) for each in node.inputs]
        if any(each is not None and operands[i] is None for i, each in enumerate(node.inputs)):
            return None
        return self._run(node, operands)

    def _shape(self, node: ir.Node) -> AnyArray | None:
        sizes = sizes_for(node.inputs[0], self._symbol, self._batch)
        if sizes is None or None in sizes:
            return None
        numbers = np.array(sizes, np.int64)
        if node.op_type == "Size":
            return np.array(numbers.prod(), np.int64)
        start, end = (node.attributes.get(name) for name in ("start", "end"))
        first = 0 if start is None else start.as_int()
        return numbers[first : None if end is None else end.as_int()]

    def _run(self, node: ir.Node, operands: list[AnyArray | None]) -> AnyArray | None:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        names = ["" if each is None else f"i{i}" for i, each in enumerate(operands)]
        proto = ir.to_proto(node)
        del proto.input[:], proto.output[:]
        proto.input.extend(names)
        proto.output.append("o")
        kinds = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape
            )
            for name, each in zip(names, operands, strict=True)
            if each is not None
        ]
        made = helper.make_tensor_value_info("o", 0, None)
        graph = helper.make_graph([proto], "sizes", kinds, [made])
        opsets = [helper.make_opsetid("", self._opset)]
        feeds = {name: each for name, each in zip(names, operands, strict=True) if each is not None}
        try:
            (found,) = ReferenceEvaluator(
                helper.make_model(graph, opset_imports=opsets, ir_version=8)
            ).run(None, feeds)
        except Exception:  # what cannot be computed stays as it is
            return None
        return np.asarray(found) if np.size(found) <= MOST else None


def _number_type(array: AnyArray) -> int:
    return ir.DataType.from_numpy(array.dtype).value


_COMPUTING = frozenset(
    [
        *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Floor", "Ceil", "Min", "Max", "Pow"),
        *("Cast", "Identity", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape"),
        *("Transpose", "Where", "Equal", "Less", "Greater", "Not", "And", "Or", "ConstantOfShape"),
        *("ReduceProd", "ReduceSum", "Sqrt", "Range", "Expand", "ScatterND"),
    ]
)
